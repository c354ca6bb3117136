"""Leases with fencing tokens over any engine: one at a time, and exactly one successor of a holder that died.

Time is the engine's (`Engine.time`): clients whose clocks differ by hours agree on when a lease expires. A process of
the same machine that is gone is followed at once; one that is there keeps its lease as long as it renews it, whatever
the clock says.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, Final

from ci_acme.core.lease import Lease, is_free, is_held_by, taken
from ci_acme.dataclass import asdict, dataclass
from ci_acme.errors import LeaseHeld, LeaseLost, StateError
from ci_acme.ports import Clock, Deadline
from ci_acme.state.engine import ABSENT, Conflict, Engine, Version
from ci_acme.state.holders import Process, this_process

TTL: Final = 30.0
"""Seconds after which the lease of a holder that is silent may be taken."""

_PREFIX: Final = "lease/"
_FIRST_PAUSE: Final = 0.1
_LAST_PAUSE: Final = 1.0
"""Seconds between two looks at a lease that is held, at first and in the end."""

_ATTEMPTS: Final = 100
_AGAIN: Final = "run again: what the other run stored is kept, and an order under way is gone on with"


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody's lease, for people: `str()` gives `run 1f2e on runner-7, since 12:00:03 UTC`."""

    lease: Lease
    process: Process

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.lease.since, timezone.utc)
        return f"{self.lease.owner} on {self.process.host}, since {since:%H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class _Found:
    """What the state says of a lease; `version` is None if it says nothing."""

    version: Version | None
    held: Held | None

    @property
    def lease(self) -> Lease | None:
        return self.held.lease if self.held else None


class Leases:
    """The leases of one state. Thread-safe. Raises `StateError`.

    `beat` is called, from any thread, whenever a lease is taken or renewed.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        process: Process | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.beat = beat
        self._engine = engine
        self._clock = clock
        self._process = process or this_process()

    def acquire(
        self,
        key: str,
        owner: str,
        *,
        what: str,
        deadline: Deadline,
        ttl: float = TTL,
        unless: Callable[[], bool] = lambda: False,
        waiting: Callable[[Held], None] = lambda held: None,
    ) -> Grant | None:
        """The lease of `key`, once nobody else has it; `what` it is about is for messages.

        `waiting` is called with the holder while there is one. Before a lease that was waited for is taken, `unless` is
        asked whether the wait has made that needless: then the answer is None. Raises `LeaseHeld` at the deadline,
        `Interrupted`.
        """
        begun = self._clock.monotonic()
        watch = _Watch(self._clock)
        pause, waited = _FIRST_PAUSE, False
        while True:
            self._clock.check()
            found = self._find(key)
            if self._may_be_taken(found, watch):
                if waited and unless():
                    return None
                grant = self._take(key, owner, what, ttl, found)
                if grant is not None:
                    return grant
            waited = True
            if found.held is not None and found.held.lease.owner is not None:
                waiting(found.held)
            if deadline.expired:
                raise _held_too_long(what, found.held, self._clock.monotonic() - begun)
            spread = random.uniform(0.5, 1.0)  # noqa: S311 - keeps those who wait apart, guards nothing
            self._clock.sleep(min(pause * spread, deadline.remaining()))
            pause = min(pause * 1.5, _LAST_PAUSE)

    def _may_be_taken(self, found: _Found, watch: _Watch) -> bool:
        if found.held is None:
            return True
        return is_free(
            found.held.lease,
            now=self._engine.time(),
            unchanged_for=watch.unchanged_for(found.version),
            presence=found.held.process.presence(),
        )

    def _take(self, key: str, owner: str, what: str, ttl: float, found: _Found) -> Grant | None:
        """The grant; None if another one was quicker."""
        begun = self._clock.monotonic()
        held = Held(taken(found.lease, owner, now=self._engine.time(), ttl=ttl), self._process)
        try:
            self._write(key, held, found.version)
        except Conflict:
            return None
        self.beat()
        return Grant(self, self._clock, held, key=key, what=what, sure_until=begun + ttl)

    # --- what is written -------------------------------------------------------------------------------------------

    def _find(self, key: str) -> _Found:
        entry = self._engine.read(_name(key))
        if entry is None:
            return _Found(None, None)
        try:
            document = json.loads(entry.value)
            return _Found(entry.version, Held(Lease(**document["lease"]), Process.from_dict(document["process"])))
        except (ValueError, KeyError, TypeError):
            raise StateError(
                f"a lease in {self._engine.where} cannot be understood",
                fix="run the ci-acme that wrote it, or a newer one",
            ) from None

    def _write(self, key: str, held: Held, expect: Version | None) -> None:
        document: dict[str, Any] = {"lease": asdict(held.lease), "process": held.process.as_dict()}
        self._engine.write(_name(key), json.dumps(document).encode(), expect=ABSENT if expect is None else expect)

    def change(self, grant: Grant, change: Callable[[Lease, float], Lease]) -> Held | None:
        """Write the lease anew if it is still the grant's; else whose it is."""
        for _ in range(_ATTEMPTS):
            found = self._find(grant.key)
            if found.held is None or not is_held_by(found.lease, grant.owner, grant.fence):
                return found.held or Held(Lease(0), self._process)
            held = Held(change(found.held.lease, self._engine.time()), self._process)
            try:
                self._write(grant.key, held, found.version)
            except Conflict:
                continue  # with a write of our own whose reply was lost, or with a thief: the next look tells
            return None
        raise StateError(f"a lease in {self._engine.where} changes all the time", fix="run again")

    def thief(self, grant: Grant) -> Held | None:
        """Whose lease it is if it is not the grant's any more; nobody's is one without an owner."""
        found = self._find(grant.key)
        if is_held_by(found.lease, grant.owner, grant.fence):
            return None
        return found.held or Held(Lease(0), self._process)


