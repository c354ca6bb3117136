"""The real clock, and the one flag that stops a run."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone

from ci_acme.errors import Interrupted, Terminated


class SystemClock:
    """Wall and monotonic time; `sleep` ends early with `Interrupted` once `stop` was called.

    `stop` may be called from a signal handler.
    """

    def __init__(self, *, _stopped: threading.Event | None = None, _shielded: bool = False) -> None:
        self._stopped = _stopped or threading.Event()
        self._shielded = _shielded
        self._terminated = False

    def stop(self, *, terminated: bool = False) -> None:
        """Tell everything that waits on this clock to end, with `Terminated` instead of `Interrupted` if so told."""
        self._terminated = self._terminated or terminated
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def now(self) -> datetime:
        """The wall clock, aware UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; raises `Interrupted` when the run shall stop."""
        if self._shielded:
            time.sleep(max(0.0, seconds))
            return
        if self._stopped.wait(max(0.0, seconds)):
            self.check()

    def check(self) -> None:
        """Raise `Interrupted` if the run shall stop."""
        if not self._shielded and self._stopped.is_set():
            kind = Terminated if self._terminated else Interrupted
            raise kind("the run was stopped by a signal", fix="run the same command again")

    def shielded(self) -> SystemClock:
        """The same clock for cleaning up."""
        return SystemClock(_stopped=self._stopped, _shielded=True)
