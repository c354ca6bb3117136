"""On whose behalf a request is made: how long it may take, who is told, and what it is counted for."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from ci_acme.dataclass import dataclass, field
from ci_acme.model.events import Observer, Step, Waiting, Warned, ignore
from ci_acme.ports import Clock, Deadline

HEARTBEAT: Final = 5.0
"""Seconds between two signs of life during a long wait."""


class Tally:
    """Counts requests by kind. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    def add(self, kind: str) -> None:
        """One more request of this kind was sent."""
        with self._lock:
            self._counts[kind] = self._counts.get(kind, 0) + 1

    def by_kind(self) -> Mapping[str, int]:
        """A copy of the counts: directory, nonce, account, order, authorization, challenge, finalize, certificate…"""
        with self._lock:
            return dict(self._counts)

    @property
    def total(self) -> int:
        """All requests, also those that were repeated or got no answer."""
        with self._lock:
            return sum(self._counts.values())


@dataclass(frozen=True, slots=True)
class Scope:
    """One piece of work at a CA. Requests that several pieces share are counted for the one that caused them.

    `certificate` is the name in the config, for events.
    """

    deadline: Deadline
    certificate: str = ""
    notify: Observer = ignore
    requests: Tally = field(default_factory=Tally)

    def step(self, text: str) -> None:
        """Tell that something was done."""
        self.notify(Step(self.certificate, text))

    def warn(self, text: str) -> None:
        """Tell that something is odd and not an error."""
        self.notify(Warned(self.certificate, text))

    def waiting(self, what: str, where: str, seconds: float) -> None:
        """Tell what is being waited for, and for how long already."""
        self.notify(Waiting(self.certificate, what, where, seconds))

    def pause(self, clock: Clock, seconds: float, what: str, where: str) -> None:
        """Sleep, never beyond the deadline, and give signs of life. Raises `Interrupted`."""
        whole = left = min(seconds, self.deadline.remaining())
        while left > 0:
            clock.sleep(min(left, HEARTBEAT))
            left -= HEARTBEAT
            if left > 0:
                self.waiting(what, where, whole - left)
