"""Two search APIs of CT logs on loopback: Cert Spotter's, by its documentation, and crt.sh's JSON, as it is seen.

Strict: a parameter that the real one does not have, a page that nobody could know of, a missing token are errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.clouds.api import Answer, Call, FakeApi

_SUFFIXES = {"test", "com", "org"}


@dataclass(frozen=True)
class Logged:
    """An issuance in the logs: both its precertificate and its certificate, unless it says otherwise."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    issuer: str = "C=US, O=Let's Encrypt, CN=R3"
    tbs_sha256: str = "0" * 64
    pubkey_sha256: str = "0" * 64
    cert_sha256: str = "0" * 64
    serial: str = "0a"
    final: bool = True


@dataclass
class Logs:
    """What has been logged, in this order."""

    issuances: list[Logged] = field(default_factory=list)

    def of(self, domain: str, *, below: bool) -> list[tuple[int, Logged]]:
        """Those that have not ended, with their places."""
        now = datetime.now(timezone.utc)

        def fits(name: str) -> bool:
            base = name.removeprefix("*.")
            return base == domain or (below and base.endswith(f".{domain}"))

        listed = enumerate(self.issuances)
        return [(n, one) for n, one in listed if one.not_after > now and any(map(fits, one.names))]


class FakeCertSpotter(FakeApi):
    """`token`, if it is set, has to come as a bearer token. A page has two issuances."""

    page = 2

    def __init__(self, logs: Logs, token: str = "") -> None:
        super().__init__()
        self.logs = logs
        self.token = token

    def handle(self, call: Call) -> Answer:
        if (call.method, call.path) != ("GET", "/v1/issuances"):
            return _error(404, "not_found")
        if self.token and call.headers.get("authorization") != f"Bearer {self.token}":
            return _error(401, "unauthorized")
        if set(call.query) - {"domain", "include_subdomains", "match_wildcards", "after", "expand"}:
            return _error(400, "invalid_parameter")
        domain = call.one("domain") or ""
        if not domain or domain in _SUFFIXES or domain.startswith("*."):
            return _error(403, "not_allowed_by_plan")
        found = self.logs.of(domain, below=call.one("include_subdomains") == "true")
        if "after" in call.query:
            known = {_id(n): n for n, _ in found}
            after = call.one("after") or ""
            if after not in known:
                return _error(400, "invalid_after")
            found = [(n, one) for n, one in found if n > known[after]]
        expand = set(call.query.get("expand", ()))
        return Answer.of([_issuance(n, one, expand) for n, one in found[: self.page]])


def _id(place: int) -> str:
    return str(4_000_000_000 + 17 * place)


def _issuance(place: int, one: Logged, expand: set[str]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": _id(place),
        "tbs_sha256": one.tbs_sha256,
        "cert_sha256": one.cert_sha256,
        "pubkey_sha256": one.pubkey_sha256,
        "not_before": f"{one.not_before:%Y-%m-%dT%H:%M:%SZ}",
        "not_after": f"{one.not_after:%Y-%m-%dT%H:%M:%SZ}",
        "revoked": False,
    }
    if "dns_names" in expand:
        document["dns_names"] = sorted(one.names)
    if "issuer" in expand:
        document["issuer"] = {"friendly_name": one.issuer.rpartition("CN=")[2], "name": one.issuer}
    return document


def _error(status: int, code: str) -> Answer:
    return Answer.of({"code": code, "message": f"You did something: {code}"}, status)


class FakeCrtSh(FakeApi):
    """Rows for a precertificate and its certificate, and only the names that the search asked for."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self.logs = logs

    def handle(self, call: Call) -> Answer:
        if (call.method, call.path) != ("GET", "/") or set(call.query) != {"q", "output", "exclude"}:
            return Answer(404, b"<html>Not Found</html>")
        if (call.one("output"), call.one("exclude")) != ("json", "expired"):
            return Answer(200, b"<html>a page for people</html>")
        wanted = call.one("q") or ""
        domain = wanted.removeprefix("%.")
        rows = []
        for place, one in self.logs.of(domain, below=wanted.startswith("%.")):
            names = [name for name in one.names if (name.endswith(f".{domain}") if "%" in wanted else name == domain)]
            if names:
                rows += [_row(2 * place + final, one, names) for final in range(1 + one.final)]
        return Answer.of(rows)


def _row(number: int, one: Logged, names: list[str]) -> dict[str, Any]:
    return {
        "issuer_ca_id": 183267,
        "issuer_name": one.issuer,
        "common_name": one.names[0],
        "name_value": "\n".join(names),
        "id": 9_000_000_000 + number,
        "entry_timestamp": f"{one.not_before + timedelta(hours=1):%Y-%m-%dT%H:%M:%S}.123",
        "not_before": f"{one.not_before:%Y-%m-%dT%H:%M:%S}",
        "not_after": f"{one.not_after:%Y-%m-%dT%H:%M:%S}",
        "serial_number": one.serial,
        "result_count": 2,
    }
