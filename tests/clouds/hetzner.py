"""The Hetzner Cloud API: zones, record sets, and actions that end after their request was answered."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ci_acme.dnsapi import absolute, relative
from tests.clouds.api import Answer, Call
from tests.clouds.records import FakeZone, Rec, RecordsApi, page_of, text_of, value_of


def _error(status: int, code: str, message: str, details: Any = None) -> Answer:
    return Answer.of({"error": {"code": code, "message": message, "details": details}}, status)


def _invalid(message: str, name: str) -> Answer:
    return _error(422, "invalid_input", message, {"fields": [{"name": name, "messages": [message]}]})


_NOT_FOUND = _error(404, "not_found", "Zone RRSet not found")


@dataclass
class Action:
    """A change under way: it is carried out when its time has come, whether or not anybody asks for it.

    Time is counted in requests, of which `ends` is one's number.
    """

    id: int
    command: str
    zone: FakeZone
    name: str
    ends: int
    apply: Callable[[], None]
    status: str = "running"

    @property
    def document(self) -> dict[str, Any]:
        done = self.status != "running"
        error = {"code": "action_failed", "message": "Action failed"} if self.status == "error" else None
        return {
            "id": self.id,
            "status": self.status,
            "command": self.command,
            "progress": 100 if done else 50,
            "started": "2026-01-13T14:17:56Z",
            "finished": "2026-01-13T14:17:59Z" if done else None,
            "error": error,
            "resources": [{"id": self.zone.id, "type": "zone"}],
        }


class FakeHetzner(RecordsApi):
    """`tokens` maps secrets to `read` or `write`. `takes` is how many requests an action goes on for; `fails` lets the
    next ones end in an error.
    """

    first_id = 604989101982297

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self.tokens: dict[str, str] = {}
        self.actions: list[Action] = []
        self.takes = 1
        self.fails = 0

    def add_zone(self, name: str, **facts: Any) -> FakeZone:
        servers = ["hydrogen.ns.hetzner.com.", "oxygen.ns.hetzner.com.", "helium.ns.hetzner.de."]
        usual = {"mode": "primary", "ttl": 86400, "status": "ok", "authoritative_nameservers": {"assigned": servers}}
        zone = FakeZone(53091 + len(self.zones), name, facts={**usual, **facts})
        self.zones.append(zone)
        return zone

    def handle(self, call: Call) -> Answer:
        right = self.tokens.get(call.headers.get("authorization", "").removeprefix("Bearer "))
        if right is None:
            return _error(401, "unauthorized", "unable to authenticate")
        if right == "read" and call.method != "GET":
            return _error(403, "token_readonly", "The token is only allowed to perform GET requests")
        with self.lock:
            self._advance()
            return self._route(call)

    def _advance(self) -> None:
        for action in self.actions:
            if action.status == "running" and len(self.calls) >= action.ends:
                if self.fails:
                    self.fails -= 1
                    action.status = "error"
                else:
                    action.apply()
                    self.serve(action.zone, action.name)
                    action.status = "success"

    def _route(self, call: Call) -> Answer:  # noqa: PLR0911 - one for each resource
        if call.path == "/zones/actions":
            wanted = {int(number) for number in call.query["id"]}
            return self._page(call, "actions", [one.document for one in self.actions if one.id in wanted], 50)
        match = re.fullmatch(r"/zones/([^/]+)(?:/(.+))?", call.path)
        zone = match and next((zone for zone in self.zones if match[1] in {zone.name, str(zone.id)}), None)
        if not match or not zone:
            return _error(404, "not_found", "Zone not found")
        if match[2] is None:
            return Answer.of({"zone": {"id": zone.id, "name": zone.name, "labels": {}, **zone.facts}})
        if match[2] == "actions":
            assert call.query["status"] == ["running"]
            running = [one.document for one in self.actions if one.zone is zone and one.status == "running"]
            return self._page(call, "actions", running, 50)
        if zone.facts["mode"] != "primary":
            return _error(422, "incorrect_zone_mode", "This operation is not supported for this Zone's mode.")
        if match[2] == "rrsets":
            return self._list(call, zone)
        action = re.fullmatch(r"rrsets/([^/]+)/TXT/actions/(add|remove)_records", match[2])
        assert action is not None, call.path
        assert action[1] == action[1].lower()
        change = self._add if action[2] == "add" else self._remove
        return change(call.json, zone, absolute(action[1], zone.name))

    def _list(self, call: Call, zone: FakeZone) -> Answer:
        assert set(call.query) <= {"type", "name", "page", "per_page"}
        names = list(dict.fromkeys(record.name for record in zone.records))
        wanted = call.one("name")
        sets = [_rrset(zone, name) for name in names if wanted in {None, relative(name, zone.name)}]
        return self._page(call, "rrsets", sets, 100)

    def _page(self, call: Call, key: str, items: list[Any], most: int) -> Answer:
        shown, page, size, pages = page_of(call, items, 25, most)
        pagination = {"page": page, "per_page": size, "last_page": pages, "total_entries": len(items)}
        return Answer.of({key: shown, "meta": {"pagination": pagination}})

    def _pending(self, zone: FakeZone, name: str) -> list[Rec]:
        """What the set will be when all actions are over."""
        now = list(zone.records)
        for action in self.actions:
            if action.status == "running" and action.zone is zone:
                action.apply()
        later, zone.records[:] = zone.at(name), now
        return later

    def _add(self, body: Any, zone: FakeZone, name: str) -> Answer:
        assert set(body) <= {"records", "ttl"}
        later = self._pending(zone, name)
        values = [value_of(item["value"]) for item in body["records"]]
        for index, item in enumerate(body["records"]):
            assert item["value"].startswith('"')
            if values.count(values[index]) > 1 or any(record.value == values[index] for record in later):
                return _invalid(f"duplicate value '{item['value']}'", f"records[0].records[{index}].value")
        ttl = body.get("ttl")
        if ttl is not None and not 60 <= ttl <= 2147483647:
            return _invalid("must be between 60 and 2147483647", "ttl")
        if ttl is not None and later and later[0].ttl is not None and later[0].ttl != ttl:
            return _invalid("ttl must be the same as that of the RRSet", "ttl")

        def apply() -> None:
            for item, value in zip(body["records"], values, strict=True):
                kept = zone.at(name)
                own = kept[0].ttl if kept else ttl
                zone.records.append(Rec(0, name, value, own, item.get("comment", "")))

        return self._start("add_rrset_records", zone, name, apply)

    def _remove(self, body: Any, zone: FakeZone, name: str) -> Answer:
        values = {value_of(item["value"]) for item in body["records"]}
        later = {record.value for record in self._pending(zone, name)}
        if not later:
            return _NOT_FOUND
        if not values <= later:
            return _invalid("record not found", "records")

        def apply() -> None:
            zone.records[:] = [one for one in zone.records if one.name != name or one.value not in values]

        return self._start("remove_rrset_records", zone, name, apply)

    def _start(self, command: str, zone: FakeZone, name: str, apply: Callable[[], None]) -> Answer:
        action = Action(self.new_id(), command, zone, name, len(self.calls) + self.takes, apply)
        self.actions.append(action)
        return Answer.of({"action": action.document}, 201)


def _rrset(zone: FakeZone, name: str) -> dict[str, Any]:
    records = zone.at(name)
    short = relative(name, zone.name)
    return {
        "id": f"{short}/TXT",
        "name": short,
        "type": "TXT",
        "ttl": records[0].ttl,
        "labels": {},
        "protection": {"change": False},
        "records": [{"value": text_of(record.value), "comment": record.note} for record in records],
        "zone": zone.id,
    }
