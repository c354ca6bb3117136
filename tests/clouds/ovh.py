"""OVHcloud's API: signed requests or OAuth2 tokens, access rules, and a zone that is served as it was refreshed."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from ci_acme.dnsapi import absolute, relative
from tests.clouds.api import Answer, Call
from tests.clouds.records import FakeZone, Rec, RecordsApi, text_of, value_of


def _error(status: int, message: str, code: str = "", kind: str = "") -> Answer:
    words = {400: "Bad Request", 403: "Forbidden", 404: "Not Found"}.get(status, "")
    body = {"message": message, "httpCode": f"{status} {words}"}
    return Answer.of({**body, **({"errorCode": code} if code else {"class": kind or "Client::NotFound"})}, status)


@dataclass
class Consumer:
    """A consumer key: its application, and what it was granted as (method, path with `*`)."""

    application: str
    secret: str
    rules: list[tuple[str, str]] = field(default_factory=lambda: [(one, "/*") for one in ("GET", "POST", "DELETE")])

    def may(self, method: str, path: str) -> bool:
        return any(
            method == verb and re.fullmatch(re.escape(rule).replace(r"\*", ".*"), path) for verb, rule in self.rules
        )


class FakeOvh(RecordsApi):
    """`consumers` maps consumer keys to what they may do; `accounts` service accounts to their secrets.

    `ahead` is how far its clock is ahead of ours, in seconds.
    """

    first_id = 1553659740

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self.consumers: dict[str, Consumer] = {}
        self.accounts: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.ahead = 0.0
        self.changed: set[str] = set()

    @property
    def base(self) -> str:
        return f"{self.url}/1.0"

    def add_zone(self, name: str) -> FakeZone:
        zone = FakeZone(name, name, facts={"nameServers": ["dns18.ovh.net", "ns18.ovh.net"]})
        self.zones.append(zone)
        return zone

    def handle(self, call: Call) -> Answer:
        with self.lock:
            if call.path == "/1.0/auth/time":
                return Answer.of(int(time.time() + self.ahead))
            if call.path == "/auth/oauth2/token":
                return self._token(call)
            path = call.path.removeprefix("/1.0")
            return self._refusal(call, path) or self._route(call, path)

    def _token(self, call: Call) -> Answer:
        form = {name: values[0] for name, values in parse_qs(call.body.decode()).items()}
        assert form["grant_type"] == "client_credentials"
        assert form["scope"] == "all"
        if self.accounts.get(form["client_id"]) != form["client_secret"]:
            return Answer.of({"error": "invalid_client", "error_description": "client authentication failed"}, 401)
        token = f"oauth-{len(self.tokens)}"
        self.tokens.add(token)
        return Answer.of({"access_token": token, "token_type": "Bearer", "expires_in": 3599, "scope": "all"})

    def _refusal(self, call: Call, path: str) -> Answer | None:  # noqa: PLR0911 - one for each fault
        """What is wrong with the proof of a request, None if nothing is."""
        head = call.headers
        if "authorization" in head:
            known = head["authorization"].removeprefix("Bearer ") in self.tokens
            return None if known else _error(401, "This token is not valid", "INVALID_TOKEN")
        applications = {consumer.application for consumer in self.consumers.values()}
        if head.get("x-ovh-application") not in applications:
            return _error(403, "Invalid application key", "INVALID_KEY")
        consumer = self.consumers.get(head["x-ovh-consumer"])
        if consumer is None:
            return _error(403, "This credential does not exist", "NOT_CREDENTIAL")
        stamp = head["x-ovh-timestamp"]
        if abs(int(stamp) - time.time() - self.ahead) > 30:
            return _error(400, "Query out of time", "QUERY_TIME_OUT")
        url = f"http://{head['host']}{call.target}"
        text = "+".join((consumer.secret, head["x-ovh-consumer"], call.method, url, call.body.decode(), stamp))
        if head["x-ovh-signature"] != "$1$" + hashlib.sha1(text.encode()).hexdigest():
            return _error(400, "Invalid signature", "INVALID_SIGNATURE")
        if not consumer.may(call.method, path):
            return _error(403, "This call has not been granted", "NOT_GRANTED_CALL")
        return None

    def _route(self, call: Call, path: str) -> Answer:  # noqa: PLR0911 - one for each resource
        match = re.fullmatch(r"/domain/zone/([^/]+)(?:/(record|refresh)(?:/(\d+))?)?", path)
        zone = match and next((zone for zone in self.zones if zone.name == match[1]), None)
        if not match or not zone:
            return _error(404, "This service does not exist")
        what = (call.method, match[2] or "", match[3] is not None)
        if what == ("GET", "", False):
            facts = {"hasDnsAnycast": False, "dnssecSupported": True, "lastUpdate": "2026-01-01T00:00:00+00:00"}
            return Answer.of({"name": zone.name, **facts, **zone.facts})
        if what == ("POST", "refresh", False):
            for name in self.changed:
                self.serve(zone, name)
            self.changed.clear()
            return Answer.of(None)
        if what == ("GET", "record", False):
            return Answer.of([record.id for record in zone.records if _fits(call, relative(record.name, zone.name))])
        if what == ("POST", "record", False):
            return self._create(call, zone)
        record = next((one for one in zone.records if str(one.id) == match[3]), None)
        if record is None:
            return _error(404, f"The requested object (id = {match[3]}) does not exist")
        if call.method == "DELETE":
            zone.records.remove(record)
            self.changed.add(record.name)
            return Answer.of(None)
        return Answer.of(_record(record, zone))

    def _create(self, call: Call, zone: FakeZone) -> Answer:
        body = call.json
        assert set(body) == {"fieldType", "subDomain", "target", "ttl"}
        assert body["fieldType"] == "TXT"
        if body["ttl"] and body["ttl"] < 60:
            return _error(400, "Invalid ttl, it must be at least 60", kind="Client::BadRequest")
        name = absolute(body["subDomain"], zone.name)
        record = Rec(self.new_id(), name, value_of(body["target"]), body["ttl"])
        zone.records.append(record)
        self.changed.add(name)
        return Answer.of(_record(record, zone))


def _fits(call: Call, sub: str) -> bool:
    """The filter `subDomain` is an SQL ILIKE."""
    assert set(call.query) <= {"fieldType", "subDomain"}
    pattern = call.one("subDomain")
    if pattern is None:
        return True
    text = re.escape(pattern).replace("_", ".").replace("%", ".*")
    return re.fullmatch(text, "" if sub == "@" else sub, re.IGNORECASE) is not None


def _record(record: Rec, zone: FakeZone) -> dict[str, Any]:
    sub = relative(record.name, zone.name)
    return {
        "target": text_of(record.value),
        "ttl": record.ttl,
        "zone": zone.name,
        "fieldType": "TXT",
        "id": record.id,
        "subDomain": "" if sub == "@" else sub,
    }
