"""Turns at providers that cannot keep writers apart (`Concurrency`): leases of the run's state.

A provider that reads and writes a whole set without a condition (`BLIND`) is changed by one at a time, for as long as
the change takes. One that has few slots (`RING`), or of which nothing is known (`OPAQUE`), has a name to itself from
the first value until the last one is removed. All of it holds against those who share the state, and nobody else.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Final

from ci_acme.dns.publish import Lease, Turn
from ci_acme.errors import DnsRefused, LeaseHeld
from ci_acme.ports import Concurrency, Deadline, DnsProvider, Placement, Zone

_SLICE: Final = 0.05
BY_NAME: Final = frozenset({Concurrency.RING, Concurrency.OPAQUE})
"""What a provider promises where a name is held by one at a time."""


def zone_turn(provider: DnsProvider, zone: Zone, lease: Lease | None) -> Turn:
    """The turn for one change in a zone: threads of this run by a lock, other runs by a lease."""
    lock = threading.Lock()
    what = f"the zone {zone.name} at {provider.where}"

    @contextmanager
    def turn(deadline: Deadline) -> Generator[None]:
        begun = deadline.clock.monotonic()
        while not lock.acquire(timeout=_SLICE):
            deadline.clock.check()
            if deadline.expired:
                seconds = deadline.clock.monotonic() - begun
                raise LeaseHeld(f"{what} was not free within {seconds:.0f} s", fix="run the command again")
        try:
            with nullcontext() if lease is None else lease(_key(provider, zone), "", what=what, deadline=deadline):
                yield
        finally:
            lock.release()

    return turn


def name_turns(
    wanted: Iterable[tuple[DnsProvider, Zone, str]], lease: Lease | None, certificate: str, deadline: Deadline
) -> ExitStack:
    """The names that have to be held, taken in one order by everybody, so that nobody waits in a circle.

    Close it when the values are gone. Raises `LeaseHeld` at the deadline, `StateError`, `Interrupted`.
    """
    if lease is None:
        return ExitStack()
    keys = {
        _key(provider, zone, name): f"{name} at {provider.where}"
        for provider, zone, name in wanted
        if provider.capabilities.concurrency in BY_NAME
    }
    with ExitStack() as taken:
        for key in sorted(keys):
            taken.enter_context(lease(key, certificate, what=keys[key], deadline=deadline))
        return taken.pop_all()


def release_in_turn(
    provider: DnsProvider,
    placements: Sequence[Placement],
    lease: Lease | None,
    *,
    deadline: Deadline,
    claim: Callable[[Sequence[Placement]], AbstractContextManager[Sequence[Placement]]] = nullcontext,
) -> None:
    """`DnsProvider.release` of values in one zone that another run left, in turn with whoever is there.

    `claim` says, once it is our turn, which of them are still to be removed, and ends when they are: whoever takes a
    turn takes it before anything else, so that nobody waits in a circle.
    """
    if not placements:
        return
    zone = placements[0].zone
    names = {placement.name for placement in placements}
    blind = provider.capabilities.concurrency is Concurrency.BLIND
    turn = (
        zone_turn(provider, zone, lease)(deadline)
        if blind
        else name_turns(((provider, zone, name) for name in names), lease, "", deadline)
    )
    with turn, claim(placements) as left:
        if left:
            provider.release(left, deadline=deadline)


def require_room(provider: DnsProvider, name: str, wanted: Collection[str], there: Collection[str]) -> None:
    """Raises `DnsRefused` if a name cannot hold all values that are needed at once.

    `there` are values of others; a ring evicts them.
    """
    capabilities = provider.capabilities
    if capabilities.max_values is None:
        return
    ring = capabilities.concurrency is Concurrency.RING
    others = () if ring else set(there) - set(wanted)
    if len(wanted) + len(others) <= capabilities.max_values:
        return
    beside = f" beside {len(others)} of others" if others else ""
    own = "each name a CNAME to a record of its own" if ring else "names of their own, or fewer names a certificate"
    raise DnsRefused(
        f"{provider.where} holds at most {capabilities.max_values} values at {name}, and this order needs "
        f"{len(wanted)} there at once{beside}",
        fix=f"remove values at {name} that nobody needs, or give {own}" if others else f"give {own}",
        details={"name": name, "max_values": capabilities.max_values, "wanted": len(wanted), "others": len(others)},
    )


def _key(provider: DnsProvider, zone: Zone, name: str | None = None) -> str:
    """The same for everybody who writes there, whatever the config calls it."""
    return json.dumps(["dns", provider.where, zone.id, zone.name, *([name] if name is not None else [])])
