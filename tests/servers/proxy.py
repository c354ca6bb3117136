"""A TLS proxy in front of Pebble that has what Pebble lacks: rate limits, outages, slowness, cut connections.

It passes requests through unless a `Trouble` is planned for their path. The replies to trouble have the words and
fields of Boulder, Let's Encrypt's CA.
"""

from __future__ import annotations

import datetime as dt
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from tests.servers.pebble import Pebble
from tests.servers.tls import TlsFiles, tls_files

PROBLEM: Final = "application/problem+json"
_DOCS: Final = "see https://letsencrypt.org/docs/rate-limits/#new-orders-per-account"


@dataclass
class Answer:
    """What a client gets."""

    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        document: dict[str, Any] = json.loads(self.body)
        return document


class Cut(Exception):
    """The connection ends without an answer."""


Pass = Callable[[], Answer]
Trouble = Callable[[Pass], Answer]
"""Gets the way to the real CA, and may use it or not."""


def when(seconds: float, *, form: str) -> list[tuple[str, str]]:
    """A Retry-After field: `form` is ``seconds``, ``date`` or ``none``."""
    if form == "none":
        return []
    moment = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=seconds)
    return [("Retry-After", format_datetime(moment, usegmt=True) if form == "date" else str(int(seconds)))]


def rate_limited(seconds: float, *, form: str = "seconds") -> Trouble:
    """Boulder's 429 for a limit that counts certificates: the time is in the text in any case."""
    moment = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=seconds)
    text = f"too many new orders (300) from this account in the last 3h0m0s, retry after {moment:%Y-%m-%d %H:%M:%S} UTC"
    document = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": f"{text}: {_DOCS}", "status": 429}
    headers = [
        ("Content-Type", PROBLEM),
        *when(seconds, form=form),
        ("Link", '<https://letsencrypt.org/docs>;rel="help"'),
    ]
    return lambda go: Answer(429, json.dumps(document).encode(), headers)


def overloaded(seconds: float | None = None, *, form: str = "seconds") -> Trouble:
    """Boulder's load balancer: 503 with a problem that says rateLimited, and no nonce."""
    document = {
        "type": "urn:ietf:params:acme:error:rateLimited",
        "detail": "Service busy; retry later.",
        "status": 503,
    }
    headers = [("Content-Type", PROBLEM), *(when(seconds, form=form) if seconds is not None else [])]
    return lambda go: Answer(503, json.dumps(document).encode(), headers)


def down() -> Trouble:
    """A web server's own page."""
    return lambda go: Answer(502, b"<html><h1>502 Bad Gateway</h1></html>", [("Content-Type", "text/html")])


def slow(seconds: float) -> Trouble:
    """The right answer, late."""

    def late(go: Pass) -> Answer:
        time.sleep(seconds)
        return go()

    return late


def cut(*, done: bool) -> Trouble:
    """No answer; what was asked for is `done` at the CA or not."""

    def trouble(go: Pass) -> Answer:
        if done:
            go()
        raise Cut

    return trouble


def processing(seconds: float, *, form: str = "seconds") -> Trouble:
    """An order that is not valid yet: without its certificate, to be asked for again later."""

    def later(go: Pass) -> Answer:
        answer = go()
        document = answer.document()
        document.update(status="processing")
        document.pop("certificate", None)
        kept = [(name, value) for name, value in answer.headers if name.lower() != "retry-after"]
        return Answer(answer.status, json.dumps(document).encode(), [*kept, *when(seconds, form=form)])

    return later


class LimitsProxy:
    """A context manager: `directory_url` and `ca_bundle` instead of Pebble's.

    `plan(path, trouble, times)` lets the next requests of a path (its first segment: ``/dir``, ``/nonce-plz``,
    ``/order-plz``, ``/finalize-order``, ``/my-order``, ``/certZ``, …) meet trouble, after those planned before.
    """

    def __init__(self, directory: Path, pebble: Pebble) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.pebble = pebble
        self.seen: list[tuple[str, int]] = []
        """Path and status of every request; 0 for a cut connection."""
        self._files: TlsFiles = tls_files(directory)
        self._planned: dict[str, list[Trouble]] = {}
        self._lock = threading.Lock()
        self.port = 0

    @property
    def directory_url(self) -> str:
        """The URL of the ACME directory."""
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def ca_bundle(self) -> Path:
        """What a client must trust."""
        return self._files.ca_bundle

    def plan(self, path: str, trouble: Trouble, times: int = 1) -> None:
        """Let the next `times` requests of this path meet trouble."""
        with self._lock:
            self._planned.setdefault(path, []).extend([trouble] * times)

    def __getattr__(self, name: str) -> Any:
        """What tests ask a CA for and the proxy has not is Pebble's."""
        return getattr(self.pebble, name)

    def __enter__(self) -> Any:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._files.certificate, self._files.key)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.context = context
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What a client gets for its request. Raises `Cut`."""
        first = "/" + path.split("/", 2)[1].partition("?")[0]
        with self._lock:
            waiting = self._planned.get(first)
            trouble = waiting.pop(0) if waiting else None
        status = 0
        try:
            answer = (
                self._pass(method, path, headers, body)
                if trouble is None
                else trouble(lambda: self._pass(method, path, headers, body))
            )
            status = answer.status
        finally:
            with self._lock:
                self.seen.append((first, status))
        return answer

    def _pass(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Pebble makes its URLs of the Host field, which names the proxy: so the signed URLs are right, too."""
        context = ssl.create_default_context(cafile=str(self.pebble.ca_bundle))
        upstream = http.client.HTTPSConnection(self.pebble.host, self.pebble.port, context=context, timeout=30)
        try:
            wanted = {name: value for name, value in headers.items() if name.lower() != "connection"}
            upstream.request(method, path, body=body or None, headers=wanted)
            reply = upstream.getresponse()
            kept = [
                (name, value)
                for name, value in reply.getheaders()
                if name.lower() not in {"content-length", "transfer-encoding", "connection", "date"}
            ]
            return Answer(reply.status, reply.read(), kept)
        finally:
            upstream.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext

    def get_request(self) -> tuple[socket.socket, Any]:
        sock, address = super().get_request()
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nothing to tell."""

    def shutdown_request(self, request: Any) -> None:
        """Close it, whatever state TLS is in."""
        with suppress(OSError):
            super().shutdown_request(request)


def _handler(proxy: LimitsProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                answer = proxy.answer(self.command, self.path, dict(self.headers.items()), body)
            except (Cut, OSError, http.client.HTTPException):
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

        do_GET = do_HEAD = do_POST = _serve  # noqa: N815  # the names that http.server calls

    return Handler
