"""The `ChallengeSolver` of one certificate: publish, wait, tell, and clean up whatever happened."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from ci_acme.dns.background import Background
from ci_acme.dns.follow import show_chain
from ci_acme.dns.propagation import Propagation, Wanted
from ci_acme.dns.publish import NOTHING_WRITTEN
from ci_acme.dns.resolve import Target
from ci_acme.errors import CiAcmeError
from ci_acme.model.events import Observer, Step, Warned
from ci_acme.ports import Challenge, Clock, Deadline, Placement, TxtValue, Zone

if TYPE_CHECKING:
    from ci_acme.dns.desks import Desk
    from ci_acme.dns.engine import DnsEngine

CLEANUP_SECONDS: Final = 5.0
_SLICE: Final = 0.05


@dataclass(slots=True)
class _Group:
    """All values of the certificate in one zone: one change."""

    desk: Desk
    zone: Zone
    wanted: dict[str, dict[str, list[Challenge]]] = field(default_factory=dict[str, dict[str, list[Challenge]]])
    targets: dict[str, Target] = field(default_factory=dict[str, Target])
    thread: threading.Thread | None = None

    def values(self) -> list[TxtValue]:
        """The values to publish, with the TTL of the RRset that is there."""
        return [
            TxtValue(name, value, self.targets[name].ttl) for name, values in self.wanted.items() for value in values
        ]

    def existed(self, value: TxtValue) -> bool:
        """Whether the value was there before us."""
        return value.value.encode() in self.targets[value.name].existing

    def key(self, name: str, value: str) -> tuple[int, str, str, str]:
        """The identity of a value among all solvers of the run."""
        return id(self.desk), self.zone.id, name, value


class Solver:
    """`ChallengeSolver`; made by `DnsEngine.solver`."""

    def __init__(self, engine: DnsEngine, certificate: str, notify: Observer) -> None:
        self._engine = engine
        self._certificate = certificate
        self._notify = notify
        self._lock = threading.Lock()
        self._search: Background[dict[str, Target | CiAcmeError]] | None = None
        self._searched: frozenset[str] = frozenset()
        self._groups: list[_Group] = []
        self._held: list[tuple[_Group, str, str]] = []
        self._left: list[tuple[_Group, str, str]] = []
        self._changes = 0

    # --- ChallengeSolver

    @property
    def changes(self) -> int:
        return self._changes

    def _count(self) -> None:
        with self._lock:
            self._changes += 1

    def prepare(self, names: Sequence[str]) -> None:
        names = sorted(set(names))
        self._searched = frozenset(names)
        engine = self._engine
        self._search = Background(lambda clock: engine.locate(names, clock), engine.clock, "ci-acme-zones")

    def solve(
        self, challenges: Sequence[Challenge], ready: Callable[[Sequence[Challenge]], None], *, deadline: Deadline
    ) -> None:
        if not challenges:
            return
        groups = self._group(challenges, self._locate({challenge.name for challenge in challenges}), deadline)
        with self._lock:
            self._groups += groups
        published: SimpleQueue[tuple[_Group, BaseException | None]] = SimpleQueue()
        for group in groups[1:]:
            group.thread = threading.Thread(target=self._publish, args=(group, published, deadline), daemon=True)
            group.thread.start()
        self._publish(groups[0], published, deadline)
        self._wait(groups, published, ready, deadline)

    def cleanup(self) -> None:
        try:
            self._cleanup()
        except Exception as error:  # cleaning up never hides why the run failed
            self._notify(Warned(self._certificate, f"cleaning up the DNS records failed: {error}"))

    # --- solve

    def _locate(self, names: Iterable[str]) -> dict[str, Target]:
        """The targets of challenge names, from the search that was prepared as far as it covers them."""
        wanted = set(names)
        found: dict[str, Target | CiAcmeError] = {}
        if self._search is not None and wanted & self._searched:
            found = self._search.result()
        missing = wanted - found.keys()
        if missing:
            found = {**found, **self._engine.locate(sorted(missing), self._engine.clock)}
        targets: dict[str, Target] = {}
        for name in sorted(wanted):
            target = found[name]
            if not isinstance(target, Target):
                raise target
            targets[name] = target
        for target in targets.values():
            if len(target.chain) > 1:
                self._notify(Step(self._certificate, f"following CNAME {show_chain(target.chain)}"))
        notes = {note for target in targets.values() for note in (target.note, target.authority.note)}
        for note in sorted(note for note in notes if note is not None):
            self._notify(Warned(self._certificate, note))
        return targets

    def _group(self, challenges: Sequence[Challenge], targets: dict[str, Target], deadline: Deadline) -> list[_Group]:
        """Sort the values by entry and zone."""
        groups: dict[tuple[int, Zone], _Group] = {}
        for challenge in challenges:
            target = targets[challenge.name]
            desk = self._engine.desk_for(target)
            zone = desk.find_zone(target.name, target.authority.apex, deadline)
            group = groups.setdefault((id(desk), zone), _Group(desk, zone))
            group.targets[target.name] = target
            group.wanted.setdefault(target.name, {}).setdefault(challenge.value, []).append(challenge)
        return list(groups.values())

    def _publish(
        self, group: _Group, published: SimpleQueue[tuple[_Group, BaseException | None]], deadline: Deadline
    ) -> None:
        """Make the values of one zone present, and say so on the queue. The intent is recorded before."""
        try:
            self._ensure(group, deadline)
        except BaseException as error:  # the solving thread raises it
            published.put((group, error))
        else:
            published.put((group, None))

    def _ensure(self, group: _Group, deadline: Deadline) -> None:
        journal = self._engine.journal
        values = group.values()
        ours = [value for value in values if not group.existed(value)]
        with self._lock:
            for value in values:
                self._engine.holds.take(group.key(value.name, value.value), existed=group.existed(value))
                self._held.append((group, value.name, value.value))
        if journal is not None and ours:
            journal.intend(group.desk.zone, group.zone, ours)
        self._count()
        try:
            placements = group.desk.publisher(group.zone).ensure(values, deadline)
        except NOTHING_WRITTEN:
            self._forget(group)
            raise
        created = {(value.name, value.value) for value in ours}
        placements = [
            Placement(p.zone, p.name, p.value, p.created and (p.name, p.value) in created, p.ref) for p in placements
        ]
        if journal is not None:
            journal.placed(group.desk.zone, placements)
        if group.desk.provider.capabilities.in_sync_signal:
            group.desk.provider.wait_in_sync(placements, deadline=deadline)

    def _forget(self, group: _Group) -> None:
        """Nothing of the group was written: there is nothing to remove."""
        with self._lock:
            mine = [held for held in self._held if held[0] is group]
            self._held = [held for held in self._held if held[0] is not group]
        dropped = [(name, value) for _, name, value in mine if self._engine.holds.drop(group.key(name, value))]
        if self._engine.journal is not None and dropped:
            self._engine.journal.released(group.desk.zone, group.zone, dropped)

    def _wait(
        self,
        groups: Sequence[_Group],
        published: SimpleQueue[tuple[_Group, BaseException | None]],
        ready: Callable[[Sequence[Challenge]], None],
        deadline: Deadline,
    ) -> None:
        """Wait for the changes and for the servers, zone by zone as they come."""
        clock = self._engine.clock
        missing = len(groups)
        challenges = {name: values for group in groups for name, values in group.wanted.items()}
        propagation = Propagation(self._certificate, self._notify, clock)
        try:
            while missing or propagation.waiting:
                for group in self._take(published, clock, block=not propagation.waiting, missing=missing):
                    missing -= 1
                    self._start_waiting(group, propagation, deadline)
                if not propagation.waiting:
                    continue
                done = propagation.step(_SLICE if missing else 1.0)
                if done:
                    ready([one for name in done for each in challenges[name].values() for one in each])
        finally:
            propagation.close()

    @staticmethod
    def _take(
        published: SimpleQueue[tuple[_Group, BaseException | None]], clock: Clock, *, block: bool, missing: int
    ) -> list[_Group]:
        """The groups that are published. Raises the error of one that is not."""
        if not missing:
            return []
        while True:
            clock.check()
            try:
                group, error = published.get(block, _SLICE)
            except Empty:
                if block:
                    continue
                return []
            if error is not None:
                raise error
            return [group]

    def _start_waiting(self, group: _Group, propagation: Propagation, deadline: Deadline) -> None:
        count = sum(len(values) for values in group.wanted.values())
        what = f"published {count} TXT value{'s' if count > 1 else ''} in {group.zone.name}"
        self._notify(Step(self._certificate, f"{what} ({group.desk.provider.where})"))
        wanted = [
            Wanted(name, frozenset(value.encode() for value in values), group.targets[name].authority)
            for name, values in group.wanted.items()
        ]
        propagation.add(wanted, deadline.within(group.desk.settings.propagation_timeout))

    # --- cleanup

    def _cleanup(self) -> None:
        deadline = Deadline(self._engine.clock.shielded(), CLEANUP_SECONDS)
        if self._search is not None:
            self._search.call_off()
            self._search = None
        for group in self._groups:  # a change that is still under way is waited for: it is ours to undo
            if group.thread is not None:
                group.thread.join(deadline.remaining() / 2)
        with self._lock:
            held, self._held = self._held, []
            left, self._left = self._left, []
        todo = left + [one for one in held if self._engine.holds.drop(one[0].key(one[1], one[2]))]
        by_group: dict[int, list[tuple[_Group, str, str]]] = {}
        for one in todo:
            by_group.setdefault(id(one[0]), []).append(one)
        jobs = [
            threading.Thread(target=self._release, args=(items, deadline), daemon=True)
            for items in list(by_group.values())[1:]
        ]
        for job in jobs:
            job.start()
        for items in list(by_group.values())[:1]:
            self._release(items, deadline)
        for job in jobs:
            job.join(deadline.remaining())
        if any(job.is_alive() for job in jobs):
            text = (
                f"removing DNS records did not end within {CLEANUP_SECONDS:.0f} s; `ci-acme cleanup` removes the rest"
            )
            self._notify(Warned(self._certificate, text))

    def _release(self, items: Sequence[tuple[_Group, str, str]], deadline: Deadline) -> None:
        """Remove the values of one zone; what could not be removed is kept for the next call, and named."""
        group = items[0][0]
        pairs = [(name, value) for _, name, value in items]
        placements = [Placement(group.zone, name, value, created=True) for name, value in pairs]
        self._count()
        try:
            group.desk.publisher(group.zone).release(placements, deadline)
        except Exception as error:  # said as a warning; the journal still has the values
            with self._lock:
                self._left += items
            records = "; ".join(f'{name} TXT "{value}"' for name, value in pairs)
            where = f"{group.zone.name} ({group.desk.provider.where})"
            self._notify(Warned(self._certificate, f"left in {where}: {records}; removing failed: {error}"))
            return
        try:
            if self._engine.journal is not None:
                self._engine.journal.released(group.desk.zone, group.zone, pairs)
        except CiAcmeError as error:  # the next run removes them once more, which is no harm
            self._notify(Warned(self._certificate, f"removed, and still in the journal: {error}"))
