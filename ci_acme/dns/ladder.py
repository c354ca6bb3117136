"""How to know that a record is there where no authoritative server can be reached: what is left, the best first.

Resolvers over HTTPS, which are asked only once the record is placed and the provider says that it is in sync, or some
seconds have passed: one that is asked too early remembers for minutes that there is nothing. Else the provider's own
word. Else a wait. Whatever served is told, and stands in the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ci_acme.dataclass import dataclass
from ci_acme.dns.authority import Authority
from ci_acme.dns.propagation import Propagation, Wanted
from ci_acme.dns.question import Server
from ci_acme.model.events import Observer, Step, Waiting, Warned
from ci_acme.ports import Clock, Deadline

RUNGS: Final = ("authoritative", "doh", "signal", "wait")
"""What may have shown that a record is there, the best first."""

_SETTLE: Final = 10.0
"""Seconds after which a resolver is asked for a record of a provider that gives no signal."""
_SLICE: Final = 0.05
_TELL_EVERY: Final = 1.0


@dataclass(frozen=True, slots=True)
class Closed:
    """What is left for a name whose servers cannot be reached: `why` says what they did.

    `signal` says that the provider has said that it is in sync, `wait` is its `propagation_wait`.
    """

    why: str
    signal: bool
    wait: float


@dataclass(slots=True)
class _Later:
    """A name that waits for a point in time: to be asked over HTTPS, or to be taken as there."""

    wanted: Wanted
    at: float
    deadline: Deadline
    over_https: bool


class Ladder:
    """A `Propagation` that goes on where name servers cannot be reached. Same use; close it."""

    def __init__(self, certificate: str, notify: Observer, clock: Clock, resolvers: Sequence[Server]) -> None:
        self.used: set[str] = set()
        self._certificate = certificate
        self._notify = notify
        self._clock = clock
        self._resolvers = resolvers
        self._closed: dict[str, Closed] = {}
        self._later: dict[str, _Later] = {}
        self._taken: list[str] = []
        self._said: set[str] = set()
        self._by_port = Propagation(certificate, notify, clock)
        self._over_https = Propagation(certificate, notify, clock, self._no_resolver)
        self._started = self._told = clock.monotonic()

    def close(self) -> None:
        """Close the sockets."""
        self._by_port.close()
        self._over_https.close()

    @property
    def waiting(self) -> bool:
        """Whether any name is not there yet."""
        return bool(self._by_port.waiting or self._over_https.waiting or self._later or self._taken)

    def add(self, wanted: Iterable[Wanted], deadline: Deadline) -> None:
        """Wait for names whose servers can be reached."""
        self._by_port.add(wanted, deadline)

    def add_closed(self, wanted: Wanted, deadline: Deadline, closed: Closed) -> None:
        """Wait for a name whose servers cannot be reached."""
        self._closed[wanted.name] = closed
        if not self._resolvers:
            self._no_resolver(wanted, deadline)
            return
        urls = ", ".join(map(str, self._resolvers))
        self._say(Step(self._certificate, f"{closed.why}; asking {urls} for the record instead"))
        asked = Authority(wanted.authority.apex, tuple(self._resolvers))
        pause = 0.0 if closed.signal else min(_SETTLE, closed.wait)
        at = self._clock.monotonic() + pause
        self._later[wanted.name] = _Later(wanted._replace(authority=asked), at, deadline, over_https=True)

    def step(self, longest: float) -> list[str]:
        """As of `Propagation`."""
        until = self._clock.monotonic() + longest
        while True:
            done = self._take_due()
            active = [one for one in (self._by_port, self._over_https) if one.waiting]
            for one in active:
                alone = len(active) == 1 and not self._later
                left = max(0.0, until - self._clock.monotonic())
                names = one.step(left if alone and not done else min(_SLICE, left))
                if names:
                    self.used.add("authoritative" if one is self._by_port else "doh")
                done += names
            now = self._clock.monotonic()
            if done or now >= until:
                return done
            if not active and not self._taken:
                if not self._later:
                    return []
                self._tell(now)
                turn = min(later.at for later in self._later.values())
                self._clock.sleep(max(0.0, min(_TELL_EVERY, until - now, turn - now)))

    def _take_due(self) -> list[str]:
        """The names that are taken as there; those whose time to be asked has come are asked."""
        done, self._taken = self._taken, []
        now = self._clock.monotonic()
        for name, later in list(self._later.items()):
            if later.at > now:
                continue
            del self._later[name]
            if later.over_https:
                self._over_https.add([later.wanted], later.deadline)
            else:
                self.used.add("wait")
                done.append(name)
        return done

    def _no_resolver(self, wanted: Wanted, deadline: Deadline | None = None) -> bool:
        """The rungs below: the provider's word, or a wait."""
        closed = self._closed[wanted.name]
        nor = f"{closed.why}, nor can a resolver over HTTPS" if self._resolvers else closed.why
        if closed.signal:
            self._say(Warned(self._certificate, f"{nor}; that the record is there is the provider's word"))
            self.used.add("signal")
            self._taken.append(wanted.name)
            return True
        wait = closed.wait if deadline is None else min(closed.wait, deadline.remaining())
        text = f"{nor}; waiting {wait:.0f} s (propagation_wait), and nobody knows whether the record is there then"
        self._say(Warned(self._certificate, text))
        at = self._clock.monotonic() + wait
        self._later[wanted.name] = _Later(wanted, at, deadline or Deadline(self._clock, wait), over_https=False)
        return True

    def _say(self, event: Step | Warned) -> None:
        if event.text not in self._said:
            self._said.add(event.text)
            self._notify(event)

    def _tell(self, now: float) -> None:
        if now - self._told >= _TELL_EVERY:
            self._told = now
            name, later = next(iter(self._later.items()))
            self._notify(Waiting(self._certificate, f"TXT {name}", later.wanted.authority.apex, now - self._started))
