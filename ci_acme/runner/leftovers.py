"""Challenge values that earlier runs left: found in the journal, removed by name and value, never by name alone."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from ci_acme.core.lease import Presence
from ci_acme.dataclass import dataclass
from ci_acme.errors import CiAcmeError, Interrupted, NotAvailable, StateError
from ci_acme.model.events import Step
from ci_acme.model.records import format_time
from ci_acme.ports import CertificateStore, Deadline, Placement, Present, TxtValue, Zone
from ci_acme.state.engine import ANY, Engine
from ci_acme.state.holders import Process, this_process
from ci_acme.state.journal import Journal, OpenItem, open_items
from ci_acme.state.leases import TTL
from ci_acme.state.orders import Orders

if TYPE_CHECKING:
    from ci_acme.runner.jobs import Job
    from ci_acme.runner.services import Services

_PREFIX: Final = "run/"
CLEANUP_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Leftover:
    """A value that an earlier run left, and what became of it; `error` is None if it is gone."""

    item: OpenItem
    error: CiAcmeError | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the JSON document. A challenge value is public."""
        return {
            "run": self.item.run,
            "zone": self.item.zone.name,
            "name": self.item.name,
            "value": self.item.value,
            "error": self.error.as_dict() if self.error else None,
        }


class Announcement:
    """Says that this run is under way, so that nobody takes its values for leftovers. Thread-safe.

    Where its process cannot be looked up (another machine, another container), it is believed for as long as a lease
    that is not renewed: whoever holds one says again that it is there.
    """

    def __init__(self, engine: Engine, services: Services) -> None:
        self._engine = engine
        self._services = services
        self._key = _PREFIX + services.run_id
        self._started = format_time(services.clock.now())
        self._lock = threading.Lock()
        self._seen = 0.0

    def make(self) -> None:
        """Raises `StateError`."""
        now = self._engine.time()
        document = {
            "process": this_process().as_dict(),
            "started": self._started,
            "until": now + self._services.deadline.remaining(),
            "silent": now + TTL,
        }
        self._seen = self._services.clock.monotonic()
        self._engine.write(self._key, json.dumps(document).encode(), expect=ANY)

    def repeat(self) -> None:
        """Before it is too old to be believed. A state that is out of reach now is tried again with the next lease."""
        with self._lock, suppress(StateError):
            if self._services.clock.monotonic() - self._seen > TTL / 4:
                self.make()


class RunJournal(Journal):
    """The journal of this run, which takes over what runs that are over have left and this one needs again."""

    def __init__(self, engine: Engine, services: Services) -> None:
        super().__init__(engine, services.run_id)
        self._state = engine
        self._services = services

    def adopt(
        self, entry: str, zone: Zone, values: Sequence[TxtValue], *, deadline: Deadline
    ) -> Collection[tuple[str, str]]:
        """Raises `StateError`, `LeaseHeld`, `Interrupted`."""
        wanted = {(value.name, value.value) for value in values}
        left = [
            item
            for item in open_items(self._state)
            if (item.entry, item.zone.name) == (entry, zone.name)
            and (item.name, item.value) in wanted
            and is_over(item.run, self._services)
        ]
        if left:
            with _alone_with_leftovers(entry, zone, self._services, deadline):  # who removes them now, ends that first
                still = open_items(self._state)
                self.take_over([item for item in left if item in still])
        return {(item.name, item.value) for item in left}


@contextmanager
def _alone_with_leftovers(entry: str, zone: Zone, services: Services, deadline: Deadline) -> Generator[None]:
    """Within, nobody else removes or takes over what runs that are over have left in a zone."""
    key, what = json.dumps(["leftovers", entry, zone.name]), f"what earlier runs have left in {zone.name}"
    grant = services.leases().acquire(key, f"run {services.run_id}", what=what, deadline=deadline)
    assert grant is not None
    with grant.kept():
        yield


def withdraw(engine: Engine, services: Services) -> None:
    """This run is over. What its journal still holds is a leftover from now on. Raises `StateError`."""
    Journal(engine, services.run_id).tidy()
    engine.delete(_PREFIX + services.run_id, expect=ANY)


def replay(services: Services, *, wanted: bool = True) -> list[Leftover]:
    """Remove what runs that are over have left, one change a zone. Raises `StateError` and `Interrupted`.

    `wanted` is False where it happens beside other work: then a zone that the config does not have is passed over.
    """
    engine = services.state()
    groups: dict[tuple[str, str, str], list[OpenItem]] = defaultdict(list)
    others = [item for item in open_items(engine) if item.run != services.run_id]
    over = {run: not _alive(engine, run) for run in {item.run for item in others}}
    for item in others:
        if over[item.run]:
            groups[item.run, item.entry, item.zone.id].append(item)
    if wanted and not all(over.values()):
        busy = sum(not over[item.run] for item in others)
        services.notify(Step("", f"{busy} challenge record(s) of runs that are at work now are left to them"))
    done: list[Leftover] = []
    deadline = Deadline(services.clock, CLEANUP_SECONDS)
    for items in groups.values():
        done += _remove(items, engine, services, deadline, wanted=wanted)
    open_runs = {item.run for item in open_items(engine)}
    for run in dead_runs(engine, services):
        if run not in open_runs:
            Journal(engine, run).tidy()
            engine.delete(_PREFIX + run, expect=ANY)
    Orders(engine).expire(services.clock.now().timestamp())
    return done


