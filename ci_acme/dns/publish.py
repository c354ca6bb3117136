"""Group commit: what several certificates want in one zone at the same moment goes there in one change.

While a change to a zone is in flight, the requests of other threads queue up and go together in the next one. Nobody
waits for company: a request that finds the zone idle goes at once.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from ci_acme.dataclass import dataclass, field
from ci_acme.errors import (
    CiAcmeError,
    ConfigError,
    DnsCredentialsError,
    DnsRefused,
    DnsUnreachable,
    LeaseHeld,
    ZoneNotFound,
)
from ci_acme.ports import Deadline, DnsProvider, Placement, TxtValue, Zone

_SLICE: Final = 0.1
NOTHING_WRITTEN: Final = (DnsRefused, DnsCredentialsError, ZoneNotFound, ConfigError, LeaseHeld)
"""Errors after which it is certain that a change was not made."""


class Lease(Protocol):
    """Takes leases that the runs of one state share; the engine of a run is given one."""

    def __call__(self, key: str, certificate: str, *, what: str, deadline: Deadline) -> AbstractContextManager[object]:
        """Within, nobody else who shares the state holds `key`, in this run or another; `what` is for messages.

        Raises `LeaseHeld` at the deadline, `StateError`, `Interrupted`.
        """
        ...


Turn: TypeAlias = Callable[[Deadline], AbstractContextManager[object]]
"""Within, nobody else changes a zone whose provider cannot keep writers apart."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Request(Generic[T, R]):
    """What one thread wants; `result` or `error` is set once `done`."""

    items: Sequence[T]
    deadline: Deadline
    result: list[R] = field(default_factory=list[R])
    error: BaseException | None = None
    done: bool = False


class GroupCommit(Generic[T, R]):
    """Runs `change(items, deadline)` for many threads, one call at a time, with all that queued up meanwhile.

    `change` returns one result for each item. If a joint change is refused, each request is made alone, so that only
    the guilty one fails.
    """

    def __init__(self, change: Callable[[Sequence[T], Deadline], Sequence[R]]) -> None:
        self._change = change
        self._condition = threading.Condition()
        self._queue: list[_Request[T, R]] = []
        self._busy = False

    def submit(self, items: Sequence[T], deadline: Deadline) -> list[R]:
        """The results for `items`. Raises what the change raised, and `Interrupted`."""
        request = _Request[T, R](items, deadline)
        with self._condition:
            self._queue.append(request)
            try:
                while self._busy and not request.done:
                    self._condition.wait(_SLICE)
                    self._check(request)
            except BaseException:
                if request in self._queue:
                    self._queue.remove(request)
                raise
            batch: list[_Request[T, R]] = []
            if not request.done:
                batch, self._queue = self._queue, []
                self._busy = True
        if batch:
            self._lead(batch)
        if request.error is not None:
            raise copy.copy(request.error) if isinstance(request.error, CiAcmeError) else request.error
        return request.result

    def _check(self, request: _Request[T, R]) -> None:
        """Raises `Interrupted`, and `DnsUnreachable` for a request that waited in vain."""
        request.deadline.clock.check()
        if request.deadline.expired and request in self._queue:
            raise DnsUnreachable("the change before ours did not end in time", fix="run the command again")

    def _lead(self, batch: list[_Request[T, R]]) -> None:
        try:
            self._run(batch)
            alone = len(batch) > 1 and isinstance(batch[0].error, NOTHING_WRITTEN)
            for request in batch if alone else ():
                request.error = None
                self._run([request])
        finally:
            with self._condition:
                self._busy = False
                for request in batch:
                    request.done = True
                self._condition.notify_all()

    def _run(self, batch: Sequence[_Request[T, R]]) -> None:
        unique = list(dict.fromkeys(item for request in batch for item in request.items))
        deadline = max((request.deadline for request in batch), key=Deadline.remaining)
        try:
            results = dict(zip(unique, self._change(unique, deadline), strict=True))
        except BaseException as error:  # it is raised in the thread of each request
            for request in batch:
                request.error = error
            return
        for request in batch:
            request.result = [results[item] for item in request.items]


class Publisher:
    """One zone at one provider, as all threads of a run use it."""

    def __init__(self, provider: DnsProvider, zone: Zone, ttl: int, turn: Turn | None = None) -> None:
        self._provider = provider
        self._turn = turn or _no_turn
        self._zone = zone
        self._ttl = ttl
        self._ensures = GroupCommit[TxtValue, Placement](self._ensure)
        self._releases = GroupCommit[Placement, None](self._release)

    def ensure(self, values: Sequence[TxtValue], deadline: Deadline) -> list[Placement]:
        """`DnsProvider.ensure`, together with whoever else is there."""
        return self._ensures.submit(values, deadline)

    def release(self, placements: Sequence[Placement], deadline: Deadline) -> None:
        """`DnsProvider.release`, together with whoever else is there."""
        self._releases.submit(placements, deadline)

    def _ensure(self, values: Sequence[TxtValue], deadline: Deadline) -> list[Placement]:
        with self._turn(deadline):
            placements = self._provider.ensure(self._zone, values, ttl=self._ttl, deadline=deadline)
        by_value = {(placement.name, placement.value): placement for placement in placements}
        return [by_value[value.name, value.value] for value in values]

    def _release(self, placements: Sequence[Placement], deadline: Deadline) -> list[None]:
        with self._turn(deadline):
            self._provider.release(placements, deadline=deadline)
        return [None] * len(placements)


def _no_turn(_: Deadline) -> AbstractContextManager[object]:
    return nullcontext()
