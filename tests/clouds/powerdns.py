"""PowerDNS's HTTP API by its documentation, with EXTEND and PRUNE (4.9.12, 5.0.2) or as it was before them.

What 4.7.3 and the recorded 4.1.5 answer is answered in the same words; the rest is by the HTTP API's pages. Its zones
are served by the sandbox's DNS server.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ci_acme.sandbox.dns import SandboxDns
from tests.clouds.api import Answer, Call, FakeApi

KEY = "an-api-key-for-tests"
ROOT = "/api/v1/servers/localhost"
LOCKED = Answer(500, b"Internal Server Error", {"Content-Type": "text/plain; charset=utf-8"})
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"(?: "(?:[^"\\]|\\.)*")*\Z')

Sets = dict[tuple[str, str], dict[str, Any]]


class _Refused(Exception):
    """422 with this error."""


@dataclass
class PowerZone:
    """A zone; `sets` are its record sets by name and type."""

    name: str
    kind: str = "Native"
    sets: Sets = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "account": "", "catalog": "", "id": self.name, "kind": self.kind, "last_check": 0, "masters": [],
            "name": self.name, "notified_serial": 0, "serial": 1, "url": f"{ROOT}/zones/{self.name}",
        }  # fmt: skip


class PowerDnsApi(FakeApi):
    """`single`: it knows EXTEND and PRUNE. `equal_ttls`: it refuses another TTL than that of the set (5.1)."""

    def __init__(
        self, dns: SandboxDns, zones: Mapping[str, str], *, single: bool = True, equal_ttls: bool = True
    ) -> None:
        super().__init__()
        self.dns = dns
        self.single = single
        self.equal_ttls = equal_ttls
        self.zones = {f"{name}.": PowerZone(f"{name}.", kind) for name, kind in zones.items()}
        self.filters = True
        """Whether `rrset_name` is looked at: before 4.6 it was not."""

    def handle(self, call: Call) -> Answer:
        if call.headers.get("x-api-key") != KEY:
            return _text(401, "Unauthorized")
        rest = call.path.removeprefix(ROOT)
        if call.path == rest:
            return _text(404, "Not Found")
        with self.lock:
            try:
                return self._route(call, rest)
            except _Refused as error:
                return Answer.of({"error": str(error)}, 422)

    def at(self, name: str) -> dict[str, int]:
        """The TXT values at a name that are not disabled, without quotes, with their TTL."""
        with self.lock:
            rrset = self._zone_of(name).sets.get((f"{name}.", "TXT"))
            records = [] if rrset is None else [one for one in rrset["records"] if not one["disabled"]]
            return {record["content"].strip('"'): rrset["ttl"] for record in records} if rrset else {}

    def put(self, name: str, *values: str, ttl: int = 300, disabled: bool = False) -> None:
        """Add records as a neighbour would."""
        with self.lock:
            sets = self._zone_of(name).sets
            rrset = sets.setdefault((f"{name}.", "TXT"), _new(f"{name}.", ttl))
            there = {record["content"] for record in rrset["records"]}
            added = [f'"{value}"' for value in values if f'"{value}"' not in there]
            rrset["records"] += [{"content": content, "disabled": disabled} for content in added]
            self._publish(sets, {})

    def drop(self, name: str, value: str) -> None:
        """Lose a record, as somebody's REPLACE would."""
        with self.lock:
            sets = self._zone_of(name).sets
            before = copy.deepcopy(sets)
            rrset = sets[f"{name}.", "TXT"]
            rrset["records"] = [one for one in rrset["records"] if one["content"] != f'"{value}"']
            if not rrset["records"]:
                del sets[f"{name}.", "TXT"]
            self._publish(sets, before)

    # --- routes

    def _route(self, call: Call, rest: str) -> Answer:
        if rest == "/zones" and call.method == "GET":
            wanted = call.one("zone")
            if wanted is not None:
                _canonical(wanted)
            found = [zone.as_dict() for zone in self.zones.values() if wanted in (None, zone.name)]
            return Answer.of(found)
        name, slash, action = rest.removeprefix("/zones/").partition("/")
        zone = self.zones.get(name)
        if zone is None:
            return _text(404, "Not Found")
        if action == "notify" and call.method == "PUT":
            return Answer.of({"result": "Notification queued"})
        if not slash and call.method == "GET":
            return Answer.of({**zone.as_dict(), "rrsets": self._listed(zone, call)})
        if not slash and call.method == "PATCH":
            return self._patch(zone, call.json)
        return _text(405, "Method Not Allowed")

    def _listed(self, zone: PowerZone, call: Call) -> list[dict[str, Any]]:
        wanted, kind = call.one("rrset_name"), call.one("rrset_type")
        if wanted is None or not self.filters:
            return list(zone.sets.values())
        _canonical(wanted)
        return [one for one in zone.sets.values() if one["name"] == wanted and kind in (None, one["type"])]

    # --- PATCH

    def _patch(self, zone: PowerZone, document: Any) -> Answer:
        if not isinstance(document, dict) or not isinstance(document.get("rrsets"), list):
            raise _Refused("No rrsets given in update request")
        sets = copy.deepcopy(zone.sets)
        replaced: set[tuple[str, str]] = set()
        for change in document["rrsets"]:
            kind = change["changetype"].upper()
            if kind not in self._known():
                raise _Refused(
                    f"Changetype '{kind}' is not a valid value" if self.single else "Changetype not understood"
                )
            name = _canonical(change["name"])
            if not name.endswith(f".{zone.name}") and name != zone.name:
                raise _Refused(f"RRset {name} IN {change['type']}: Name is out of zone")
            key = name, change["type"]
            if kind in {"DELETE", "REPLACE"} and key in replaced:
                raise _Refused(f"Duplicate RRset {name} IN {key[1]} with changetype: {kind}")
            replaced.add(key)
            self._known()[kind](sets, key, change)
        before, zone.sets = zone.sets, sets
        self._publish(sets, before)
        return Answer(204)

    def _known(self) -> dict[str, Callable[[Sets, tuple[str, str], Any], None]]:
        old = {"DELETE": self._delete, "REPLACE": self._replace}
        return {**old, "EXTEND": self._extend, "PRUNE": self._prune} if self.single else old

    def _delete(self, sets: Sets, key: tuple[str, str], _change: Any) -> None:
        sets.pop(key, None)

    def _replace(self, sets: Sets, key: tuple[str, str], change: Any) -> None:
        records = self._records(key, change)
        if len({record["content"] for record in records}) != len(records):
            raise _Refused(f"Duplicate record in RRset {key[0]} IN {key[1]}")
        sets.pop(key, None)
        if records:
            sets[key] = {**_new(key[0], change["ttl"]), "records": records}

    def _extend(self, sets: Sets, key: tuple[str, str], change: Any) -> None:
        record = self._only(key, change)
        rrset = sets.setdefault(key, _new(key[0], change["ttl"]))
        if record["content"] in {one["content"] for one in rrset["records"]}:
            return
        if rrset["records"] and rrset["ttl"] != change["ttl"] and self.equal_ttls:
            raise _Refused(f"RRset {key[0]} IN {key[1]}: uses a different TTL value than the remainder of the RRset")
        rrset["records"].append(record)

    def _prune(self, sets: Sets, key: tuple[str, str], change: Any) -> None:
        record = self._only(key, change)
        if key in sets:
            kept = [one for one in sets[key]["records"] if one["content"] != record["content"]]
            sets[key]["records"] = kept
            if not kept:
                del sets[key]

    def _only(self, key: tuple[str, str], change: Any) -> dict[str, Any]:
        records = self._records(key, change)
        if len(records) != 1:
            raise _Refused("Exactly one record should be provided for PRUNE or EXTEND operation")
        return records[0]

    def _records(self, key: tuple[str, str], change: Any) -> list[dict[str, Any]]:
        if not isinstance(change.get("ttl"), int):
            raise _Refused("Submitted record is invalid: Key 'ttl' not present or not an Integer")
        records = [{"content": one["content"], "disabled": one.get("disabled", False)} for one in change["records"]]
        for record in records:
            if key[1] == "TXT" and not _STRINGS.match(record["content"]):
                text = record["content"]
                raise _Refused(f"Record {key[0]}/TXT '{text}': Not in expected format (parsed as '\"{text}\"')")
        return records

    # --- DNS

    def _zone_of(self, name: str) -> PowerZone:
        return max((z for z in self.zones.values() if f"{name}.".endswith(f".{z.name}")), key=lambda z: len(z.name))

    def _publish(self, sets: Sets, before: Sets) -> None:
        for (name, kind), rrset in sets.items():
            texts = [one["content"] for one in rrset["records"] if not one["disabled"]]
            if texts:
                self.dns.add(name, kind, *texts, ttl=rrset["ttl"])
        for name, kind in before.keys() - sets.keys():
            self.dns.remove(name, kind)


def _new(name: str, ttl: int) -> dict[str, Any]:
    return {"comments": [], "name": name, "records": [], "ttl": ttl, "type": "TXT"}


def _canonical(name: str) -> str:
    if not name.endswith("."):
        raise _Refused(f"DNS Name '{name}' is not canonical")
    return name


def _text(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})
