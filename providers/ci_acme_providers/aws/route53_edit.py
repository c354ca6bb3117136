"""Carrying edits out by compare-and-swap, until every name is as wanted or the deadline ends it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ci_acme.dataclass import dataclass, field
from ci_acme.errors import CiAcmeError, DnsError, DnsRefused, DnsUnreachable
from ci_acme.ports import Deadline
from ci_acme_providers.aws.faults import NOTHING_WRITTEN, Conflict
from ci_acme_providers.aws.patience import pause_after
from ci_acme_providers.aws.route53_api import Changes, Route53Api
from ci_acme_providers.aws.route53_records import (
    Edit,
    Plan,
    RecordSet,
    cut,
    foreign_routing,
    plan,
    simple,
    values_of,
)
from ci_acme_providers.aws.route53_sweep import sweep

_SAME: Final = 4
"""How often the same batch may be refused although the names were read before: it is not a race then."""

States = dict[str, Sequence[RecordSet]]


@dataclass(slots=True)
class Done:
    """What became of an edit: the values that we added (`ours`), and the change that did it, if it was told."""

    ours: set[str] = field(default_factory=set[str])
    change: str | None = None


class Desk:
    """Knows what the sets of names were after our last change; any thread may use it."""

    def __init__(self, api: Route53Api) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Sequence[RecordSet]] = {}

    # --- what is supposed to be there

    def unknown(self, zone_id: str, names: Iterable[str]) -> States:
        """Names at which nothing was seen, as empty; those that we have written to are to be read."""
        with self._lock:
            return {name: () for name in names if (zone_id, name) not in self._known}

    def remembered(self, zone_id: str, edits: Mapping[str, Edit]) -> States:
        """The sets after our last change; else, as another process would have made them, just the values to remove."""
        with self._lock:
            return {
                name: self._known.get((zone_id, name)) or (simple(name, edit.remove, edit.ttl),)
                for name, edit in edits.items()
            }

    def known(self, zone_id: str, name: str) -> Sequence[RecordSet]:
        """The sets after our last change, or as they were read."""
        with self._lock:
            return self._known.get((zone_id, name), ())

    def read(self, zone_id: str, names: Sequence[str], deadline: Deadline) -> States:
        """The TXT record sets at each name. Raises `DnsError`s."""
        found = sweep(names, lambda start: self._api.records(zone_id, names, start, deadline))
        self._remember(zone_id, found)
        return dict(found)

    def _remember(self, zone_id: str, states: Mapping[str, Sequence[RecordSet]]) -> None:
        with self._lock:
            self._known |= {(zone_id, name): sets for name, sets in states.items()}

    # --- edits

    def settle(self, zone_id: str, edits: Mapping[str, Edit], guesses: States, deadline: Deadline) -> dict[str, Done]:
        """Carry out all edits of a zone. Raises `DnsError`s; one of `NOTHING_WRITTEN` only if that is so."""
        work = _Work(zone_id, edits, dict(guesses))
        try:
            while work.todo:
                self._round(work, deadline)
        except NOTHING_WRITTEN as error:
            if work.written:
                raise DnsError(error.message, fix=error.fix, details=error.details) from None
            raise
        return work.done

    def _round(self, work: _Work, deadline: Deadline) -> None:
        """Read what is not known, send what is to be changed, and wait if something came in between."""
        unread = [name for name in work.todo if name not in work.states]
        if unread:
            work.states |= self.read(work.zone_id, unread, deadline)
            work.guessed -= set(unread)
        conflict: Conflict | None = None
        for batch in cut(work.plans()):
            made = Changes()
            try:
                changes = [change for one in batch.values() for change in one.changes]
                self._api.change(work.zone_id, list(batch), changes, deadline, made)
            except Conflict as error:
                work.refuse(batch, error, doubtful=made.doubtful)
                conflict = error
            except CiAcmeError:
                work.written = work.written or made.doubtful
                raise
            else:
                work.finish(batch, made)
                self._remember(work.zone_id, {name: one.after for name, one in batch.items()})
        if conflict is not None and unread:  # what was only guessed costs no patience
            self._pause(work, conflict, deadline)

    @staticmethod
    def _pause(work: _Work, conflict: Conflict, deadline: Deadline) -> None:
        work.rounds += 1
        pause = pause_after(work.rounds)
        if pause >= deadline.remaining():
            names = list(work.todo)
            raise DnsUnreachable(
                f"other writers change {', '.join(names[:3])} in Route 53 all the time; last: {conflict.text}",
                fix="run the command again",
                details={"names": names},
            )
        deadline.clock.sleep(pause)


@dataclass(slots=True)
class _Work:
    """The edits of a zone under way. `written` says that something was, or may have been, carried out."""

    zone_id: str
    edits: Mapping[str, Edit]
    states: States
    todo: dict[str, Edit] = field(init=False)
    done: dict[str, Done] = field(init=False)
    guessed: set[str] = field(init=False)
    written: bool = False
    rounds: int = 0
    doubts: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    refused: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        self.todo = dict(self.edits)
        self.done = {name: Done() for name in self.edits}
        self.guessed = set(self.states)

    def plans(self) -> dict[str, Plan]:
        """What is to be changed; names that are as wanted leave the work, unless that is a guess."""
        plans: dict[str, Plan] = {}
        for name, edit in list(self.todo.items()):
            one = self._plan(name, edit)
            if one.changes:
                plans[name] = one
            elif name in self.guessed:
                del self.states[name]
            else:
                self.done[name].ours |= self.doubts.get(name, set()) & values_of(self.states[name])
                del self.todo[name]
        return plans

    def _plan(self, name: str, edit: Edit) -> Plan:
        """Raises `DnsRefused` where nothing can be added."""
        obstacle = foreign_routing(self.states[name]) if edit.add else None
        if obstacle is not None:
            raise DnsRefused(
                f"Route 53 has {obstacle} for TXT at {name}: no value can be added",
                fix="remove it, or point the challenge name elsewhere with a CNAME",
                details={"names": [name]},
            )
        return plan(name, self.states[name], edit)

    def finish(self, batch: Mapping[str, Plan], made: Changes) -> None:
        """The batch was carried out."""
        self.written = True
        for name, one in batch.items():
            before = values_of(self.states[name])
            doubted = self.doubts.get(name, set())
            self.done[name].ours |= (values_of(one.after) - before) | (doubted & before)
            self.done[name].change = made.id
            del self.todo[name]

    def refuse(self, batch: Mapping[str, Plan], conflict: Conflict, *, doubtful: bool) -> None:
        """The batch was not carried out now; perhaps an attempt before was. Raises `DnsRefused`."""
        if doubtful:
            self.written = True
            for name, one in batch.items():
                self.doubts.setdefault(name, set()).update(values_of(one.after) - values_of(self.states[name]))
        stale = [name for name in batch if name in conflict.names] if not doubtful else []
        for name in stale or batch:
            del self.states[name]
        key = json.dumps([one.changes for one in batch.values()], sort_keys=True)
        self.refused[key] += 1
        if self.refused[key] >= _SAME:
            raise DnsRefused(
                f"Route 53 refuses a change that fits what it lists: {conflict.text}",
                fix="look at the records in the console; a routing policy or a protection may stand there",
                details={"names": list(batch)},
            )
