"""`digitalocean`: challenge records by DigitalOcean's API v2.

There is one request a record, and no comment that says who made it: the record's id in the receipt does. Identical
twins may come about by other clients; each receipt removes one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote as escape
from urllib.parse import urlencode

from ci_acme.dnsapi import (
    Lost,
    RecordProvider,
    SecretText,
    absolute,
    ask,
    change,
    look_up,
    parallel,
    relative,
    unquote,
    where_of,
)
from ci_acme.ports import Deadline, ProviderContext, Zone
from ci_acme.recordset import Outcome, Record, Wanted
from ci_acme.rest import Answer, RestClient, member
from ci_acme_providers.digitalocean.config import ENDPOINT, DigitalOceanSettings
from ci_acme_providers.digitalocean.faults import fault

_PAGE: Final = 200
"""Records of a page: the most that is given."""
_NO_RECORD: Final = "0"
"""An id that no record has."""


class DigitalOcean(RecordProvider):
    """`DnsProvider` over DigitalOcean's API v2."""

    min_ttl = 30

    def __init__(self, settings: DigitalOceanSettings, context: ProviderContext) -> None:
        self._client = RestClient(settings.endpoint, authorise=SecretText(settings.token, context).bearer)
        super().__init__(where_of("digitalocean", self._client, ENDPOINT), settings.zone_id, context)

    # --- zones

    def zones_at(self, apex: str, deadline: Deadline) -> Sequence[Zone]:
        answer = self._ask("GET", _domain(apex), deadline)
        if answer.status == 404:
            return []
        if not answer.ok:
            raise fault(answer, self.where, apex, "domain:read")
        text = str(member(answer.document, "domain", "zone_file") or "")
        return [Zone(id=apex, name=apex, nameservers=_nameservers(text, apex))]

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """Reads the domain, and deletes a record that cannot exist: both scopes are judged, and nothing is changed.

        Whether the token may create can be known only by creating.
        """
        answer = self._ask("GET", _domain(zone.id), deadline)
        if not answer.ok:
            raise fault(answer, self.where, zone.name, "domain:read")
        answer = self._ask("DELETE", f"{_domain(zone.id)}/records/{_NO_RECORD}", deadline)
        if not answer.ok and answer.status not in {404, 422}:
            raise fault(answer, self.where, zone.name, "domain:delete")

    # --- records

    def find(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> Sequence[Record]:
        def one(name: str) -> list[Record]:
            return self._list(zone, {"name": name}, deadline)[0]

        def whole() -> list[Record] | None:
            records, total = self._list(zone, {}, deadline)
            return records if total <= _PAGE else None

        return look_up(names, one, whole)

    def create(self, zone: Zone, wanted: Sequence[Wanted], outcome: Outcome, *, deadline: Deadline) -> None:
        def post(record: Wanted) -> None:
            body = {
                "type": "TXT",
                "name": relative(record.name, zone.name),
                "data": record.value,
                "ttl": record.ttl,
            }
            path = f"{_domain(zone.id)}/records"
            try:
                answer = change(self._client, self.where, "POST", path, deadline=deadline, body=body)
            except Lost:
                outcome.unclear.add(record.key)
                return
            if not answer.ok:
                raise fault(answer, self.where, zone.name, "domain:create")
            outcome.made[record.key] = str(member(answer.document, "domain_record", "id"))

        parallel(wanted, post)

    def delete(self, zone: Zone, records: Sequence[Record], *, deadline: Deadline) -> bool:
        def remove(record: Record) -> None:
            answer = self._ask("DELETE", f"{_domain(zone.id)}/records/{record.id}", deadline)
            if not answer.ok and answer.status != 404:
                raise fault(answer, self.where, zone.name, "domain:delete")

        parallel(records, remove)
        return True

    def _list(self, zone: Zone, more: dict[str, str], deadline: Deadline) -> tuple[list[Record], int]:
        """The first page of the zone's TXT records, and how many there are in all."""
        query = urlencode({"type": "TXT", "per_page": str(_PAGE), **more})
        answer = self._ask("GET", f"{_domain(zone.id)}/records?{query}", deadline)
        if not answer.ok:
            raise fault(answer, self.where, zone.name, "domain:read")
        items = member(answer.document, "domain_records") or ()
        records = [_record(item, zone) for item in items if member(item, "type") == "TXT"]
        return records, member(answer.document, "meta", "total") or 0

    def _ask(self, method: str, path: str, deadline: Deadline) -> Answer:
        return ask(self._client, self.where, method, path, deadline=deadline)


def _domain(name: str) -> str:
    return f"/v2/domains/{escape(name, safe='')}"


def _nameservers(zone_file: str, apex: str) -> tuple[str, ...]:
    """The NS of the apex, as the zone file that comes with the domain has them."""
    lines = [line.lower().split() for line in zone_file.splitlines()]
    return tuple(line[4].rstrip(".") for line in lines if line[:1] == [f"{apex}."] and line[2:4] == ["in", "ns"])


def _record(item: Any, zone: Zone) -> Record:
    return Record(
        id=str(member(item, "id")),
        name=absolute(str(member(item, "name")), zone.name),
        value=unquote(str(member(item, "data"))),
        ttl=member(item, "ttl"),
    )
