"""`cloudflare`: challenge records by Cloudflare's API v4.

All records of a call are made in one request (`/batch`, a single transaction), and carry a comment that says who made
them. Cloudflare refuses a second identical record, so that twins cannot come about.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote as escape
from urllib.parse import urlencode

from ci_acme.dnsapi import Lost, RecordProvider, SecretText, ask, change, look_up, quote, unquote, where_of
from ci_acme.model.names import is_suffix
from ci_acme.ports import Deadline, ProviderContext, Zone
from ci_acme.recordset import Outcome, Record, Wanted
from ci_acme.rest import Answer, RestClient, member
from ci_acme_providers.cloudflare.config import ENDPOINT, CloudflareSettings
from ci_acme_providers.cloudflare.faults import EXISTS, GONE, codes, fault

_BATCH: Final = 200
"""Records of one batch: the least that a plan allows (Free)."""
_PAGE: Final = 500
_ZONES: Final = 50
_AUTOMATIC: Final = 1
_DEAD: Final = {
    "pending": "is pending: its domain is not delegated to it yet",
    "initializing": "is being set up",
    "moved": "has moved away: its domain is delegated elsewhere",
    "deleted": "is deleted",
    "deactivated": "is deactivated",
}


class Cloudflare(RecordProvider):
    """`DnsProvider` over Cloudflare's API v4."""

    keeps_notes = True

    def __init__(self, settings: CloudflareSettings, context: ProviderContext) -> None:
        self._settings = settings
        self._client = RestClient(settings.endpoint, authorise=SecretText(settings.token, context).bearer)
        super().__init__(where_of("cloudflare", self._client, ENDPOINT), settings.zone_id, context)

    def fit(self, ttl: int) -> int:
        return ttl if ttl == _AUTOMATIC else super().fit(ttl)

    # --- zones

    def pinned(self, zone_id: str, name: str, apex: str | None, deadline: Deadline) -> Zone:
        """Its name is not asked for, since that takes a permission: the apex, else what the entry says."""
        above = apex or self._settings.zone
        if not is_suffix(above, name) or above == ".":
            answer = self._ask("GET", f"/zones/{escape(zone_id, safe='')}", deadline)
            if not answer.ok:
                raise fault(answer, self.where, zone_id, listing=True)
            return _zone(member(answer.document, "result"))
        return Zone(id=zone_id, name=above)

    def zones_at(self, apex: str, deadline: Deadline) -> Sequence[Zone]:
        zones: list[Zone] = []
        for item in self._zone_pages(apex, deadline):
            zone = _zone(item)
            zones.append(zone)
            kind, status = member(item, "type"), str(member(item, "status"))
            if status != "active":
                self._unusable[zone.id] = f"the zone {zone.name} {_DEAD.get(status, f'is {status}')} ({zone.id})"
            elif kind not in {None, "full"}:
                self._unusable[zone.id] = f"the zone {zone.name} is of the type {kind}: its records are kept elsewhere"
        return zones

    def _zone_pages(self, apex: str, deadline: Deadline) -> Iterator[Any]:
        query = {"name": apex, "per_page": str(_ZONES)}
        if self._settings.account_id is not None:
            query["account.id"] = self._settings.account_id
        page = pages = 1
        while page <= pages:
            answer = self._ask("GET", f"/zones?{urlencode({**query, 'page': str(page)})}", deadline)
            if not answer.ok:
                raise fault(answer, self.where, apex, listing=True)
            yield from member(answer.document, "result") or ()
            pages = member(answer.document, "result_info", "total_pages") or 1
            page += 1

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """Deletes a record that cannot exist: the permission to edit is judged, and nothing is changed."""
        answer = self._ask("DELETE", f"{_records(zone)}/{os.urandom(16).hex()}", deadline)
        if not answer.ok and not GONE & set(codes(answer)):
            raise fault(answer, self.where, zone.name)

    # --- records

    def find(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> Sequence[Record]:
        def one(name: str) -> list[Record]:
            return self._list(zone, {"name": name}, deadline)[0]

        def whole() -> list[Record] | None:
            records, pages = self._list(zone, {}, deadline)
            return records if pages <= 1 else None

        return look_up(names, one, whole)

    def create(self, zone: Zone, wanted: Sequence[Wanted], outcome: Outcome, *, deadline: Deadline) -> None:
        for start in range(0, len(wanted), _BATCH):
            chunk = wanted[start : start + _BATCH]
            body = {"posts": [self._post(record) for record in chunk]}
            try:
                answer = change(
                    self._client, self.where, "POST", f"{_records(zone)}/batch", deadline=deadline, body=body
                )
            except Lost:
                outcome.unclear |= {record.key for record in chunk}
                continue
            if EXISTS & set(codes(answer)):
                continue  # all or nothing: which one it is, the next look tells
            if not answer.ok:
                raise fault(answer, self.where, zone.name)
            for item in member(answer.document, "result", "posts") or ():
                record = _record(item)
                outcome.made[record.key] = record.id

    def delete(self, zone: Zone, records: Sequence[Record], *, deadline: Deadline) -> bool:
        for start in range(0, len(records), _BATCH):
            body = {"deletes": [{"id": record.id} for record in records[start : start + _BATCH]]}
            answer = self._ask("POST", f"{_records(zone)}/batch", deadline, body=body)
            if GONE & set(codes(answer)):
                return False  # all or nothing: what is left, the next look tells
            if not answer.ok:
                raise fault(answer, self.where, zone.name)
        return True

    def _post(self, record: Wanted) -> dict[str, Any]:
        content = quote(record.value)  # without quotes Cloudflare warns, and adds them
        return {"type": "TXT", "name": record.name, "content": content, "ttl": record.ttl, "comment": self._note}

    def _list(self, zone: Zone, more: dict[str, str], deadline: Deadline) -> tuple[list[Record], int]:
        """The first page of the zone's TXT records, and how many pages there are."""
        query = urlencode({"type": "TXT", "per_page": str(_PAGE), **more})
        answer = self._ask("GET", f"{_records(zone)}?{query}", deadline)
        if not answer.ok:
            raise fault(answer, self.where, zone.name)
        items = member(answer.document, "result") or ()
        return [_record(item) for item in items], member(answer.document, "result_info", "total_pages") or 1

    def _ask(self, method: str, path: str, deadline: Deadline, **more: Any) -> Answer:
        return ask(self._client, self.where, method, path, deadline=deadline, **more)


def _records(zone: Zone) -> str:
    return f"/zones/{escape(zone.id, safe='')}/dns_records"


def _zone(item: Any) -> Zone:
    servers = [*(member(item, "name_servers") or ()), *(member(item, "vanity_name_servers") or ())]
    return Zone(
        id=str(member(item, "id")),
        name=str(member(item, "name")).lower(),
        nameservers=tuple(str(server).lower().rstrip(".") for server in servers),
        public=member(item, "status") == "active" and member(item, "type") in {None, "full"},
    )


def _record(item: Any) -> Record:
    return Record(
        id=str(member(item, "id")),
        name=str(member(item, "name")).lower(),
        value=unquote(str(member(item, "content"))),
        ttl=member(item, "ttl"),
        note=member(item, "comment") or "",
    )
