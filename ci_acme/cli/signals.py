"""SIGINT and SIGTERM stop new work and let everything clean up after itself; a second one changes nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from ci_acme.clock import SystemClock


@contextmanager
def stop_on_signals(clock: SystemClock, abort: Callable[[], None]) -> Generator[None, None, None]:
    """While this is open, a signal stops the clock and calls `abort` once, in a thread of its own.

    `abort` ends blocked network calls. It takes locks, which a signal handler must not.
    """

    def handle(number: int, frame: Any) -> None:
        if not clock.stopped:
            clock.stop(terminated=number != signal.SIGINT)
            threading.Thread(target=abort, daemon=True).start()

    names = [name for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    before = [(number, signal.signal(number, handle)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
