"""`route53`: challenge records in Amazon Route 53, safe beside other writers.

A record set is changed by compare-and-swap: one batch with `DELETE` of exactly what was seen and `CREATE` of what shall
be there, for all names of a call. Where nothing was seen, `CREATE` alone is tried first, and only names that conflict
are read: a hundred names cost one call. A refused batch has changed nothing; what is there decides what it meant.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ci_acme.errors import (
    CiAcmeError,
    DnsPropagationTimeout,
    DnsRefused,
)
from ci_acme.ports import Concurrency, Deadline, DnsCapabilities, Placement, ProviderContext, TxtValue, Zone
from ci_acme_providers.aws import route53_zones
from ci_acme_providers.aws.config import Route53Settings
from ci_acme_providers.aws.faults import Conflict
from ci_acme_providers.aws.route53_api import Changes, Route53Api
from ci_acme_providers.aws.route53_edit import Desk, Done
from ci_acme_providers.aws.route53_records import Edit, Plan, cut, impossible, is_simple

_ANSWERED: Final = 8
"""Values of a multivalue name that one answer holds; of more, some are left out at random."""
_FIRST_POLL: Final = 1.0
_POLLS: Final = ((2.0, 4.0), (2.0, 4.0), (2.0, 4.0), (4.0, 8.0))
"""Seconds between polls, from and to; the last for all that follow. An account has five calls a second in all."""


class Route53:
    """`DnsProvider` over the API of Route 53."""

    def __init__(self, settings: Route53Settings, context: ProviderContext) -> None:
        self._settings = settings
        self._context = context
        self._api = Route53Api(settings, context)
        self._desk = Desk(self._api)

    @property
    def capabilities(self) -> DnsCapabilities:
        return DnsCapabilities(concurrency=Concurrency.CAS, in_sync_signal=True)

    @property
    def where(self) -> str:
        return "route53" if self._settings.endpoint is None else f"route53 at {self._settings.endpoint}"

    def zones_for(self, name: str, apex: str | None, *, deadline: Deadline) -> Sequence[Zone]:
        if self._settings.zone_id is not None:
            return [route53_zones.given(self._api, self._settings, name, apex, deadline)]
        return route53_zones.find(self._api, name, apex, deadline)

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        by_name: dict[str, list[TxtValue]] = {}
        for value in values:
            by_name.setdefault(value.name, []).append(value)
        edits = {
            name: Edit(add=tuple(value.value for value in there), ttl=ttl, run=self._context.run)
            for name, there in by_name.items()
        }
        fresh = [name for name, there in by_name.items() if all(value.ttl is None for value in there)]
        done = self._desk.settle(zone.id, edits, self._desk.unknown(zone.id, fresh), deadline)
        self._warn_crowded(zone, edits)
        return [self._placement(zone, value, done[value.name]) for value in values]

    def wait_in_sync(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        changes = {placement.ref: placement.zone.id for placement in placements if placement.created and placement.ref}
        names = sorted({placement.name for placement in placements})
        deadline = deadline.within(self._settings.propagation_timeout)
        polls = 0
        while changes:
            low, high = _POLLS[min(polls - 1, len(_POLLS) - 1)] if polls else (_FIRST_POLL, _FIRST_POLL)
            pause = random.uniform(low, high)  # noqa: S311 - no secret depends on it
            if pause >= deadline.remaining():
                raise _out_of_sync(names)
            deadline.clock.sleep(pause)
            polls += 1
            changes = self._pending(changes, names, deadline)

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        zones: dict[str, dict[str, list[str]]] = {}
        for placement in placements:
            if placement.created:
                zones.setdefault(placement.zone.id, {}).setdefault(placement.name, []).append(placement.value)
        for zone_id, names in zones.items():
            edits = {
                name: Edit(remove=tuple(dict.fromkeys(values)), ttl=self._settings.ttl, run=self._context.run)
                for name, values in names.items()
            }
            self._desk.settle(zone_id, edits, self._desk.remembered(zone_id, edits), deadline)

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """Sends a batch that cannot be carried out: it deletes, at each name, a value that cannot be there.

        AWS judges every name, type and action before Route 53 looks at records; the batch is refused as a whole. Then
        the rights to read records and changes are used.
        """
        nothing = f"ci-acme-check-{os.urandom(16).hex()}"
        plans = {name: Plan(tuple(impossible(name, nothing)), ()) for name in names}
        for batch in cut(plans):
            changes = [change for plan in batch.values() for change in plan.changes]
            try:
                self._api.change(zone.id, list(batch), changes, deadline, Changes())
            except Conflict:
                continue
        if names:
            self._desk.read(zone.id, names[:1], deadline)
        self._pending({"C0000000000000": zone.id}, names, deadline)

    # --- helpers

    def _placement(self, zone: Zone, value: TxtValue, done: Done) -> Placement:
        created = value.value in done.ours
        return Placement(zone, value.name, value.value, created, done.change if created else None)

    def _pending(self, changes: Mapping[str, str], names: Sequence[str], deadline: Deadline) -> dict[str, str]:
        """The changes that not all servers have yet; none if that may not be asked."""
        try:
            return {
                change: zone_id
                for change, zone_id in changes.items()
                if not self._api.in_sync(zone_id, names, change, deadline)
            }
        except DnsRefused as error:
            self._context.warn(f"the name servers are asked instead of Route 53: {error.message}; {error.fix}")
            return {}

    def _warn_crowded(self, zone: Zone, names: Iterable[str]) -> None:
        for name in names:
            sets = self._desk.known(zone.id, name)
            if not is_simple(sets) and len(sets) > _ANSWERED:
                self._context.warn(
                    f"{name} has {len(sets)} multivalue records, of which Route 53 answers {_ANSWERED} at random: the "
                    "CA may miss ours; remove old ones"
                )


def _out_of_sync(names: Sequence[str]) -> CiAcmeError:
    return DnsPropagationTimeout(
        f"Route 53 has not brought the records at {', '.join(names[:3])} to all its servers in time",
        fix="raise propagation_timeout of the DNS entry",
        details={"names": list(names)},
    )
