"""TXT values at providers whose API keeps single records: how they are added, found again and removed.

A provider implements `RecordApi`: find, create, delete. This module decides what is ours. It looks before it writes,
looks again when an answer was lost instead of sending twice, takes what is there already for somebody else's, and
removes exactly one record for each receipt, even among identical twins.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, Protocol

from ci_acme.dataclass import dataclass, field
from ci_acme.errors import (
    CiAcmeError,
    ConfigError,
    DnsCredentialsError,
    DnsError,
    DnsRefused,
    DnsUnreachable,
    ZoneNotFound,
)
from ci_acme.ports import Deadline, Placement, TxtValue, Zone

MARK: Final = "ci-acme"
"""What a note on a record of ours begins with, where the provider keeps notes."""
_PAUSES: Final = (0.0, 0.3, 0.6, 1.2, 2.4, 4.0, 4.0, 4.0)
"""Seconds before each round of looking and writing."""
_CLEAN: Final = (DnsRefused, DnsCredentialsError, ZoneNotFound, ConfigError)
"""Errors that tell the core that nothing was written: what was, is removed before one of them is raised."""
_UNDO_SECONDS: Final = (10.0, 30.0)
"""The least and the most that taking back may cost: some providers need seconds for a removal."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Record:
    """A TXT record: `id` is the provider's handle, `value` is unquoted, `name` absolute.

    `note` is the comment on it, None where the provider keeps none.
    """

    id: str
    name: str
    value: str
    ttl: int | None = None
    note: str | None = None

    @property
    def key(self) -> Key:
        """Name and value."""
        return self.name, self.value


@dataclass(frozen=True, slots=True)
class Wanted:
    """A record to make, with its TTL."""

    name: str
    value: str
    ttl: int

    @property
    def key(self) -> Key:
        """Name and value."""
        return self.name, self.value


@dataclass(slots=True)
class Outcome:
    """What became of records: `made` has the ids of those that an answer confirmed, `unclear` those without one.

    What is in neither was not made: it exists already, or the provider is busy.
    """

    made: dict[Key, str] = field(default_factory=dict[Key, str])
    unclear: set[Key] = field(default_factory=set[Key])


