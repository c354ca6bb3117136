"""What tests of providers over REST share."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

from ci_acme.clock import SystemClock
from ci_acme.ports import Deadline


class SteppedClock(SystemClock):
    """Every sleep is over at once and noted; both clocks have moved on by it."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return time.monotonic() + sum(self.slept)

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + timedelta(seconds=sum(self.slept))

    def sleep(self, seconds: float) -> None:
        self.check()
        self.slept.append(max(0.0, seconds))


def soon(seconds: float = 30.0, clock: SystemClock | None = None) -> Deadline:
    return Deadline(clock or SteppedClock(), seconds)
