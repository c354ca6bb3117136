"""DigitalOcean's API v2: domains and their records. Identical records are allowed, and there are no comments."""

from __future__ import annotations

import re
from typing import Any

from ci_acme.dnsapi import absolute, relative
from tests.clouds.api import Answer, Call
from tests.clouds.records import FakeZone, Rec, RecordsApi, page_of

_SCOPES = {"GET": "domain:read", "POST": "domain:create", "DELETE": "domain:delete"}


def _error(status: int, kind: str, message: str) -> Answer:
    return Answer.of({"id": kind, "message": message}, status)


class FakeDigitalOcean(RecordsApi):
    """`tokens` maps secrets to their scopes."""

    first_id = 92264290

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self.tokens: dict[str, set[str]] = {}

    def add_zone(self, name: str) -> FakeZone:
        zone = FakeZone(name, name)
        self.zones.append(zone)
        return zone

    def handle(self, call: Call) -> Answer:
        scopes = self.tokens.get(call.headers.get("authorization", "").removeprefix("Bearer "))
        if scopes is None:
            return _error(401, "Unauthorized", "Unable to authenticate you")
        if _SCOPES.get(call.method) not in scopes:
            return _error(403, "forbidden", "You do not have access for the attempted action.")
        with self.lock:
            return self._route(call)

    def _route(self, call: Call) -> Answer:
        missing = _error(404, "not_found", "The resource you were accessing could not be found.")
        match = re.fullmatch(r"/v2/domains/([^/]+)(/records(?:/([^/]+))?)?", call.path)
        zone = match and next((zone for zone in self.zones if zone.name == match[1]), None)
        if not match or not zone:
            return missing
        if match[2] is None:
            return Answer.of({"domain": {"name": zone.name, "ttl": 1800, "zone_file": _zone_file(zone)}})
        if match[3] is None:
            return self._list(call, zone) if call.method == "GET" else self._create(call, zone)
        record = next((one for one in zone.records if str(one.id) == match[3]), None)
        if record is None or call.method != "DELETE":
            return missing
        zone.records.remove(record)
        self.serve(zone, record.name)
        return Answer(204)

    def _list(self, call: Call, zone: FakeZone) -> Answer:
        assert set(call.query) <= {"type", "name", "page", "per_page"}
        found = [record for record in zone.records if call.one("name") in {None, record.name}]
        shown, page, _, pages = page_of(call, [_record(record, zone) for record in found], 20, 200)
        links = {"pages": {"next": f"{self.url}{call.path}?page={page + 1}"}} if page < pages else {}
        return Answer.of({"domain_records": shown, "links": links, "meta": {"total": len(found)}})

    def _create(self, call: Call, zone: FakeZone) -> Answer:
        body = call.json
        assert set(body) == {"type", "name", "data", "ttl"}
        if body["type"] != "TXT" or not body["data"]:
            return _error(422, "unprocessable_entity", "Data can't be blank")
        if body["ttl"] < 30:
            return _error(422, "unprocessable_entity", "TTL must be greater than or equal to 30")
        record = Rec(self.new_id(), absolute(body["name"], zone.name), body["data"], body["ttl"])
        zone.records.append(record)
        self.serve(zone, record.name)
        return Answer.of({"domain_record": _record(record, zone)}, 201)


def _record(record: Rec, zone: FakeZone) -> dict[str, Any]:
    blank = dict.fromkeys(("priority", "port", "weight", "flags", "tag"))
    name = relative(record.name, zone.name)
    return {"id": record.id, "type": "TXT", "name": name, "data": record.value, "ttl": record.ttl, **blank}


def _zone_file(zone: FakeZone) -> str:
    lines = [f"$ORIGIN {zone.name}.", "$TTL 1800"]
    lines += [f"{zone.name}. IN SOA ns1.digitalocean.com. hostmaster.{zone.name}. 1 10800 3600 604800 1800"]
    lines += [f"{zone.name}. 1800 IN NS ns{number}.digitalocean.com." for number in (1, 2, 3)]
    lines += [f"sub.{zone.name}. 1800 IN NS ns.example.net."]
    lines += [f"{record.name}. {record.ttl} IN TXT {record.value}" for record in zone.records]
    return "\n".join(lines) + "\n"
