"""How long a call to AWS is tried: with full jitter, within the deadline of whoever asks, and never deaf.

botocore sleeps by itself, for up to 20 s, whatever the run has been told meanwhile. A handler that decides before it
waits on the run's clock instead. It also notes whether an attempt may have been carried out although no answer came.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any, Final

from ci_acme.dataclass import dataclass
from ci_acme.ports import Clock, Deadline

SECONDS: Final = 60.0
"""For a call that is made without a deadline."""
_BASE: Final = 0.1
_CAP: Final = 4.0
_CONNECTS: Final = 5
"""Attempts at a server to which there is no connection: a wrong URL is told soon."""
_THROTTLED: Final = 100
"""Attempts at a server that wants fewer calls; the deadline ends them earlier."""
_TRANSIENT: Final = frozenset({500, 502, 503, 504})
_BUSY_CODES: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)


@dataclass(slots=True)
class Calls:
    """The calls within one deadline; `doubtful` says that one of them may have been carried out without an answer."""

    deadline: Deadline
    doubtful: bool = False


_CALLS: ContextVar[Calls | None] = ContextVar("ci-acme-aws-calls", default=None)


@contextmanager
def within(deadline: Deadline) -> Generator[Calls, None, None]:
    """Calls that this thread makes inside wait on the deadline's clock, and end with it."""
    calls = Calls(deadline)
    token = _CALLS.set(calls)
    try:
        yield calls
    finally:
        _CALLS.reset(token)


def busy(code: str) -> bool:
    """Whether an error code says that there are too many calls."""
    return code in _BUSY_CODES


class _Trouble(Enum):
    BUSY = "busy"
    UNSENT = "unsent"
    DOUBTFUL = "doubtful"


class Patience:
    """A handler of botocore's `needs-retry`: None leaves the decision to others, False ends, a number tries again."""

    def __init__(self, clock: Clock, attempts: int) -> None:
        self._clock = clock
        self._most = {_Trouble.BUSY: _THROTTLED, _Trouble.UNSENT: _CONNECTS, _Trouble.DOUBTFUL: attempts}

    def __call__(
        self, *, response: Any, attempts: int, caught_exception: BaseException | None, **_: Any
    ) -> float | bool | None:
        """Wait, and say what comes next. Raises `Interrupted`."""
        trouble = _trouble(response, caught_exception)
        if trouble is None:
            return None
        calls = _CALLS.get() or Calls(Deadline(self._clock, SECONDS))
        if trouble is _Trouble.DOUBTFUL:
            calls.doubtful = True
        pause = pause_after(attempts)
        if attempts >= self._most[trouble] or pause >= calls.deadline.remaining():
            return False
        calls.deadline.clock.sleep(pause)
        return 0.0


def pause_after(attempts: int) -> float:
    """Seconds before the next attempt, with full jitter."""
    return random.uniform(0.0, min(_CAP, _BASE * 2.0 ** min(attempts, 16)))  # noqa: S311 - no secret depends on it


def _trouble(response: Any, error: BaseException | None) -> _Trouble | None:
    from botocore.exceptions import (
        ConnectTimeoutError,
        EndpointConnectionError,
        HTTPClientError,
        ProxyConnectionError,
        SSLError,
    )

    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError, SSLError)):
        return _Trouble.UNSENT
    if isinstance(error, HTTPClientError):
        return _Trouble.DOUBTFUL
    if response is None:
        return None
    http, parsed = response
    if busy(parsed.get("Error", {}).get("Code", "")) or http.status_code == 429:
        return _Trouble.BUSY
    return _Trouble.DOUBTFUL if http.status_code in _TRANSIENT else None
