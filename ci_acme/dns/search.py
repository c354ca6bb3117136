"""The search for the zones of a certificate, in the background while the CA is asked for an order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from ci_acme.dns.resolve import Target
from ci_acme.errors import CiAcmeError, Interrupted
from ci_acme.ports import Clock

if TYPE_CHECKING:
    from ci_acme.dns.engine import DnsEngine

_SLICE: Final = 0.05


class StoppableClock:
    """A clock for work in the background that the solver may call off."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._off = threading.Event()

    def call_off(self) -> None:
        """End what waits on this clock."""
        self._off.set()

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        self.check()
        self._clock.sleep(seconds)

    def check(self) -> None:
        if self._off.is_set():
            raise Interrupted("the search for zones was called off")
        self._clock.check()

    def shielded(self) -> Clock:
        return self._clock.shielded()


class Search:
    """The search for the targets of names, in the background."""

    def __init__(self, engine: DnsEngine, names: Sequence[str]) -> None:
        self._clock = StoppableClock(engine.clock)
        self._engine = engine
        self._names = names
        self._found: dict[str, Target | CiAcmeError] = {}
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ci-acme-zones", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._engine.locate(self._names, self._clock)
        except BaseException as error:  # `solve` raises it
            self._error = error

    def result(self, clock: Clock) -> dict[str, Target | CiAcmeError]:
        """Wait for the targets. Raises what the search raised."""
        while self._thread.is_alive():
            self._thread.join(_SLICE)
            clock.check()
        if self._error is not None:
            raise self._error
        return self._found

    def call_off(self) -> None:
        """End the search, if it runs."""
        self._clock.call_off()
        self._thread.join(1.0)
