"""The replay nonces of one CA (RFC 8555 section 6.5), shared by all threads of a run."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Final

from ci_acme.errors import CaTimeout
from ci_acme.ports import Clock, Deadline

MAX_CIRCULATING: Final = 9
"""One nonce and at most eight extra ones: with a reply to every request no more are ever fetched."""
_SLICE: Final = 0.1
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{1,1024}\Z")


def valid_nonce(value: str | None) -> str | None:
    """The value of a Replay-Nonce field if it is base64url; an invalid one MUST be ignored (section 6.5.1)."""
    return value if value is not None and _NONCE.match(value) else None


class NoncePool:
    """Hands out nonces and takes those of replies back.

    A nonce circulates from `take` until `give_back`: each taken one is given back once, as the nonce of the reply or as
    None if the reply had none. A new one is fetched only when none is free and fewer than `limit` circulate.
    """

    def __init__(self, clock: Clock, *, limit: int = MAX_CIRCULATING) -> None:
        self._clock = clock
        self._limit = limit
        self._changed = threading.Condition()
        self._free: list[str] = []
        self._taken = 0

    def take(self, fetch: Callable[[], str], deadline: Deadline) -> str:
        """A nonce that nobody else has: the youngest free one, else one that comes back, else one by `fetch`.

        Raises `CaTimeout` when none came back in time, `Interrupted`, and what `fetch` raises.
        """
        with self._changed:
            while True:
                if self._free:
                    self._taken += 1
                    return self._free.pop()
                if self._taken < self._limit:
                    self._taken += 1
                    break
                self._clock.check()
                if deadline.expired:
                    raise CaTimeout("no request to the CA came back in time", fix="run again later")
                self._changed.wait(min(_SLICE, deadline.remaining()))
        try:
            return fetch()
        except BaseException:
            self.give_back(None)
            raise

    def give_back(self, nonce: str | None) -> None:
        """The request that used a nonce is over; `nonce` is the one that its reply brought."""
        with self._changed:
            self._taken -= 1
            if nonce is not None:
                self._free.append(nonce)
            self._changed.notify()
