"""`powerdns`: challenge records by the HTTP API of a PowerDNS Authoritative Server.

From 4.9.12 and 5.0.2 on, `EXTEND` and `PRUNE` add and remove one record in a transaction of the server. Older servers
have only `REPLACE`, which writes a whole record set as it was read a moment ago: whoever writes in between loses.
`zones_for` finds out which kind the server is, by a `PRUNE` of a value that cannot be there; until the better kind is
proven, `capabilities` says BLIND. What is written is read back, and written again if somebody was faster.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Final

from ci_acme.errors import DnsRefused
from ci_acme.model.names import is_suffix
from ci_acme.ports import Concurrency, Deadline, DnsCapabilities, Placement, ProviderContext, TxtValue, Zone
from ci_acme.rest import Answer
from ci_acme_providers.powerdns.api import Api
from ci_acme_providers.powerdns.changes import Change, Item, not_understood, single
from ci_acme_providers.powerdns.config import PowerDnsSettings
from ci_acme_providers.powerdns.faults import BUSY, secondary

_ENCODED: Final = re.compile(r"=([0-9A-Fa-f]{2})")


class PowerDns:
    """`DnsProvider` over PowerDNS's HTTP API."""

    def __init__(self, settings: PowerDnsSettings, context: ProviderContext) -> None:
        self._settings = settings
        self._api = Api(settings, context)
        self._single: bool | None = None
        """Whether the server knows EXTEND and PRUNE; None until it was asked."""

    @property
    def capabilities(self) -> DnsCapabilities:
        return DnsCapabilities(concurrency=Concurrency.PER_VALUE if self._single else Concurrency.BLIND)

    @property
    def where(self) -> str:
        return self._api.host

    def zones_for(self, name: str, apex: str | None, *, deadline: Deadline) -> Sequence[Zone]:
        found: list[Zone] = []
        if self._settings.zone_id is not None:
            found = [_zone_of(self._settings.zone_id)]
        else:
            for candidate in [apex] if apex is not None else _ancestors(name):
                zone = self._api.zone(candidate, deadline)
                if zone is None:
                    continue
                if str(zone.get("kind")).lower() in {"slave", "secondary", "consumer"}:
                    raise secondary(self.where, candidate, str(zone["kind"]))
                found.append(Zone(id=str(zone.get("id") or f"{candidate}."), name=candidate))
        if found and self._single is None:
            self._probe(found[0], [name], deadline)
        return found

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        items = [Item(value.name, value.value, ttl if value.ttl is None else value.ttl) for value in values]
        before = self._change(zone, items, deadline, present=True)
        return [Placement(zone, item.name, item.value, created=item not in before) for item in items]

    def wait_in_sync(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        return None

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        zones: dict[Zone, list[Item]] = {}
        for placement in placements:
            if placement.created:
                item = Item(placement.name, placement.value, self._settings.ttl)
                zones.setdefault(placement.zone, []).append(item)
        for zone, items in zones.items():
            self._change(zone, items, deadline, present=False)

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """Removes values that cannot be there. An old server judges no more than key and zone by that."""
        for name in names:
            if not is_suffix(zone.name, name):
                raise DnsRefused(f"{name} is not in the zone {zone.name}", fix="correct zone_id of the DNS entry")
        answer = self._probe(zone, names, deadline)
        if answer is not None and answer.status in BUSY:
            raise self._api.fault(answer, zone.id)

    # --- what the server can do

    def _probe(self, zone: Zone, names: Sequence[str], deadline: Deadline) -> Answer | None:
        """Ask for a change that changes nothing, and learn from the answer. Raises what refuses us."""
        nothing = [Item(name, f"ci-acme-check-{os.urandom(16).hex()}", self._settings.ttl) for name in names]
        answer = self._api.patch(zone.id, [single("PRUNE", item) for item in nothing], deadline)
        if answer is None or answer.status in BUSY:
            return answer  # not known yet; the change itself will tell
        if not answer.ok and not not_understood(answer):
            raise self._api.fault(answer, zone.id)
        self._single = answer.ok
        return answer

    def _change(self, zone: Zone, items: Sequence[Item], deadline: Deadline, *, present: bool) -> set[Item]:
        """Make values present, or absent; those that are known to have been there. Raises `DnsError`s."""
        change = Change(self._api, zone, items, present=present, single=self._single)
        try:
            return change.make(deadline)
        finally:
            self._single = change.single


def _zone_of(zone_id: str) -> Zone:
    """The zone of an id: its name with a dot at the end, `=2F` for a slash, and perhaps a view behind two dots."""
    text = zone_id if zone_id.endswith(".") or ".." in zone_id else f"{zone_id}."
    name = _ENCODED.sub(lambda match: chr(int(match[1], 16)), text).partition("..")[0]
    return Zone(id=text, name=name.rstrip(".").lower())


def _ancestors(name: str) -> Iterable[str]:
    labels = name.split(".")
    return (".".join(labels[start:]) for start in range(len(labels)))
