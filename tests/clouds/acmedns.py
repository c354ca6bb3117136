"""acme-dns as its source has it: two slots a subdomain, dated by the second, the older one is overwritten.

Its zone is served by the sandbox's DNS server; TTLs are 1, as acme-dns's are.
"""

from __future__ import annotations

import re
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ci_acme.sandbox.dns import SandboxDns
from tests.clouds.api import Answer, Call, FakeApi

_FOREIGN = re.compile(r"[^A-Za-z\-_0-9]+")
_SUBDOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
TTL = 1


@dataclass
class Registration:
    """What /register gives, and the slots: value and second of the last write, in the order of their rows."""

    subdomain: str
    full_domain: str
    username: str
    password: str = field(repr=False)
    slots: list[tuple[str, int]] = field(default_factory=lambda: [("", 0), ("", 0)])


class AcmeDnsApi(FakeApi):
    """A server for one domain. `now` is its clock, in seconds; `register` is what an administrator does."""

    def __init__(self, dns: SandboxDns, domain: str, *, now: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.dns = dns
        self.domain = domain
        self.now = now
        self.registrations: dict[str, Registration] = {}

    def register(self) -> Registration:
        subdomain = str(uuid.uuid4())
        made = Registration(
            subdomain, f"{subdomain}.{self.domain}", str(uuid.uuid4()), secrets.token_urlsafe(30)[:40].replace("=", "-")
        )
        with self.lock:
            self.registrations[made.username] = made
        return made

    def handle(self, call: Call) -> Answer:
        if call.path != "/update":
            return Answer(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})
        if call.method != "POST":
            return Answer(405, b"Method Not Allowed\n", {"Content-Type": "text/plain; charset=utf-8"})
        with self.lock:
            return self._update(call)

    def plant(self, made: Registration, value: str) -> None:
        """Write a value as another client of the registration would."""
        with self.lock:
            self._store(made, value)

    def values(self, made: Registration) -> list[str]:
        """What is served."""
        with self.lock:
            return [value for value, _ in made.slots if value]

    def _update(self, call: Call) -> Answer:
        """`Auth`, then `webUpdatePost`."""
        made = self.registrations.get(call.headers.get("x-api-user", ""))
        key = call.headers.get("x-api-key", "")
        try:
            body: Any = call.json or {}
        except ValueError:
            body = {}
        if made is None or key != made.password or body.get("subdomain") != made.subdomain:
            return Answer.of({"error": "forbidden"}, 401)
        if not _SUBDOMAIN.match(made.subdomain):
            return Answer.of({"error": "bad_subdomain"}, 400)
        value = body.get("txt", "")
        if len(value) != 43 or _FOREIGN.search(value):
            return Answer.of({"error": "bad_txt"}, 400)
        self._store(made, value)
        return Answer.of({"txt": value})

    def _store(self, made: Registration, value: str) -> None:
        """UPDATE of the row that comes first by LastUpdate; of equal ones, the first row."""
        oldest = min(range(2), key=lambda row: made.slots[row][1])
        made.slots[oldest] = (value, int(self.now()))
        served = list(dict.fromkeys(f'"{one}"' for one, _ in made.slots if one))
        self.dns.add(made.full_domain, "TXT", *served, ttl=TTL)
