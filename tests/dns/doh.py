"""DNS over HTTPS on loopback (RFC 8484), in front of whatever answers DNS messages."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable

from ci_acme import dnswire
from ci_acme.dns.question import Server
from tests.clouds.api import Answer, Call, FakeApi
from tests.dns.servers import forward

TYPE = "application/dns-message"


class Doh(FakeApi):
    """A resolver that asks one server and is strict about the protocol. `asked` are its questions: `name TYPE`.

    `answer` may be replaced while it runs; None from it is an answer that is no DNS message.
    """

    def __init__(self, server: Server, *, post: bool = True, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.answer: Callable[[bytes], bytes | None] = lambda wire: forward(wire, server)
        self.asked: list[str] = []
        self._post = post

    @property
    def endpoint(self) -> str:
        return f"{self.url}/dns-query"

    def handle(self, call: Call) -> Answer:
        wire = self._message(call)
        if isinstance(wire, int):
            return Answer(wire)
        message = dnswire.parse(wire)
        if message.question is None or message.id != 0 or not message.flags & 0x0100:
            return Answer(400)
        with self.lock:
            self.asked.append(f"{message.question[0]} {message.question[1]}")
        reply = self.answer(wire)
        if reply is None:
            return Answer(200, b"<html>", {"Content-Type": "text/html"})
        return Answer(200, reply, {"Content-Type": TYPE})

    def _message(self, call: Call) -> bytes | int:
        """The message of a request, or the status of its refusal."""
        text = call.one("dns") or ""
        refusals = {
            404: call.path != "/dns-query",
            406: call.headers.get("accept") != TYPE,
            405: call.method == "POST" and not self._post,
            415: call.method == "POST" and call.headers.get("content-type") != TYPE,
            400: call.method == "GET" and (not text or "=" in text),
        }
        for status, holds in refusals.items():
            if holds:
                return status
        return call.body if call.method == "POST" else base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
