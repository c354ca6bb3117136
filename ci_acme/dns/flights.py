"""A cache that computes each key once, however many threads ask for it at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

from ci_acme.ports import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_SLICE: Final = 0.1


class _Flight(Generic[V]):
    __slots__ = ("done", "landed", "value")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.landed = False
        self.value: V | None = None


class Flights(Generic[K, V]):
    """Batches of keys: what is known is returned, what another thread computes is waited for, the rest is computed.

    Exceptions of a computation reach only the thread that made it; the others then compute for themselves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[K, _Flight[V]] = {}

    def get(self, keys: Sequence[K], compute: Callable[[Sequence[K]], dict[K, V]], clock: Clock) -> dict[K, V]:
        """The values of all keys that `compute` gives a value."""
        values: dict[K, V] = {}
        missing = list(dict.fromkeys(keys))
        while missing:
            mine, others = self._claim(missing)
            if mine:
                self._compute(mine, compute)
            for key, flight in {**mine, **others}.items():
                while not flight.done.wait(_SLICE):
                    clock.check()
                if flight.landed and flight.value is not None:
                    values[key] = flight.value
            missing = [key for key, flight in others.items() if not flight.landed]
        return values

    def forget(self, key: K) -> None:
        """Compute the key anew when it is asked for next."""
        with self._lock:
            self._flights.pop(key, None)

    def _claim(self, keys: Sequence[K]) -> tuple[dict[K, _Flight[V]], dict[K, _Flight[V]]]:
        mine: dict[K, _Flight[V]] = {}
        others: dict[K, _Flight[V]] = {}
        with self._lock:
            for key in keys:
                flight = self._flights.get(key)
                if flight is None:
                    mine[key] = self._flights[key] = _Flight()
                else:
                    others[key] = flight
        return mine, others

    def _compute(self, mine: dict[K, _Flight[V]], compute: Callable[[Sequence[K]], dict[K, V]]) -> None:
        try:
            for key, value in compute(list(mine)).items():
                mine[key].value = value
                mine[key].landed = True
        finally:
            with self._lock:
                for key, flight in mine.items():
                    if not flight.landed:
                        self._flights.pop(key, None)
                    flight.done.set()
