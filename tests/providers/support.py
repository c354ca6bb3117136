"""What tests of providers over REST share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from ci_acme.clock import SystemClock
from ci_acme.model.secret import Secret
from ci_acme.ports import Clock, Deadline, ProviderContext


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

    def shielded(self) -> SystemClock:
        return self


def soon(seconds: float = 30.0, clock: SystemClock | None = None) -> Deadline:
    return Deadline(clock or SteppedClock(), seconds)


def context(secrets: str | Mapping[str, str], clock: Clock | None = None, run: str = "run-1") -> ProviderContext:
    """A provider's context in which every reference, or each by its name, is this secret."""

    def read(reference: str) -> Secret:
        return Secret((secrets if isinstance(secrets, str) else secrets[reference]).encode())

    return ProviderContext(read, clock or SystemClock(), run=run, environ={})
