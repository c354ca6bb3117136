"""A search that runs beside other work until it is wanted or called off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final, Generic, TypeVar

from ci_acme.errors import Interrupted
from ci_acme.ports import Clock, Deadline

T = TypeVar("T")

_SLICE: Final = 0.05


class StoppableClock:
    """A clock for work in the background that can be called off."""

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
            raise Interrupted("the search was called off")
        self._clock.check()

    def shielded(self) -> Clock:
        return self._clock.shielded()


class Background(Generic[T]):
    """`work` in a thread of its own, begun at once; it waits on the clock that it is given."""

    def __init__(self, work: Callable[[Clock], T], clock: Clock, name: str) -> None:
        self._clock = clock
        self._stoppable = StoppableClock(clock)
        self._work = work
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._work(self._stoppable))
        except BaseException as error:  # `result` raises it
            self._error = error

    def ended(self, deadline: Deadline) -> bool:
        """Wait for the end, at most until the deadline; whether it has come."""
        while self._thread.is_alive() and not deadline.expired:
            self._thread.join(min(_SLICE, deadline.remaining()))
            self._clock.check()
        return not self._thread.is_alive()

    def result(self) -> T:
        """Wait for what `work` returns. Raises what it raised."""
        while self._thread.is_alive():
            self._thread.join(_SLICE)
            self._clock.check()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def call_off(self) -> None:
        """End the work, if it goes on."""
        self._stoppable.call_off()
        self._thread.join(1.0)