class Grant:
    """A lease that was given to us. Thread-safe.

    `fence` is larger than that of every holder before.
    """

    def __init__(self, leases: Leases, clock: Clock, held: Held, *, key: str, what: str, sure_until: float) -> None:
        assert held.lease.owner is not None
        self.key = key
        self.owner = held.lease.owner
        self.fence = held.lease.fence
        self._leases = leases
        self._clock = clock.shielded()  # a run that was stopped still cleans up under its lease
        self._what = what
        self._ttl = held.lease.ttl
        self._sure_until = sure_until
        self._lock = threading.Lock()
        self._lost: str | None = None
        self._ended = False

    def check(self) -> None:
        """Return if nobody can have taken the lease, nor can take it for half its time from now.

        While the state cannot be asked, that is certain until the last renewal runs out. Raises `LeaseLost`.
        """
        with self._lock:
            self._require_not_lost()
            try:
                if self._remaining() < self._ttl / 2:
                    self._renew()
                else:
                    self._require(self._leases.thief(self))
            except StateError as error:
                if self._remaining() <= 0:
                    raise LeaseLost(
                        f"the lease of {self._what} could not be renewed: {error.message}", fix=_AGAIN
                    ) from error

    def renew(self) -> None:
        """For another `ttl`. Raises `LeaseLost`, and `StateError` if that cannot be known."""
        with self._lock:
            self._require_not_lost()
            self._renew()

    def release(self) -> None:
        """Let the next one have it. Never raises: a lease that cannot be released expires."""
        with self._lock:
            self._ended = True
            try:
                self._leases.change(self, lambda lease, now: lease.released())
            except StateError:
                return

    @contextmanager
    def kept(self) -> Generator[None]:
        """Within, the lease is renewed in the background; then it is released."""
        threading.Thread(target=self._beat, name="lease", daemon=True).start()
        try:
            yield
        finally:
            self.release()

    def _beat(self) -> None:
        """Renew four times in `ttl`, and more often while the state is out of reach."""
        pause = self._ttl / 4
        while True:
            self._clock.sleep(pause)
            with self._lock:
                if self._ended or self._lost is not None:
                    return
                try:
                    self._renew()
                    self._leases.beat()
                    pause = self._ttl / 4
                except StateError:
                    pause = self._ttl / 15
                except LeaseLost:
                    return  # `check` tells it to those who work

    def _renew(self) -> None:
        begun = self._clock.monotonic()
        self._require(self._leases.change(self, lambda lease, now: lease.renewed(now)))
        self._sure_until = begun + self._ttl

    def _require(self, thief: Held | None) -> None:
        if thief is not None:
            by = str(thief) if thief.lease.owner is not None else "another run that has ended"
            self._lost = f"the lease of {self._what} was taken over by {by}"
        self._require_not_lost()

    def _require_not_lost(self) -> None:
        if self._lost is not None:
            raise LeaseLost(self._lost, fix=_AGAIN)

    def _remaining(self) -> float:
        return self._sure_until - self._clock.monotonic()


class _Watch:
    """For how long a version has not changed, on the observer's own clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._version: Version | None = None
        self._since = clock.monotonic()

    def unchanged_for(self, version: Version | None) -> float:
        now = self._clock.monotonic()
        if version != self._version:
            self._version, self._since = version, now
        return now - self._since


def _name(key: str) -> str:
    return _PREFIX + hashlib.sha256(key.encode()).hexdigest()[:32]


def _held_too_long(what: str, held: Held | None, seconds: float) -> LeaseHeld:
    return LeaseHeld(
        f"{what} is held by {held}, and was not free within {seconds:.0f} s",
        fix="run again when that run has ended, or give this one more time with --timeout",
        details={"owner": held.lease.owner, "host": held.process.host, "pid": held.process.pid} if held else {},
    )