def dead_runs(engine: Engine, services: Services) -> list[str]:
    """The runs that were killed and not tidied up after yet. Raises `StateError`."""
    runs = [key.removeprefix(_PREFIX) for key in engine.list(_PREFIX)]
    return [run for run in runs if run != services.run_id and not _alive(engine, run)]


def is_over(run: str, services: Services) -> bool:
    """Whether a run has come to its end, or was killed. Raises `StateError`."""
    return run != services.run_id and not _alive(services.state(), run)


def _remove(
    items: list[OpenItem], engine: Engine, services: Services, deadline: Deadline, *, wanted: bool
) -> list[Leftover]:
    from ci_acme.dns.turns import release_in_turn  # most runs find nothing

    first = items[0]
    provider = services.provider(first.entry)
    if provider is None:
        error = NotAvailable(
            f"the config has no dns entry {first.entry!r} any more", fix="add it again, run cleanup, and remove it"
        )
        return [Leftover(item, error) for item in items] if wanted else []
    journal = Journal(engine, first.run)
    gone: list[OpenItem] = []

    @contextmanager
    def claim(_: Sequence[Placement]) -> Generator[Sequence[Placement]]:
        with _alone_with_leftovers(first.entry, first.zone, services, deadline):
            still = journal.open_items()  # a run may have taken over what it needs
            ended = [item for item in items if item in still]
            needed = _needed(engine, services) if ended else set()
            gone.extend(item for item in ended if _what(item) not in needed)
            yield [item.placement for item in gone]
            if ended:
                journal.released(first.entry, first.zone, [(item.name, item.value) for item in ended])

    try:
        placements = [item.placement for item in items]
        release_in_turn(provider, placements, services.lease, deadline=deadline, claim=claim)
    except Interrupted:
        raise
    except CiAcmeError as error:
        return [Leftover(item, error) for item in gone or items]
    return [Leftover(item) for item in gone]


def _needed(engine: Engine, services: Services) -> set[tuple[str, str, str, str]]:
    """The values of runs that are at work: one that goes on with an order has the values of the run that began it."""
    return {_what(item) for item in open_items(engine) if not is_over(item.run, services)}


def _what(item: OpenItem) -> tuple[str, str, str, str]:
    return item.entry, item.zone.name, item.name, item.value


def _alive(engine: Engine, run: str) -> bool:
    """Whether a run may still be at work: announced, within its deadline, and its process there.

    Where that cannot be known, it is not if it has been silent for as long as its leases last.
    """
    entry = engine.read(_PREFIX + run)
    if entry is None:
        return False
    try:
        document = json.loads(entry.value)
        until, process = float(document["until"]), Process.from_dict(document["process"])
        silent = float(document.get("silent", until))
    except (ValueError, KeyError, TypeError):
        return False
    presence = process.presence()
    if presence is Presence.UNKNOWN:
        until = min(until, silent)
    return engine.time() <= until and presence is not Presence.GONE


def forget_delivered(jobs: Sequence[Job], services: Services) -> None:
    """Remove the order of a run that was killed after it had published the certificate. Raises `CiAcmeError`.

    Stores are looked at only if the state has an order under way. What a store still lacks and no other gives back
    stays kept.
    """
    orders = Orders(services.state())
    for job in jobs if orders.any() else ():
        found = {id(store): _order_in(store, services) for store in job.stores}
        for order in {order for order in found.values() if order is not None}:
            holders = [store for store in job.stores if found[id(store)] == order]
            if len(holders) == len(job.stores) or any(store.capabilities.returns_key for store in holders):
                _forget(job, holders, order, services)
                orders.delivered(job.spec.digest(), order)


def _order_in(store: CertificateStore, services: Services) -> str | None:
    """The order whose certificate the store holds."""
    state = store.read(deadline=services.deadline)
    return state.metadata.order if isinstance(state, Present) and state.metadata else None


def _forget(job: Job, holders: Sequence[CertificateStore], order: str, services: Services) -> None:
    for store in holders:
        if store.capabilities.holds_pending:
            staged = store.staged(deadline=services.deadline)
            if staged is None or staged.order == order:  # without its first file, nothing can be gone on with
                store.unstage(deadline=services.deadline)
