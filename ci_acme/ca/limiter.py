"""A token bucket for one CA: requests wait here rather than be refused there."""

from __future__ import annotations

import threading

from ci_acme.ports import Clock


class TokenBucket:
    """At most `burst` requests at once and `per_second` on average. Thread-safe; who comes first goes first.

    The bucket may go into debt: a request takes its token at once and is told how long to wait for it, so that no lock
    is held while anybody waits.
    """

    def __init__(self, per_second: float, burst: int, clock: Clock) -> None:
        self._rate = per_second
        self._burst = float(burst)
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = self._burst
        self._filled = clock.monotonic()

    def take(self) -> float:
        """Take a token; the seconds after which it may be used, 0 for now."""
        with self._lock:
            now = self._clock.monotonic()
            self._tokens = min(self._burst, self._tokens + max(0.0, now - self._filled) * self._rate)
            self._filled = now
            self._tokens -= 1.0
            return max(0.0, -self._tokens / self._rate)

    def give_back(self) -> None:
        """A token that was not used: its request was given up."""
        with self._lock:
            self._tokens = min(self._burst, self._tokens + 1.0)
