"""Challenge values that earlier runs left: found in the journal, removed by name and value, never by name alone."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ci_acme.core.lease import Presence
from ci_acme.dataclass import dataclass
from ci_acme.errors import CiAcmeError, Interrupted, NotAvailable
from ci_acme.model.records import format_time
from ci_acme.ports import CertificateStore, Deadline, Present
from ci_acme.state.engine import ANY, Engine
from ci_acme.state.holders import Process, this_process
from ci_acme.state.journal import Journal, OpenItem, open_items
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


def announce(engine: Engine, services: Services) -> None:
    """Say that this run is under way, so that nobody takes its values for leftovers. Raises `StateError`."""
    document = {
        "process": this_process().as_dict(),
        "started": format_time(services.clock.now()),
        "until": engine.time() + services.deadline.remaining(),
    }
    engine.write(_PREFIX + services.run_id, json.dumps(document).encode(), expect=ANY)


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
    for item in open_items(engine):
        if item.run != services.run_id and not _alive(engine, item.run):
            groups[item.run, item.entry, item.zone.id].append(item)
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
    try:
        release_in_turn(provider, [item.placement for item in items], services.lease, deadline=deadline)
        Journal(engine, first.run).released(first.entry, first.zone, [(item.name, item.value) for item in items])
    except Interrupted:
        raise
    except CiAcmeError as error:
        return [Leftover(item, error) for item in items]
    return [Leftover(item) for item in items]


def _alive(engine: Engine, run: str) -> bool:
    """Whether a run may still be at work: announced, within its deadline, its process there if it is on this host."""
    entry = engine.read(_PREFIX + run)
    if entry is None:
        return False
    try:
        document = json.loads(entry.value)
        until, process = float(document["until"]), Process.from_dict(document["process"])
    except (ValueError, KeyError, TypeError):
        return False
    return engine.time() <= until and process.presence() is not Presence.GONE


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
