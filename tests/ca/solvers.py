"""Solvers for a CA whose validation always succeeds: they publish nothing and remember what they were asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ci_acme.ports import Challenge, Deadline


class NoDns:
    """Calls `ready` for all challenges at once."""

    def __init__(self) -> None:
        self.prepared: list[str] = []
        self.solved: list[Challenge] = []
        self.cleanups = 0
        self.cleanup_thread: threading.Thread | None = None

    def prepare(self, identifiers: Sequence[str]) -> None:
        self.prepared.extend(identifiers)

    def solve(
        self, challenges: Sequence[Challenge], ready: Callable[[Sequence[Challenge]], None], *, deadline: Deadline
    ) -> None:
        self.solved.extend(challenges)
        ready(challenges)

    def cleanup(self) -> None:
        self.cleanups += 1
        self.cleanup_thread = threading.current_thread()