class RecordApi(Protocol):
    """The records of a provider's zones. All methods may raise errors of `ci_acme.errors` and `Interrupted`."""

    @property
    def note(self) -> str | None:
        """The comment that this run writes on its records, None where the provider keeps none."""
        ...

    def fit(self, ttl: int) -> int:
        """The nearest TTL that the provider takes; one that `find` gave stays as it is."""
        ...

    def find(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> Sequence[Record]:
        """All TXT records at exactly these names, twins included."""
        ...

    def create(self, zone: Zone, wanted: Sequence[Wanted], outcome: Outcome, *, deadline: Deadline) -> None:
        """Make the records; note in `outcome` at once what is known, since a later one may be refused.

        MUST NOT send twice what may have been carried out, and MUST raise for a refusal that will not pass.
        """
        ...

    def delete(self, zone: Zone, records: Sequence[Record], *, deadline: Deadline) -> bool:
        """Delete these; absent is success. False if that is not sure, and it must be looked again."""
        ...

    def settle(self, zone: Zone, *, deadline: Deadline) -> None:
        """Wait until changes whose outcome is not known are over, where they go on after their request."""
        ...

    def publish(self, zone: Zone, *, deadline: Deadline) -> None:
        """Make the zone's changes served, where that takes a call of its own. Idempotent."""
        ...


# --- the two operations ------------------------------------------------------------------------------------------


def ensure(
    api: RecordApi, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline
) -> Sequence[Placement]:
    """`DnsProvider.ensure`. A refusal leaves nothing of this call behind."""
    work = _Ensuring(api, zone, {(value.name, value.value): value for value in values}, ttl)
    try:
        work.run(deadline)
        api.publish(zone, deadline=deadline)
    except _CLEAN as error:
        raise work.undo(error, deadline) from None
    return [work.placements[value.name, value.value] for value in values]


def release(api: RecordApi, placements: Sequence[Placement], *, deadline: Deadline) -> None:
    """`DnsProvider.release`. Zones are independent: the first error is raised when all were tried."""
    zones: dict[Zone, list[Placement]] = {}
    for placement in placements:
        if placement.created:
            zones.setdefault(placement.zone, []).append(placement)
    failure: DnsError | None = None
    for zone, items in zones.items():
        try:
            if any(item.ref is None for item in items):
                api.settle(zone, deadline=deadline)
            _remove(api, zone, partial(_ours, items), _names(items), deadline)
            api.publish(zone, deadline=deadline)
        except DnsError as error:
            failure = failure or error
    if failure is not None:
        raise failure


@dataclass(slots=True)
class _Ensuring:
    """One call of `ensure` under way."""

    api: RecordApi
    zone: Zone
    values: dict[Key, TxtValue]
    ttl: int
    placements: dict[Key, Placement] = field(default_factory=dict[Key, Placement])
    outcome: Outcome = field(default_factory=Outcome)
    ttls: dict[str, int] = field(default_factory=dict[str, int])

    def run(self, deadline: Deadline) -> None:
        """Look and write until every value is there."""
        for _ in _rounds(deadline):
            self._look(deadline)
            missing = [value for key, value in self.values.items() if key not in self.placements]
            if not missing:
                return
            wanted = [Wanted(value.name, value.value, self._ttl(value)) for value in missing]
            try:
                self.api.create(self.zone, wanted, self.outcome, deadline=deadline)
            finally:
                for key, handle in self.outcome.made.items():
                    self._place(key, handle, created=True)
            if all(key in self.placements for key in self.values):
                return
        names = sorted({name for name, _ in self.values.keys() - self.placements.keys()})
        raise DnsUnreachable(
            f"the TXT records at {', '.join(names[:3])} are neither confirmed nor listed by the provider",
            fix="run the command again",
            details={"zone": self.zone.name, "names": names},
        )

    def undo(self, error: CiAcmeError, deadline: Deadline) -> CiAcmeError:
        """Remove what this call has made; the error to raise."""
        touched = self.outcome.made.keys() | self.outcome.unclear
        if not touched:
            return error
        least, most = _UNDO_SECONDS
        rest = Deadline(deadline.clock.shielded(), max(least, min(deadline.remaining(), most)))
        try:
            self.api.settle(self.zone, deadline=rest)
            _remove(self.api, self.zone, self._mine, sorted({name for name, _ in touched}), rest)
        except CiAcmeError:
            text = f"{error.message}; what was written before that could not be removed"
            return DnsError(text, fix=error.fix, details=error.details)
        with contextlib.suppress(CiAcmeError):  # what is not published is not served
            self.api.publish(self.zone, deadline=rest)
        return error

    def _look(self, deadline: Deadline) -> None:
        if self.outcome.unclear:
            self.api.settle(self.zone, deadline=deadline)
        records = self.api.find(self.zone, sorted({name for name, _ in self.values}), deadline=deadline)
        self.ttls = {record.name: record.ttl for record in records if record.ttl is not None}
        for key in self.values.keys() - self.placements.keys():
            same = [record for record in records if record.key == key]
            mine = self._mine(same) if key in self.outcome.unclear else []
            if same:
                self._place(key, (mine or same)[0].id, created=bool(mine))

    def _mine(self, records: Sequence[Record]) -> list[Record]:
        """Those that this call has made: confirmed, or sent for a value that was not there, with our comment if any."""
        made = set(self.outcome.made.values())
        notes = (None, self.api.note)
        return [
            record
            for record in records
            if record.id in made or (record.key in self.outcome.unclear and record.note in notes)
        ]

    def _place(self, key: Key, handle: str, *, created: bool) -> None:
        if key in self.values and key not in self.placements:
            self.placements[key] = Placement(self.zone, *key, created=created, ref=handle)

    def _ttl(self, value: TxtValue) -> int:
        """A neighbour's TTL is kept: an RRset has one (RFC 2181 section 5.2)."""
        known = self.ttls.get(value.name)
        return self.api.fit(known if known is not None else value.ttl or self.ttl)


def _remove(
    api: RecordApi,
    zone: Zone,
    choose: Callable[[Sequence[Record]], Sequence[Record]],
    names: Sequence[str],
    deadline: Deadline,
) -> None:
    for _ in _rounds(deadline):
        victims = choose(api.find(zone, names, deadline=deadline))
        if not victims or api.delete(zone, victims, deadline=deadline):
            return
    raise DnsUnreachable(
        f"the TXT records at {', '.join(names[:3])} are still listed by the provider after they were removed",
        fix="run `ci-acme cleanup`",
        details={"zone": zone.name, "names": list(names)},
    )


def _ours(placements: Sequence[Placement], records: Sequence[Record]) -> list[Record]:
    """One record for each receipt: the one that it names, else the newest that may be ours."""
    pool = list(records)
    chosen: list[Record] = []
    for placement in placements:
        same = [record for record in pool if record.key == (placement.name, placement.value)]
        if placement.ref is not None:
            same = [record for record in same if record.id == placement.ref]
        else:
            same = [record for record in same if record.note is None or record.note.startswith(MARK)]
        if same:
            chosen.append(same[-1])
            pool.remove(same[-1])
    return chosen


def _rounds(deadline: Deadline) -> Iterator[int]:
    """Numbers of rounds, each after a longer pause, until the deadline."""
    for number, pause in enumerate(_PAUSES):
        if number and deadline.remaining() <= pause:
            return
        if number:
            deadline.clock.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads load, guards nothing
        yield number


def _names(placements: Sequence[Placement]) -> list[str]:
    return sorted({placement.name for placement in placements})
