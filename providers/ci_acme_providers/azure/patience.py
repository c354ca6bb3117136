"""Requests that are sent until they are answered: the waits are ours, so that the run's clock and deadline rule them.

The SDK's own retries are switched off: they sleep where nobody can wake them, and know no deadline.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from ci_acme.ports import Deadline
from ci_acme_providers.azure import faults

T = TypeVar("T")
Options = Mapping[str, Any]
"""Keyword arguments for a call of an SDK."""

_TRIES: Final = 12
_TRANSPORT_TRIES: Final = 4
"""How often a host that cannot be reached is tried: a name that does not exist will not exist in a minute."""
_BASE: Final = 0.2
_MOST: Final = 8.0
_CONNECT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 30.0

OFF: Final = {"retry_total": 0}
"""The option of an SDK's client that leaves retries to us."""


class Patience:
    """For one request. `doubtful` says that an earlier try of it may have been carried out unheard.

    With `twice=False` such a try is the last: whoever sends what must not be done twice looks first.
    """

    def __init__(self, deadline: Deadline, *, twice: bool = True) -> None:
        self.doubtful = False
        self._twice = twice
        self._deadline = deadline

    def send(self, call: Callable[[Options], T]) -> T:
        """What the call returns; it hands the options, which are its timeouts, on to the SDK.

        Raises the SDK's last error when it is final, or when the deadline comes first; and `Interrupted`.
        """
        for attempt in range(_TRIES):
            self._deadline.clock.check()
            try:
                return call(_timeouts(self._deadline))
            except Exception as error:
                pause = self._pause(error, attempt)
                if pause is None or self._deadline.remaining() <= pause:
                    raise
            self._deadline.clock.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _pause(self, error: Exception, attempt: int) -> float | None:
        """Seconds until it is worth another try; None if it never is."""
        fault = faults.read(error)
        self.doubtful = self.doubtful or fault.doubtful
        most = _TRANSPORT_TRIES if fault.kind is faults.Kind.UNREACHABLE else _TRIES
        if not fault.passing or attempt + 1 >= most or (fault.doubtful and not self._twice):
            return None
        if fault.retry_after is not None:
            return fault.retry_after + random.random() * _BASE  # noqa: S311 - spreads load, guards nothing
        return jitter(attempt)


def jitter(attempt: int, most: float = _MOST) -> float:
    """Seconds of full jitter, doubling up to `most`."""
    return random.uniform(_BASE / 4, min(most, _BASE * 2**attempt))  # noqa: S311 - spreads load, guards nothing


def _timeouts(deadline: Deadline) -> Options:
    """The transport's options for one exchange."""
    left = max(0.5, deadline.remaining())
    return {"connection_timeout": min(_CONNECT_SECONDS, left), "read_timeout": min(_READ_SECONDS, left)}
