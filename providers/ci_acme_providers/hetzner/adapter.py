"""`hetzner`: challenge records by the Hetzner Cloud API (`/v1/zones`), which has taken the place of dns.hetzner.com.

Record sets are changed by the actions `add_records` and `remove_records`, which leave other values alone; identical
values are refused. An action goes on after its request was answered and is followed to its end.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
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
    quote,
    relative,
    said,
    unquote,
    where_of,
)
from ci_acme.errors import DnsError, DnsUnreachable
from ci_acme.ports import Deadline, ProviderContext, Zone
from ci_acme.recordset import Key, Outcome, Record, Wanted
from ci_acme.rest import Answer, RestClient, member
from ci_acme_providers.hetzner.config import ENDPOINT, HetznerSettings
from ci_acme_providers.hetzner.faults import BUSY, code_of, fault, is_duplicate, is_other_ttl

_PAGE: Final = 100
"""Record sets of a page: the most that is given."""
_ACTIONS: Final = 50
"""Actions that are asked for at once."""
_ZONE_TTL: Final = 0
"""Stands for the TTL of a record set that has none of its own."""
_FIRST_POLL: Final = 0.2
_SLOWEST_POLL: Final = 2.0


class Hetzner(RecordProvider):
    """`DnsProvider` over the Hetzner Cloud API."""

    keeps_notes = True

    def __init__(self, settings: HetznerSettings, context: ProviderContext) -> None:
        self._client = RestClient(settings.endpoint, authorise=SecretText(settings.token, context).bearer)
        super().__init__(where_of("hetzner", self._client, ENDPOINT), settings.zone_id, context)

    def fit(self, ttl: int) -> int:
        return ttl if ttl == _ZONE_TTL else super().fit(ttl)

    # --- zones

    def pinned(self, zone_id: str, name: str, apex: str | None, deadline: Deadline) -> Zone:
        """One request: an id tells no name, without which no record set can be named."""
        answer = self._ask("GET", f"/zones/{escape(zone_id, safe='')}", deadline)
        if not answer.ok:
            raise fault(answer, self.where, zone_id)
        return _zone(member(answer.document, "zone"))

    def zones_at(self, apex: str, deadline: Deadline) -> Sequence[Zone]:
        answer = self._ask("GET", f"/zones/{escape(apex, safe='')}", deadline)
        if answer.status == 404:
            return []
        if not answer.ok:
            raise fault(answer, self.where, apex)
        zone = _zone(member(answer.document, "zone"))
        if not zone.public:
            self._unusable[zone.id] = f"the zone {zone.name} is a secondary one: its records come from elsewhere"
        return [zone]

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """Removes a value from a record set that cannot exist: the token is judged, and nothing is changed."""
        path = f"{_rrset(zone, f'_ci-acme-check-{os.urandom(8).hex()}')}/actions/remove_records"
        body = {"records": [{"value": quote("nothing")}]}
        answer = self._ask("POST", path, deadline, body=body)
        if answer.status == 404:
            answer = self._ask("GET", f"/zones/{zone.id}", deadline)  # 404 may be the zone's
        if not answer.ok and code_of(answer) not in BUSY:
            raise fault(answer, self.where, zone.name)

    # --- records

    def find(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> Sequence[Record]:
        def one(name: str) -> list[Record]:
            return self._list(zone, {"name": relative(name, zone.name)}, deadline)[0]

        def whole() -> list[Record] | None:
            records, pages = self._list(zone, {}, deadline)
            return records if pages <= 1 else None

        return look_up(names, one, whole)

    def create(self, zone: Zone, wanted: Sequence[Wanted], outcome: Outcome, *, deadline: Deadline) -> None:
        lock = threading.Lock()
        running: dict[int, list[Wanted]] = {}
        sets: dict[tuple[str, int], list[Wanted]] = defaultdict(list)
        for record in wanted:
            sets[record.name, record.ttl].append(record)

        def add(item: tuple[tuple[str, int], list[Wanted]]) -> None:
            (name, ttl), records = item
            values = [{"value": quote(record.value), "comment": self._note} for record in records]
            body: dict[str, Any] = {"records": values} if ttl == _ZONE_TTL else {"ttl": ttl, "records": values}
            try:
                number = self._start(zone, name, "add_records", body, deadline)
            except Lost:
                outcome.unclear.update(record.key for record in records)
                return
            if number is not None:
                with lock:
                    running[number] = records

        refusal: DnsError | None = None
        try:
            parallel(list(sets.items()), add)
        except DnsError as error:
            refusal = error  # what has begun comes to its end first, or nobody would find it
        outcome.unclear |= {record.key for records in running.values() for record in records}
        for number in self._follow(list(running), deadline):
            for record in running[number]:
                outcome.unclear.discard(record.key)
                outcome.made[record.key] = _handle(record.key)
        if refusal is not None:
            raise refusal

    def delete(self, zone: Zone, records: Sequence[Record], *, deadline: Deadline) -> bool:
        sets: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            sets[record.name].append(record)

        def remove(item: tuple[str, list[Record]]) -> int | None:
            name, gone = item
            body = {"records": [{"value": quote(record.value)} for record in gone]}
            try:
                return self._start(zone, name, "remove_records", body, deadline)
            except Lost:
                return None

        numbers = parallel(list(sets.items()), remove)
        started = [number for number in numbers if number is not None]
        return len(self._follow(started, deadline)) == len(sets)

    # --- actions

    def settle(self, zone: Zone, *, deadline: Deadline) -> None:
        query = urlencode({"status": "running", "per_page": str(_ACTIONS)})
        answer = self._ask("GET", f"/zones/{zone.id}/actions?{query}", deadline)
        if not answer.ok:
            raise fault(answer, self.where, zone.name)
        numbers = [member(action, "id") for action in member(answer.document, "actions") or ()]
        self._follow([number for number in numbers if isinstance(number, int)], deadline)

    def _start(self, zone: Zone, name: str, action: str, body: Any, deadline: Deadline) -> int | None:
        """The number of the action that was begun; None if nothing was done and it must be looked again.

        Raises `Lost`, and for refusals that do not pass.
        """
        path = f"{_rrset(zone, relative(name, zone.name))}/actions/{action}"
        answer = change(self._client, self.where, "POST", path, deadline=deadline, body=body)
        if answer.ok:
            number = member(answer.document, "action", "id")
            if not isinstance(number, int):
                raise Lost("an answer without an action")
            return number
        if code_of(answer) in BUSY or is_duplicate(answer) or is_other_ttl(answer):
            return None
        if action == "remove_records" and (answer.status == 404 or code_of(answer) == "invalid_input"):
            return None  # somebody else removed it
        raise fault(answer, self.where, zone.name)

    def _follow(self, numbers: Sequence[int], deadline: Deadline) -> list[int]:
        """The actions that ended well; one that the service could not carry out may be begun anew.

        Raises `DnsUnreachable` when they go on beyond the deadline.
        """
        open_ones = set(numbers)
        good: list[int] = []
        pause = _FIRST_POLL
        while open_ones:
            if deadline.remaining() <= pause:
                raise DnsUnreachable(
                    f"{self.where} has not finished {len(open_ones)} changes in time",
                    fix="run the command again, or raise propagation_timeout of the DNS entry",
                )
            deadline.clock.sleep(pause)
            pause = min(_SLOWEST_POLL, pause * 1.5)
            for action in self._actions(sorted(open_ones), deadline):
                status, number = member(action, "status"), member(action, "id")
                if number in open_ones and status in {"success", "error"}:
                    open_ones.discard(number)
                    good += [number] if status == "success" else []
        return good

    def _actions(self, numbers: Sequence[int], deadline: Deadline) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(numbers), _ACTIONS):
            query = urlencode(
                [("id", number) for number in numbers[start : start + _ACTIONS]] + [("per_page", _ACTIONS)]
            )
            answer = self._ask("GET", f"/zones/actions?{query}", deadline)
            if not answer.ok:
                text = f"{self.where} does not tell what became of a change: {said(code_of(answer) or answer.status)}"
                raise DnsError(text, fix="run the command again")
            found += member(answer.document, "actions") or ()
        return found

    # --- reading

    def _list(self, zone: Zone, more: dict[str, str], deadline: Deadline) -> tuple[list[Record], int]:
        """The first page of the zone's TXT record sets as single records, and how many pages there are."""
        query = urlencode({"type": "TXT", "per_page": str(_PAGE), **more})
        answer = self._ask("GET", f"/zones/{zone.id}/rrsets?{query}", deadline)
        if not answer.ok:
            raise fault(answer, self.where, zone.name)
        records = [record for item in member(answer.document, "rrsets") or () for record in _records(item, zone)]
        return records, member(answer.document, "meta", "pagination", "last_page") or 1

    def _ask(self, method: str, path: str, deadline: Deadline, **more: Any) -> Answer:
        return ask(self._client, self.where, method, path, deadline=deadline, **more)


def _rrset(zone: Zone, name: str) -> str:
    return f"/zones/{zone.id}/rrsets/{escape(name, safe='@')}/TXT"


def _handle(key: Key) -> str:
    """Records have no ids: a value is in its set at most once."""
    return "/".join(key)


def _zone(item: Any) -> Zone:
    servers = member(item, "authoritative_nameservers", "assigned") or ()
    return Zone(
        id=str(member(item, "id")),
        name=str(member(item, "name")).lower(),
        nameservers=tuple(str(server).lower().rstrip(".") for server in servers),
        public=member(item, "mode") != "secondary",
    )


def _records(item: Any, zone: Zone) -> list[Record]:
    name = absolute(str(member(item, "name")), zone.name)
    found: list[Record] = []
    for entry in member(item, "records") or ():
        value = unquote(str(member(entry, "value")))
        note = str(member(entry, "comment") or "")
        found.append(Record(_handle((name, value)), name, value, member(item, "ttl") or _ZONE_TTL, note))
    return found
