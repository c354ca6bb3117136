"""A server of lego's `httpreq` protocol that changes a zone of the sandbox's DNS server."""

from __future__ import annotations

import base64
from typing import Any

from ci_acme.sandbox.dns import SandboxDns
from tests.clouds.api import Answer, Call, FakeApi

USER, PASSWORD = "ci-acme", "a password: with a colon"


class HttpreqApi(FakeApi):
    """POST `/present` and `/cleanup` below `/hooks`, for one zone; strict about everything that lego's clients send."""

    def __init__(self, dns: SandboxDns, zone: str, *, user: str | None = USER, ttl: int = 60) -> None:
        super().__init__()
        self.dns = dns
        self.zone = zone
        self.user = user
        self.ttl = ttl

    @property
    def endpoint(self) -> str:
        return f"{self.url}/hooks"

    def handle(self, call: Call) -> Answer:
        if self.user is not None:
            proof = base64.b64encode(f"{self.user}:{PASSWORD}".encode()).decode()
            if call.headers.get("authorization") != f"Basic {proof}":
                return Answer(401, b"who are you?", {"WWW-Authenticate": 'Basic realm="dns"'})
        action = call.path.removeprefix("/hooks/")
        if call.path not in {"/hooks/present", "/hooks/cleanup"}:
            return Answer(404, b"not here")
        if call.method != "POST":
            return Answer(405, b"POST only")
        return self._change(action, call)

    def _change(self, action: str, call: Call) -> Answer:
        if call.headers.get("content-type") != "application/json":
            return Answer(415, b"JSON only")
        document: Any = call.json
        if set(document) != {"fqdn", "value"} or not all(isinstance(text, str) for text in document.values()):
            return Answer(400, b"fqdn and value, as text")
        fqdn, value = document["fqdn"], document["value"]
        if not fqdn.endswith(f".{self.zone}."):
            return Answer(422, f"{fqdn} is not in {self.zone}.".encode())
        with self.lock:
            values = [kept for kept in self.dns.values(fqdn) if kept != value]
            if action == "present":
                values.append(value)
            if values:
                self.dns.add(fqdn, "TXT", *(f'"{kept}"' for kept in values), ttl=self.ttl)
            else:
                self.dns.remove(fqdn, "TXT")
        return Answer(200)
