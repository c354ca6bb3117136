"""Cloudflare's API v4: zones and DNS records, as far as challenges need it, with its error codes."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from tests.clouds.api import Answer, Call
from tests.clouds.records import FakeZone, Rec, RecordsApi, page_of, text_of, value_of

_FIELDS = {"type", "name", "content", "ttl", "comment"}


class Refusal(Exception):
    def __init__(self, status: int, code: int, message: str, *chain: tuple[int, str]) -> None:
        super().__init__(message)
        links = [{"code": number, "message": text} for number, text in chain]
        error = {"code": code, "message": message, **({"error_chain": links} if chain else {})}
        body = {"result": None, "success": False, "errors": [error], "messages": []}
        self.answer = Answer.of(body, status)


@dataclass
class Token:
    """What a token may do; `zones` are ids, None for all. Account tokens see zones that they have no permission for."""

    zones: set[str] | None = None
    permissions: set[str] = field(default_factory=lambda: {"dns:edit", "zone:read"})

    def sees(self, zone: FakeZone) -> bool:
        return self.zones is None or zone.id in self.zones


class FakeCloudflare(RecordsApi):
    """`tokens` maps secrets to what they may do."""

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self.tokens: dict[str, Token] = {}

    def new_id(self) -> str:
        return secrets.token_hex(16)

    def add_zone(self, name: str, *, account: str = "one", **facts: Any) -> FakeZone:
        usual = {"status": "active", "type": "full", "name_servers": ["ada.ns.cloudflare.com", "Bob.NS.cloudflare.com"]}
        zone = FakeZone(self.new_id(), name, facts={**usual, "account": account, **facts})
        self.zones.append(zone)
        return zone

    def handle(self, call: Call) -> Answer:
        with self.lock:
            try:
                return self._route(call, self._token(call))
            except Refusal as refusal:
                return refusal.answer

    def _token(self, call: Call) -> Token:
        head = call.headers.get("authorization")
        if head is None:
            raise Refusal(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")
        kind, _, secret = head.partition(" ")
        if kind != "Bearer" or not re.fullmatch(r"[A-Za-z0-9_-]{20,}", secret):
            raise Refusal(400, 6003, "Invalid request headers", (6111, "Invalid format for Authorization header"))
        if secret not in self.tokens:
            raise Refusal(403, 9109, "Invalid access token")
        return self.tokens[secret]

    def _route(self, call: Call, token: Token) -> Answer:
        if call.path == "/zones" and call.method == "GET":
            return self._zones(call, token)
        match = re.fullmatch(r"/zones/([^/]+)(?:/dns_records(?:/([^/]+))?)?", call.path)
        if match is None or not re.fullmatch(r"[0-9a-f]{32}", match[1]):
            raise Refusal(400, 7003, f"Could not route to {call.path}, perhaps your object identifier is invalid?")
        zone = next((zone for zone in self.zones if zone.id == match[1]), None)
        if "dns_records" not in call.path:
            if zone is None or not token.sees(zone) or "zone:read" not in token.permissions:
                raise Refusal(403, 9109, "Unauthorized to access requested resource")
            return _result(_zone(zone))
        if zone is None or not token.sees(zone) or "dns:edit" not in token.permissions:
            raise Refusal(403, 10000, "Authentication error")
        if call.method == "GET" and match[2] is None:
            return self._list(call, zone)
        if call.method == "POST" and match[2] == "batch":
            return self._batch(call, zone)
        if call.method == "DELETE" and match[2] is not None:
            record = self._delete(zone, match[2])
            self.serve(zone, record.name)
            return _result({"id": record.id})
        raise Refusal(405, 10405, f"{call.method} method not allowed")

    def _zones(self, call: Call, token: Token) -> Answer:
        if "zone:read" not in token.permissions:
            text = "Actor 'com.cloudflare.api.token.x' requires permission 'com.cloudflare.api.account.zone.list'"
            raise Refusal(403, 0, f"{text} to list zones")
        assert set(call.query) <= {"name", "page", "per_page", "account.id"}
        found = [
            zone
            for zone in self.zones
            if token.sees(zone)
            and call.one("name") in {None, zone.name}
            and call.one("account.id") in {None, zone.facts["account"]}
        ]
        return _pages(call, [_zone(zone) for zone in found], 20, 50)

    def _list(self, call: Call, zone: FakeZone) -> Answer:
        assert set(call.query) <= {"type", "name", "page", "per_page"}
        assert call.one("type") == "TXT"
        found = [record for record in zone.records if call.one("name") in {None, record.name}]
        return _pages(call, [_record(record) for record in found], 100, 5_000_000)

    def _batch(self, call: Call, zone: FakeZone) -> Answer:
        """All or nothing: deletes, then posts."""
        assert call.headers["content-type"] == "application/json"
        body = call.json
        assert set(body) <= {"deletes", "posts"}
        if sum(len(body[key]) for key in body) > 200:
            raise Refusal(400, 1004, "DNS Validation Error", (9200, "too many records in a batch"))
        before = list(zone.records)
        try:
            deleted = [self._delete(zone, item["id"]) for item in body.get("deletes", ())]
            posted = [self._post(zone, item) for item in body.get("posts", ())]
        except Refusal:
            zone.records[:] = before
            raise
        for name in {record.name for record in (*deleted, *posted)}:
            self.serve(zone, name)
        return _result({"deletes": [_record(one) for one in deleted], "posts": [_record(one) for one in posted]})

    def _post(self, zone: FakeZone, item: Any) -> Rec:
        assert set(item) <= _FIELDS
        assert item["type"] == "TXT"
        if item["ttl"] != 1 and not 60 <= item["ttl"] <= 86400:
            why = (9021, "TTL must be between 60 and 86400 seconds, or 1 for Automatic.")
            raise Refusal(400, 1004, "DNS Validation Error", why)
        if not item["name"].endswith(zone.name):
            raise Refusal(400, 1004, "DNS Validation Error", (9000, "DNS name is invalid."))
        if len(item.get("comment") or "") > 100:
            raise Refusal(400, 1004, "DNS Validation Error", (9300, "comment is too long"))
        value = value_of(item["content"])
        if any(record.value == value for record in zone.at(item["name"])):
            raise Refusal(400, 81058, "An identical record already exists.")
        record = Rec(self.new_id(), item["name"], value, item["ttl"], item.get("comment") or "")
        zone.records.append(record)
        return record

    def _delete(self, zone: FakeZone, identifier: str) -> Rec:
        record = next((record for record in zone.records if record.id == identifier), None)
        if record is None:
            raise Refusal(404, 81044, "Record does not exist.")
        zone.records.remove(record)
        return record


def _result(result: Any) -> Answer:
    return Answer.of({"result": result, "success": True, "errors": [], "messages": []})


def _pages(call: Call, items: list[Any], default: int, most: int) -> Answer:
    shown, page, size, pages = page_of(call, items, default, most)
    info = {"page": page, "per_page": size, "count": len(shown), "total_count": len(items), "total_pages": pages}
    return Answer.of({"result": shown, "success": True, "errors": [], "messages": [], "result_info": info})


def _zone(zone: FakeZone) -> dict[str, Any]:
    facts = dict(zone.facts)
    account = facts.pop("account")
    more = {"paused": False, "vanity_name_servers": [], "account": {"id": account, "name": account}}
    return {"id": zone.id, "name": zone.name, **more, **facts}


def _record(record: Rec) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "type": "TXT",
        "content": text_of(record.value),
        "proxiable": False,
        "proxied": False,
        "ttl": record.ttl,
        "settings": {},
        "meta": {},
        "comment": record.note or None,
        "tags": [],
    }
