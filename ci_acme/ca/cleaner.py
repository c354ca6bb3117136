"""The removal of challenge records, beside whatever else an order still needs."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager

from ci_acme.ports import ChallengeSolver


class Cleaner(AbstractContextManager[None]):
    """Runs the solver's cleanup exactly once: in a thread beside other work, or when the block ends."""

    def __init__(self, solver: ChallengeSolver) -> None:
        self._thread = threading.Thread(target=solver.cleanup, name="cleanup")
        self._started = False

    def start(self) -> None:
        """Begin now, unless it has begun."""
        if not self._started:
            self._started = True
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Return when the cleanup has ended."""
        self.start()
        self._thread.join()
