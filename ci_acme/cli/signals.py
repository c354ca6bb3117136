"""SIGINT and SIGTERM stop new work and let everything clean up after itself; a second one changes nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from ci_acme.clock import SystemClock
from ci_acme.errors import Interrupted, Terminated


@contextmanager
def stop_on_signals(clock: SystemClock, abort: Callable[[], None]) -> Generator[None, None, None]:
    """While this is open, a signal stops the clock and calls `abort` once, in a thread of its own.

    `abort` ends blocked network calls. It takes locks, which a signal handler must not. After one, signals are
    ignored for the rest of the process: the SIGTERM that follows a SIGINT of CI systems must not cost the result.
    """

    def handle(number: int, frame: Any) -> None:
        if not clock.stopped:
            clock.stop(terminated=number != signal.SIGINT)
            threading.Thread(target=abort, daemon=True).start()

    names = [name for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)  # `nohup`: it shall outlive the terminal
    before = [(number, signal.signal(number, handle)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, signal.SIG_IGN if clock.stopped else handler)


class EarlySignals:
    """Before a command has its own handlers, a signal raises `Interrupted` or `Terminated` wherever the program is.

    Python 3.10 and 3.11 make a RuntimeError of what is raised in the middle of some imports: `came` says what it was.
    """

    def __init__(self) -> None:
        self.came: Interrupted | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._leave) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._leave:
                signal.signal(number, signal.SIG_IGN if self.came else handler)

    def _leave(self, number: int, frame: Any) -> None:
        if self.came is None:
            kind = Interrupted if number == signal.SIGINT else Terminated
            self.came = kind("stopped by a signal", fix="run the same command again")
            raise self.came
