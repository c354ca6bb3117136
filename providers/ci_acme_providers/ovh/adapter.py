"""`ovh`: challenge records by OVHcloud's API.

There is one request a record, and a last one that makes the zone's changes served (`refresh`). The record's id in the
receipt says what is ours; identical twins may come about by other clients, and each receipt removes one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote as escape
from urllib.parse import urlencode

from ci_acme.dnsapi import (
    Lost,
    RecordProvider,
    absolute,
    ask,
    change,
    look_up,
    parallel,
    quote,
    relative,
    unquote,
    where_of,
)
from ci_acme.ports import Deadline, ProviderContext, Zone
from ci_acme.recordset import Outcome, Record, Wanted
from ci_acme.rest import Answer, RestClient, member
from ci_acme_providers.ovh.auth import Proof, ServiceAccount, Signature
from ci_acme_providers.ovh.config import ENDPOINTS, OvhSettings
from ci_acme_providers.ovh.faults import fault

_ZONE_TTL: Final = 0
"""Stands for the zone's own TTL."""
_NO_RECORD: Final = "0"
"""An id that no record has."""
_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 4.0)
"""Seconds before a refresh that met another one is asked for again."""


class Ovh(RecordProvider):
    """`DnsProvider` over OVHcloud's API."""

    def __init__(self, settings: OvhSettings, context: ProviderContext) -> None:
        base = settings.base
        way = Signature if settings.oauth is None else ServiceAccount
        usual = ENDPOINTS.get(settings.endpoint, "")
        self._proof: Proof = way(settings, context, "ovh")
        self._client = RestClient(base, authorise=self._proof.headers)
        super().__init__(where_of("ovh", self._client, usual), settings.zone_id, context)

    def fit(self, ttl: int) -> int:
        return ttl if ttl == _ZONE_TTL else super().fit(ttl)

    # --- zones

    def zones_at(self, apex: str, deadline: Deadline) -> Sequence[Zone]:
        answer = self._ask("GET", _path(apex), deadline)
        if answer.status in {404, 460}:
            return []
        if not answer.ok:
            raise self._fault(answer, apex, "GET", "", "get")
        servers = member(answer.document, "nameServers") or ()
        return [Zone(apex, apex, tuple(str(server).lower().rstrip(".") for server in servers))]

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """Reads, and deletes a record that cannot exist: these rules are judged, and nothing is changed.

        Whether the credentials may create and refresh can be known only by doing it.
        """
        answer = self._ask("GET", f"{_path(zone.id)}/record?fieldType=TXT&subDomain=ci-acme-check", deadline)
        if not answer.ok:
            raise self._fault(answer, zone.name, "GET", "/record", "record/get")
        answer = self._ask("DELETE", f"{_path(zone.id)}/record/{_NO_RECORD}", deadline)
        if not answer.ok and answer.status not in {400, 404}:
            raise self._fault(answer, zone.name, "DELETE", "/record/*", "record/delete")

    # --- records

    def find(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> Sequence[Record]:
        def one(name: str) -> list[Record]:
            # The filter is an SQL ILIKE, in which `_` is any character: the records decide.
            return self._read(zone, self._ids(zone, {"subDomain": _sub(name, zone)}, deadline), deadline)

        def whole() -> list[Record] | None:
            ids = self._ids(zone, {}, deadline)
            return self._read(zone, ids, deadline) if len(ids) <= len(names) else None

        return look_up(names, one, whole)

    def create(self, zone: Zone, wanted: Sequence[Wanted], outcome: Outcome, *, deadline: Deadline) -> None:
        def post(record: Wanted) -> None:
            body = {
                "fieldType": "TXT",
                "subDomain": _sub(record.name, zone),
                "target": quote(record.value),
                "ttl": record.ttl,
            }
            self._proof.prepare(deadline)
            path = f"{_path(zone.id)}/record"
            try:
                answer = change(self._client, self.where, "POST", path, deadline=deadline, body=body)
            except Lost:
                outcome.unclear.add(record.key)
                return
            if not answer.ok:
                raise self._fault(answer, zone.name, "POST", "/record", "record/create")
            outcome.made[record.key] = str(member(answer.document, "id"))

        parallel(wanted, post)

    def delete(self, zone: Zone, records: Sequence[Record], *, deadline: Deadline) -> bool:
        def remove(record: Record) -> None:
            answer = self._ask("DELETE", f"{_path(zone.id)}/record/{record.id}", deadline)
            if not answer.ok and answer.status != 404:
                raise self._fault(answer, zone.name, "DELETE", "/record/*", "record/delete")

        parallel(records, remove)
        return True

    def publish(self, zone: Zone, *, deadline: Deadline) -> None:
        """Refreshes the zone, whether or not this call has changed it: who did may have died before."""
        answer = self._ask("POST", f"{_path(zone.id)}/refresh", deadline)
        for pause in _PAUSES:
            if answer.status != 409 or deadline.remaining() <= pause:
                break
            deadline.clock.sleep(pause)
            answer = self._ask("POST", f"{_path(zone.id)}/refresh", deadline)
        if not answer.ok:
            raise self._fault(answer, zone.name, "POST", "/refresh", "refresh")

    def _ids(self, zone: Zone, more: dict[str, str], deadline: Deadline) -> list[str]:
        answer = self._ask("GET", f"{_path(zone.id)}/record?{urlencode({'fieldType': 'TXT', **more})}", deadline)
        if not answer.ok:
            raise self._fault(answer, zone.name, "GET", "/record", "record/get")
        return [str(item) for item in answer.document or ()]

    def _read(self, zone: Zone, ids: Sequence[str], deadline: Deadline) -> list[Record]:
        def read(number: str) -> Record | None:
            answer = self._ask("GET", f"{_path(zone.id)}/record/{number}", deadline)
            if answer.status == 404:
                return None  # removed since it was listed
            if not answer.ok:
                raise self._fault(answer, zone.name, "GET", "/record/*", "record/get")
            return _record(answer.document, zone)

        return [record for record in parallel(ids, read) if record is not None]

    def _ask(self, method: str, path: str, deadline: Deadline) -> Answer:
        self._proof.prepare(deadline)
        return ask(self._client, self.where, method, path, deadline=deadline)

    def _fault(self, answer: Answer, zone: str, method: str, tail: str, action: str) -> Exception:
        rule = f"{method} /domain/zone/{zone}{tail}"
        return fault(answer, self.where, zone, rule, f"dnsZone:apiovh:{action}")


def _path(zone: str) -> str:
    return f"/domain/zone/{escape(zone, safe='')}"


def _sub(name: str, zone: Zone) -> str:
    text = relative(name, zone.name)
    return "" if text == "@" else text


def _record(item: Any, zone: Zone) -> Record:
    return Record(
        id=str(member(item, "id")),
        name=absolute(str(member(item, "subDomain") or ""), zone.name),
        value=unquote(str(member(item, "target"))),
        ttl=member(item, "ttl"),
    )
