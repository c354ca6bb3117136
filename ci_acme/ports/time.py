"""Time as a parameter."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time as a parameter: every wait of the product goes through `sleep`, every deadline through `monotonic`."""

    def now(self) -> datetime:
        """The wall clock, aware UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait. MUST raise `Interrupted` at once when the run is told to stop, unless the clock is shielded."""
        ...

    def check(self) -> None:
        """Raise `Interrupted` if the run was told to stop; called before anything that takes long."""
        ...

    def shielded(self) -> Clock:
        """The same clock for cleaning up: it does not hear that the run shall stop."""
        ...


class Deadline:
    """A point in time on a clock's monotonic scale."""

    __slots__ = ("_at", "clock")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock = clock
        self._at = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._at - self.clock.monotonic())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining() <= 0

    def within(self, seconds: float) -> Deadline:
        """A deadline at most `seconds` away, and never later than this one."""
        return Deadline(self.clock, min(seconds, self.remaining()))
