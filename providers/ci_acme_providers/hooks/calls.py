"""What `hook` and `httpreq` share: a call for each value, and knowing of zones only what the config and the DNS say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ci_acme.errors import ConfigError, DnsCredentialsError, DnsError, DnsRefused, ZoneNotFound
from ci_acme.model.names import ROOT, is_suffix
from ci_acme.ports import Deadline, Placement, TxtValue, Zone
from ci_acme.settings import DnsSettings

Item = TxtValue | Placement
Call = Callable[[str, str], None]
"""Publish or remove one value: the name without a trailing dot, and the value."""
_SLICE: Final = 0.1


def zone_of(settings: DnsSettings, name: str, apex: str | None) -> Zone:
    """The zone that a name is in, as far as anybody says. Raises `ZoneNotFound`."""
    given = settings.zone_id or apex or settings.zone
    zone = given.strip().rstrip(".").lower() or ROOT
    if not is_suffix(zone, name):
        raise ZoneNotFound(
            f"{name} is not in the zone {zone}",
            fix="correct zone_id of the DNS entry, or remove it",
            details={"name": name, "zone": zone},
        )
    return Zone(id=zone, name=zone)


class Caller:
    """Makes calls, at most `parallel` at once and never two for one name, whichever thread wants them."""

    def __init__(self, parallel: int = 1) -> None:
        self._parallel = parallel
        self._free = threading.BoundedSemaphore(parallel)

    def present(self, items: Sequence[TxtValue], call: Call, deadline: Deadline) -> None:
        """Call for each; the first failure ends it. Raises that, as one that says so if something was written."""
        done, errors = self._each(items, call, deadline, stop=True)
        if errors:
            raise _after(errors[0]) if done else errors[0]

    def cleanup(self, items: Sequence[Placement], call: Call, deadline: Deadline) -> None:
        """Call for each, whatever becomes of the others. Raises the first failure."""
        _, errors = self._each(items, call, deadline, stop=False)
        if errors:
            raise errors[0]

    def _each(
        self, items: Sequence[Item], call: Call, deadline: Deadline, *, stop: bool
    ) -> tuple[int, list[BaseException]]:
        """How many calls were made, and the errors of the others."""
        errors: list[BaseException] = []
        done: list[None] = []

        def work(chain: Sequence[Item]) -> None:
            for item in chain:
                if errors and (stop or not isinstance(errors[-1], DnsError | ConfigError)):
                    return
                try:
                    self._take_turn(deadline)
                    try:
                        call(item.name, item.value)
                    finally:
                        self._free.release()
                except BaseException as error:  # it is raised in the thread that asked
                    errors.append(error)
                else:
                    done.append(None)

        chains: dict[str, list[Item]] = {}
        for item in items:
            chains.setdefault(item.name, []).append(item)
        threads = min(self._parallel, len(chains))
        if threads <= 1:
            for chain in chains.values():
                work(chain)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, chains.values()))
        return len(done), errors

    def _take_turn(self, deadline: Deadline) -> None:
        """Raises `DnsError` at the deadline, and `Interrupted`."""
        deadline.clock.check()
        while not self._free.acquire(timeout=_SLICE):
            deadline.clock.check()
            if deadline.expired:
                raise DnsError("the calls before this one did not end in time", fix="run the command again")


def _after(error: BaseException) -> BaseException:
    """The error when other values have been written already: none that says that nothing was."""
    if isinstance(error, DnsRefused | DnsCredentialsError | ZoneNotFound | ConfigError):
        return DnsError(error.message, fix=error.fix, details=error.details)
    return error
