"""The `ChallengeSolver` of one certificate: publish, wait, tell, and clean up whatever happened."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from ci_acme.dns.ahead import Search
from ci_acme.dns.desks import Group
from ci_acme.dns.follow import show_chain
from ci_acme.dns.propagation import Propagation, Wanted
from ci_acme.dns.publish import NOTHING_WRITTEN
from ci_acme.dns.resolve import Target
from ci_acme.errors import CiAcmeError, DnsPropagationTimeout
from ci_acme.model.events import Observer, Step, Warned
from ci_acme.ports import Challenge, Clock, Concurrency, Deadline, Placement, Zone

if TYPE_CHECKING:
    from ci_acme.dns.engine import DnsEngine
    from ci_acme.dns.ladder import Ladder

CLEANUP_SECONDS: Final = 5.0
_APART: Final = frozenset({Concurrency.PER_VALUE, Concurrency.CAS, Concurrency.BLIND})
"""What a provider promises where a name is not held from the first value to the last."""
_SLICE: Final = 0.05


class Solver:
    """`ChallengeSolver`; made by `DnsEngine.solver`."""

    def __init__(self, engine: DnsEngine, certificate: str, notify: Observer) -> None:
        self._engine = engine
        self._certificate = certificate
        self._notify = notify
        self._lock = threading.Lock()
        self._search = Search(engine)
        self._groups: list[Group] = []
        self._held: list[tuple[Group, str, str]] = []
        self._left: list[tuple[Group, str, str]] = []
        self._turns = ExitStack()
        self._shown_by: set[str] = set()
        self._warned: set[str] = set()
        self._changes = 0

    # --- ChallengeSolver

    @property
    def changes(self) -> int:
        return self._changes

    @property
    def propagation(self) -> str | None:
        """How it was known that the records are there: the weakest of `ladder.RUNGS` that served, None for nothing."""
        if len(self._shown_by) < 2:
            return next(iter(self._shown_by), None)
        from ci_acme.dns.ladder import RUNGS

        return max(self._shown_by, key=RUNGS.index)

    def _count(self) -> None:
        with self._lock:
            self._changes += 1

    def prepare(self, names: Sequence[str]) -> None:
        self._search.begin(names)

    def look_ahead(self, names: Sequence[str]) -> None:
        """`prepare`, and find out what `foresee` raises."""
        self._search.begin(names, objecting=True)

    def foresee(self, deadline: Deadline) -> None:
        """After `look_ahead`: raise what `solve` would raise for certain, if that is known by the deadline."""
        objection = self._search.objection(deadline)
        if objection is not None:
            raise objection

    def solve(
        self, challenges: Sequence[Challenge], ready: Callable[[Sequence[Challenge]], None], *, deadline: Deadline
    ) -> None:
        if not challenges:
            return
        groups = self._group(challenges, self._locate({challenge.name for challenge in challenges}), deadline)
        self._take_turns(groups, deadline)
        with self._lock:
            self._groups += groups
        published: SimpleQueue[tuple[Group, BaseException | None]] = SimpleQueue()
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
        finally:
            self._turns.close()  # others may write at these names from now on

    # --- solve

    def _locate(self, names: Iterable[str]) -> dict[str, Target]:
        """The targets of challenge names. Raises what is wrong with the first that has none."""
        targets: dict[str, Target] = {}
        for name, target in self._search.found(names).items():
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

    def _warn_once(self, texts: Iterable[str]) -> None:
        for text in texts:
            if text not in self._warned:
                self._warned.add(text)
                self._notify(Warned(self._certificate, text))

    def _group(self, challenges: Sequence[Challenge], targets: dict[str, Target], deadline: Deadline) -> list[Group]:
        """Sort the values by provider and zone. Where an entry has further providers, each gets them all."""
        groups: dict[tuple[int, Zone], Group] = {}
        for challenge in challenges:
            target = targets[challenge.name]
            entry = self._engine.desk_for(target)
            for desk in entry.all:
                choice = desk.find_zone(target, self._engine.directory, deadline)
                self._warn_once(choice.warnings)
                group = groups.setdefault((id(desk), choice.zone), Group(desk, choice.zone, entry.settings))
                group.take(target, challenge)
        several = [group for group in groups.values() if self._is_one_of_several(group)]
        if several:
            from ci_acme.dns.dual import existing_at

            for group in several:
                group.existing |= existing_at(group.desk, group.zone, group.targets, self._engine.clock)
        return list(groups.values())

    def _is_one_of_several(self, group: Group) -> bool:
        """Whether another provider serves the zone, too, so that what one server shows is not there at all of them."""
        return group.desk not in self._engine.desks or len(group.desk.all) > 1

    def _take_turns(self, groups: Sequence[Group], deadline: Deadline) -> None:
        """Hold the names whose provider needs that, and refuse what has no room. Nothing is written yet."""
        limited = [group for group in groups if group.desk.provider.capabilities.max_values is not None]
        exclusive = [group for group in groups if group.desk.provider.capabilities.concurrency not in _APART]
        if not limited and not exclusive:
            return
        from ci_acme.dns.turns import name_turns, require_room

        for group in limited:
            for name, values in group.wanted.items():
                there = [value.decode("utf-8", "replace") for value in group.existing[name]]
                require_room(group.desk.provider, name, values, there)
        names = [(group.desk.provider, group.zone, name) for group in exclusive for name in group.wanted]
        self._turns.enter_context(name_turns(names, self._engine.lease, self._certificate, deadline))

    def _publish(
        self, group: Group, published: SimpleQueue[tuple[Group, BaseException | None]], deadline: Deadline
    ) -> None:
        """Make the values of one zone present, and say so on the queue. The intent is recorded before."""
        try:
            self._ensure(group, deadline)
        except BaseException as error:  # the solving thread raises it
            published.put((group, error))
        else:
            published.put((group, None))

    def _ensure(self, group: Group, deadline: Deadline) -> None:
        journal = self._engine.journal
        values = group.values()
        found = [value for value in values if group.existed(value)]
        if journal is not None and found:  # an order that is gone on with: the values of a run that was killed
            group.adopted |= set(journal.adopt(group.desk.label, group.zone, found, deadline=deadline))
        ours = [value for value in values if not group.existed(value)]
        with self._lock:
            for value in values:
                self._engine.holds.take(group.key(value.name, value.value), existed=group.existed(value))
                self._held.append((group, value.name, value.value))
        if journal is not None and ours:
            journal.intend(group.desk.label, group.zone, ours)
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
            journal.placed(group.desk.label, placements)
        if group.desk.provider.capabilities.in_sync_signal:
            group.desk.provider.wait_in_sync(placements, deadline=deadline)

    def _forget(self, group: Group) -> None:
        """Nothing of the group was written: there is nothing to remove."""
        with self._lock:
            mine = [held for held in self._held if held[0] is group]
            self._held = [held for held in self._held if held[0] is not group]
        dropped = [(name, value) for _, name, value in mine if self._engine.holds.drop(group.key(name, value))]
        if self._engine.journal is not None and dropped:
            self._engine.journal.released(group.desk.label, group.zone, dropped)

    def _wait(
        self,
        groups: Sequence[Group],
        published: SimpleQueue[tuple[Group, BaseException | None]],
        ready: Callable[[Sequence[Challenge]], None],
        deadline: Deadline,
    ) -> None:
        """Wait for the changes and for the servers, zone by zone as they come."""
        clock = self._engine.clock
        missing = len(groups)
        unpublished = Counter(name for group in groups for name in group.wanted)
        challenges = {name: values for group in groups for name, values in group.wanted.items()}
        propagation = self._propagation(groups)
        try:
            while missing or propagation.waiting:
                for group in self._take(published, clock, block=not propagation.waiting, missing=missing):
                    missing -= 1
                    unpublished.subtract(group.wanted.keys())
                    whole = [name for name in group.wanted if not unpublished[name]]
                    self._start_waiting(group, whole, groups, propagation, deadline)
                if not propagation.waiting:
                    continue
                done = propagation.step(_SLICE if missing else 1.0)
                if done:
                    ready([one for name in done for each in challenges[name].values() for one in each])
        except DnsPropagationTimeout as error:
            from ci_acme.dns.horizon import explained

            raise explained(
                error, [(group.desk, group.zone, group.targets) for group in groups], self._engine
            ) from None
        finally:
            self._shown_by |= propagation.used
            propagation.close()

    def _propagation(self, groups: Sequence[Group]) -> Propagation | Ladder:
        if all(target.closed is None for group in groups for target in group.targets.values()):
            return Propagation(self._certificate, self._notify, self._engine.clock)
        from ci_acme.dns.ladder import Ladder

        return Ladder(self._certificate, self._notify, self._engine.clock, self._engine.directory.over_https())

    @staticmethod
    def _take(
        published: SimpleQueue[tuple[Group, BaseException | None]], clock: Clock, *, block: bool, missing: int
    ) -> list[Group]:
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

    def _start_waiting(
        self,
        group: Group,
        names: Sequence[str],
        groups: Sequence[Group],
        propagation: Propagation | Ladder,
        deadline: Deadline,
    ) -> None:
        """Tell what was published, and wait for the names that all of their providers have."""
        count = sum(len(values) for values in group.wanted.values())
        what = f"published {count} TXT value{'s' if count > 1 else ''} in {group.zone.name}"
        self._notify(Step(self._certificate, f"{what} ({group.desk.provider.where})"))
        within = deadline.within(group.settings.propagation_timeout)
        reachable: list[Wanted] = []
        for name in names:
            target = group.targets[name]
            wanted = Wanted(name, frozenset(value.encode() for value in group.wanted[name]), target.authority)
            if isinstance(propagation, Propagation) or target.closed is None:
                reachable.append(wanted)
                continue
            from ci_acme.dns.ladder import Closed

            why = f"no name server of {target.authority.apex} can be reached from here on port 53"
            signal = all(one.desk.provider.capabilities.in_sync_signal for one in groups if name in one.wanted)
            propagation.add_closed(wanted, within, Closed(why, signal, group.settings.propagation_wait))
        propagation.add(reachable, within)

    # --- cleanup

    def _cleanup(self) -> None:
        deadline = Deadline(self._engine.clock.shielded(), CLEANUP_SECONDS)
        self._search.call_off()
        for group in self._groups:  # a change that is still under way is waited for: it is ours to undo
            if group.thread is not None:
                group.thread.join(deadline.remaining() / 2)
        with self._lock:
            held, self._held = self._held, []
            left, self._left = self._left, []
        todo = left + [one for one in held if self._engine.holds.drop(one[0].key(one[1], one[2]))]
        by_group: dict[int, list[tuple[Group, str, str]]] = {}
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

    def _release(self, items: Sequence[tuple[Group, str, str]], deadline: Deadline) -> None:
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
            self._notify(Warned(self._certificate, f"may be left in {where}: {records}; removing failed: {error}"))
            return
        try:
            if self._engine.journal is not None:
                self._engine.journal.released(group.desk.label, group.zone, pairs)
        except CiAcmeError as error:  # the next run removes them once more, which is no harm
            self._notify(Warned(self._certificate, f"removed, and still in the journal: {error}"))
