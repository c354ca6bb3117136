"""Cloud DNS on loopback: atomic changes with exact deletions, and its zones over real DNS.

Shapes and words of the answers are those of recorded exchanges; conflicts have the codes of Google's error pages.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, ClassVar

from ci_acme.sandbox.dns import SandboxDns
from tests.clouds.api import Call
from tests.clouds.google import Document, GoogleApi, Iam, old_error

PROJECT = "my-project"
_TXT = re.compile(r'"(?:[^"\\]|\\.){0,1000}"(?:\s+"(?:[^"\\]|\\.){0,1000}")*|[^\s"]{1,255}', re.DOTALL)
_STRING = re.compile(r'"((?:[^"\\]|\\\d{3}|\\.)*)"')
_MOST_ADDITIONS = 1000
_MOST_RRDATAS = 100
Key = tuple[str, str]


class GoogleDns(GoogleApi):
    """One project's managed zones.

    Attributes:
        page: most entries in one answer of a list.
        polls: how often a change is `pending` when it is looked at.
        lag: seconds after a change until the name servers have it, whatever its status.
        server: where the public zones are served, if anywhere.
    """

    documents: ClassVar[Sequence[str]] = ("dns.v1",)
    old: ClassVar[bool] = True

    def __init__(self, iam: Iam | None = None, server: SandboxDns | None = None) -> None:
        super().__init__(iam)
        self.zones: dict[str, Document] = {}
        self.sets: dict[str, dict[Key, Document]] = {}
        self.changes: dict[str, dict[str, Document]] = {}
        self.page = 100
        self.polls = 1
        self.lag = 0.0
        self.server = server
        self.before_change: Callable[[str], None] = lambda _: None

    # --- what a test does by hand

    def zone(self, name: str, dns_name: str, **more: Any) -> Document:
        """Make a managed zone."""
        number = str(699036609868956548 + len(self.zones))
        document = {
            "kind": "dns#managedZone",
            "name": name,
            "dnsName": f"{dns_name}.",
            "description": "",
            "id": number,
            "nameServers": [f"ns-cloud-c{index}.googledomains.com." for index in (1, 2, 3, 4)],
            "creationTime": "2026-07-06T18:42:27.476Z",
            "visibility": "public",
            **more,
        }
        self.zones[name] = document
        self.sets[name] = {}
        self.changes[name] = {}
        return document

    def put(self, zone: str, name: str, kind: str, ttl: int, *rrdatas: str) -> None:
        """A record set, as somebody else made it long ago."""
        with self.lock:
            self._apply(zone, [], [{"name": f"{name}.", "type": kind, "ttl": ttl, "rrdatas": list(rrdatas)}])

    def values(self, zone: str, name: str) -> Mapping[str, int]:
        """The TXT values at a name with their TTL, as the API has them."""
        with self.lock:
            found = self.sets[zone].get((f"{name}.", "TXT"))
        return {} if found is None else {unquoted(text): found["ttl"] for text in found["rrdatas"]}

    # --- zones

    def managedZones_list(self, call: Call, project: str) -> Document:  # noqa: N802
        self.require("dns.managedZones.list", f"projects/{project}")
        wanted = call.one("dnsName")
        found = [zone for zone in self.zones.values() if wanted in (None, zone["dnsName"])]
        return self._paged(call, "dns#managedZonesListResponse", "managedZones", found)

    def managedZones_get(self, call: Call, project: str, zone: str) -> Document:  # noqa: N802
        del call
        name = self._named(zone)
        self.require("dns.managedZones.get", f"projects/{project}/managedZones/{name}")
        return self._existing(name)

    def managedZones_testIamPermissions(self, call: Call, project: str, zone: str) -> Document:  # noqa: N802
        """Google's page on permissions for single zones says that this takes a permission itself."""
        resource = f"projects/{project}/managedZones/{self._named(zone)}"
        self.require("dns.managedZones.list", resource)
        return self.held(call, resource)

    # --- record sets

    def resourceRecordSets_list(self, call: Call, project: str, zone: str) -> Document:  # noqa: N802
        name = self._named(zone)
        self.require("dns.resourceRecordSets.list", f"projects/{project}/managedZones/{name}")
        self._existing(name)
        wanted, kind = call.one("name"), call.one("type")
        if kind is not None and wanted is None:
            raise old_error(400, "required", "Required parameter is missing: name")
        found = [
            record_set
            for (owner, rdtype), record_set in sorted(self.sets[name].items())
            if wanted in (None, owner) and kind in (None, rdtype)
        ]
        return self._paged(call, "dns#resourceRecordSetsListResponse", "rrsets", found)

    def changes_create(self, call: Call, project: str, zone: str) -> Document:
        name = self._named(zone)
        resource = f"projects/{project}/managedZones/{name}"
        self.require("dns.changes.create", resource)
        self._existing(name)
        body = call.json
        deletions, additions = body.get("deletions", []), body.get("additions", [])
        if not deletions and not additions:
            raise old_error(400, "required", "The 'entity.change' parameter is required but was missing.")
        removed, added = {_key(item) for item in deletions}, {_key(item) for item in additions}
        for permission, keys in (
            ("create", added - removed),
            ("delete", removed - added),
            ("update", added & removed),
        ):
            if keys:
                self.require(f"dns.resourceRecordSets.{permission}", resource)
        self.before_change(name)
        self._check(name, deletions, additions)
        self._apply(name, deletions, additions)
        return self._recorded(name, deletions, additions)

    def changes_get(self, call: Call, project: str, zone: str, change: str) -> Document:
        del call
        name = self._named(zone)
        self.require("dns.changes.get", f"projects/{project}/managedZones/{name}")
        found = self.changes[name].get(change)
        if found is None:
            raise old_error(404, "notFound", f"The 'parameters.changeId' resource named '{change}' does not exist.")
        if found["left"] <= 0:
            found["document"]["status"] = "done"
        found["left"] -= 1
        return dict(found["document"])

    # --- one change

    def _check(self, zone: str, deletions: list[Document], additions: list[Document]) -> None:
        """All or nothing: raises before anything is done."""
        left = dict(self.sets[zone])
        for item in deletions:
            where, what = f"entity.change.deletions[{item['name']}][{item['type']}]", f"{item['name']} ({item['type']})"
            current = left.pop(_key(item), None)
            if current is None:
                raise old_error(404, "notFound", f"The '{where}' resource named '{what}' does not exist.")
            if (int(item["ttl"]), item["rrdatas"]) != (current["ttl"], current["rrdatas"]):
                raise old_error(412, "conditionNotMet", f"Precondition not met for '{where}'")
        if len(additions) > _MOST_ADDITIONS:
            raise old_error(403, "quotaExceeded", "Quota exceeded for additions per change.")
        for item in additions:
            self._check_addition(zone, left, item)
            left[_key(item)] = item

    def _check_addition(self, zone: str, left: Mapping[Key, Document], item: Document) -> None:
        where, what = f"entity.change.additions[{item['name']}][{item['type']}]", f"{item['name']} ({item['type']})"
        apex = self.zones[zone]["dnsName"]
        if item["name"] != apex and not item["name"].endswith(f".{apex}"):
            raise old_error(400, "invalid", f"Invalid value for '{where}.name': '{item['name']}'")
        if _key(item) in left:
            raise old_error(409, "alreadyExists", f"The resource '{where}' named '{what}' already exists")
        others = {kind for owner, kind in left if owner == item["name"]}
        if others and "CNAME" in {item["type"], *others}:
            text = (
                f"The resource record set '{where}' is invalid because the DNS name '{item['name']}' may have either "
                "one CNAME resource record set or resource record sets of other types, but not both."
            )
            raise old_error(400, "cnameResourceRecordSetConflict", text)
        rrdatas = item["rrdatas"]
        if not rrdatas or len(rrdatas) > _MOST_RRDATAS or len(set(rrdatas)) != len(rrdatas):
            raise old_error(400, "invalidRecordCount", f"The number of records of '{where}' is invalid.")
        if item["type"] == "TXT":
            for text in rrdatas:
                strings = _STRING.findall(text)
                if not _TXT.fullmatch(text) or any(len(_bytes(piece)) > 255 for piece in strings):
                    raise old_error(400, "invalid", f"Invalid value for '{where}.rrdata[0]': '{text}'")

    def _apply(self, zone: str, deletions: list[Document], additions: list[Document]) -> None:
        for item in deletions:
            del self.sets[zone][_key(item)]
        for item in additions:
            self.sets[zone][_key(item)] = _normal(item)
        if self.server is None or self.zones[zone]["visibility"] != "public":
            return
        snapshot = {key: dict(self.sets[zone].get(key, {})) for key in map(_key, [*deletions, *additions])}
        if self.lag:
            timer = threading.Timer(self.lag, self._serve, (snapshot,))
            timer.daemon = True
            timer.start()
        else:
            self._serve(snapshot)

    def _serve(self, snapshot: Mapping[Key, Document]) -> None:
        assert self.server is not None
        for (name, kind), record_set in snapshot.items():
            if record_set:
                self.server.add(name, kind, *record_set["rrdatas"], ttl=record_set["ttl"])
            else:
                self.server.remove(name, kind)

    def _recorded(self, zone: str, deletions: list[Document], additions: list[Document]) -> Document:
        identifier = str(217 + len(self.changes[zone]))
        document: Document = {"kind": "dns#change"}
        if additions:
            document["additions"] = [_normal(item) for item in additions]
        if deletions:
            document["deletions"] = [_normal(item) for item in deletions]
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        document |= {"startTime": now.replace("+00:00", "Z"), "id": identifier, "status": "pending"}
        self.changes[zone][identifier] = {"document": dict(document), "left": self.polls}
        return document

    # --- helpers

    def _named(self, zone: str) -> str:
        """A zone is addressed by its name or its number."""
        return next((name for name, document in self.zones.items() if document["id"] == zone), zone)

    def _existing(self, name: str) -> Document:
        if name not in self.zones:
            raise old_error(404, "notFound", f"The 'parameters.managedZone' resource named '{name}' does not exist.")
        return self.zones[name]

    def _paged(self, call: Call, kind: str, key: str, items: list[Document]) -> Document:
        start = int(call.one("pageToken") or 0)
        size = min(int(call.one("maxResults") or self.page), self.page)
        document: Document = {"kind": kind, key: items[start : start + size]}
        if start + size < len(items):
            document["nextPageToken"] = str(start + size)
        return document


def _key(item: Document) -> Key:
    return item["name"].lower(), item["type"]


def _normal(item: Document) -> Document:
    """As it is returned: TXT data are quoted, the TTL is a number."""
    rrdatas = [f'"{text}"' if item["type"] == "TXT" and not text.startswith('"') else text for text in item["rrdatas"]]
    return {
        "kind": "dns#resourceRecordSet",
        "name": item["name"].lower(),
        "type": item["type"],
        "ttl": int(item["ttl"]),
        "rrdatas": rrdatas,
    }


def unquoted(text: str) -> str:
    """A TXT value without quotes."""
    return b"".join(_bytes(piece) for piece in _STRING.findall(text)).decode()


def _bytes(piece: str) -> bytes:
    return re.sub(
        rb"\\(\d{3}|.)",
        lambda match: bytes([int(match[1])]) if len(match[1]) == 3 else match[1],
        piece.encode(),
        flags=re.DOTALL,
    )
