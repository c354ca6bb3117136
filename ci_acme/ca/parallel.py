"""Many small requests at once, with as many threads as the distance to the CA is worth."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def width_for(latency: float | None) -> int:
    """How many requests to have under way when each takes at least `latency` seconds.

    Below some milliseconds the time is spent on this machine's processors, and more threads only burn it.
    """
    if latency is None:
        return 4
    if latency < 0.008:
        return 2
    return 4 if latency < 0.03 else 8


def parallel(function: Callable[[Item], Result], items: Sequence[Item], *, width: int) -> list[Result]:
    """`[function(item) for item in items]` by at most `width` threads, this one among them.

    After the first exception no further item is begun; it is raised when all threads have ended.
    """
    results: dict[int, Result] = {}
    failures: list[BaseException] = []
    lock = threading.Lock()
    places = iter(range(len(items)))

    def work() -> None:
        while not failures:
            with lock:
                place = next(places, None)
            if place is None:
                return
            try:
                results[place] = function(items[place])
            except BaseException as error:  # it is raised in the calling thread
                failures.append(error)

    helpers = [threading.Thread(target=work, name="acme", daemon=True) for _ in range(min(width, len(items)) - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]
    return [results[place] for place in range(len(items))]
