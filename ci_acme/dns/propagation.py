"""Waiting until every authoritative server shows every value.

Each server has its own rhythm: it is asked for the names it still lacks, at once, then after a pause that grows from
50 ms to 2 s. A server that lags is waited for; one that never answers, or answers only errors, is left out after
several tries over a few seconds, as a resolver would leave it out, if another one has the value.

The same wait asks resolvers over HTTPS (`ladder`). They remember for a while that there was nothing, so that one that
goes on saying so does not hold up what another one shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ci_acme import dnswire
from ci_acme.dataclass import dataclass, field
from ci_acme.dns.ask import PATIENCE, Asker
from ci_acme.dns.authority import Authority
from ci_acme.dns.batch import describe
from ci_acme.dns.question import Answer, Failed, Failure, Question, Reply, Server
from ci_acme.errors import DnsDelegationError, DnsError, DnsPropagationTimeout, DnsUnreachable
from ci_acme.model.events import Observer, Waiting, Warned
from ci_acme.ports import Clock, Deadline

_FIRST_PAUSE: Final = 0.05
_GROWTH: Final = 1.5
_LONGEST_PAUSE: Final = 2.0
_SAMPLE: Final = 8
"""A server that lacks everything is asked for a few of its names until one appears: one change comes as one."""
_SETTLE: Final = 0.02
"""Seconds that names which are ready wait for others of the same burst."""
_DEAD_AFTER: Final = 3.0
"""Seconds of nothing but silence or errors after which a server counts as dead."""
_DEAD_TRIES: Final = 3
_NEGATIVE_TRUST: Final = 20.0
"""Seconds that a resolver's "no such record" is believed beside another that shows it."""
_TELL_EVERY: Final = 1.0


class Wanted(NamedTuple):
    """Values at one effective name, and who must show them."""

    name: str
    values: frozenset[bytes]
    authority: Authority


@dataclass(slots=True)
class _Host:
    """What is known of one server: `lacking` are the names it must still show, in the order of asking."""

    server: Server
    label: str
    lacking: dict[str, None] = field(default_factory=dict[str, None])
    asked: set[str] = field(default_factory=set[str])
    has: set[str] = field(default_factory=set[str])
    denied: dict[str, float] = field(default_factory=dict[str, float])
    last: Reply | None = None
    pause: float = _FIRST_PAUSE
    next: float = 0.0
    tries: int = 0
    failing_since: float | None = None
    dead: bool = False
    progress: bool = True

    def fails(self, reply: Reply) -> bool:
        """Whether a resolver would turn to another server."""
        if not isinstance(reply, Answer) or not reply.usable:
            return True
        return not (reply.aa or reply.answers or self.server.via is not None)

    def settled(self, name: str, now: float) -> bool:
        """Whether a name need not wait for this server."""
        if name in self.has or self.dead:
            return True
        return self.server.via is not None and now - self.denied.get(name, now) >= _NEGATIVE_TRUST


class Propagation:
    """One wait; `add` what was published, then `step` until `waiting` is empty. Close it: it holds sockets.

    `move_on` is told of a name none of whose servers answers any more; True takes it off, else it is an error.
    """

    def __init__(
        self,
        certificate: str,
        notify: Observer,
        clock: Clock,
        move_on: Callable[[Wanted], bool] = lambda _: False,
    ) -> None:
        self._certificate = certificate
        self._notify = notify
        self._clock = clock
        self._move_on = move_on
        self._asker: Asker[tuple[Server, str]] = Asker(clock)
        self._hosts: dict[Server, _Host] = {}
        self._deadlines: dict[str, tuple[Deadline, float]] = {}
        self._warned: set[str] = set()
        self.waiting: dict[str, Wanted] = {}
        self.used: set[str] = set()
        self._started = self._told = clock.monotonic()

    def close(self) -> None:
        """Close the sockets."""
        self._asker.close()

    def add(self, wanted: Iterable[Wanted], deadline: Deadline) -> None:
        """Wait for these names too, until `deadline`; the first question goes out with the next `step`."""
        now = self._clock.monotonic()
        for one in wanted:
            self.waiting[one.name] = one
            self._deadlines[one.name] = deadline, now
            for server in one.authority.servers:
                host = self._hosts.get(server)
                if host is None:
                    host = self._hosts[server] = _Host(server, one.authority.label(server))
                host.lacking[one.name] = None
                host.pause, host.next, host.progress = _FIRST_PAUSE, now, True

    def step(self, longest: float) -> list[str]:
        """Go on for at most `longest` seconds; the names that have become complete, as soon as there are any.

        Raises `DnsPropagationTimeout` and `DnsUnreachable`.
        """
        until = self._clock.monotonic() + longest
        while True:
            self._ask_due()
            now = self._clock.monotonic()
            self._receive(max(0.0, min([until, *self._turns()]) - now))
            done = self._complete()
            if done:
                self.used.add("authoritative")
                return done
            self._tell()
            self._fail_if_late()
            if self._clock.monotonic() >= until:
                return []

    # --- asking

    def _turns(self) -> list[float]:
        """When each idle server is asked next, and when the first deadline ends."""
        now = self._clock.monotonic()
        turns = [host.next for host in self._hosts.values() if host.lacking and not host.asked]
        return turns + [
            now + deadline.remaining() for deadline in {id(one): one for one, _ in self._deadlines.values()}.values()
        ]

    def _ask_due(self) -> None:
        now = self._clock.monotonic()
        for host in self._hosts.values():
            if not host.lacking or host.asked or host.next > now:
                continue
            names = list(host.lacking)
            if not host.progress and len(names) > _SAMPLE:
                names = names[:_SAMPLE]
            host.progress = False
            host.next = now + host.pause
            host.pause = min(host.pause * _GROWTH, _LONGEST_PAUSE)
            host.asked.update(names)
            for name in names:  # those that were asked last are asked last again
                host.lacking[name] = host.lacking.pop(name)
            recurse = host.server.via is not None
            for name in names:
                self._asker.submit(Question(host.server, name, dnswire.TXT, recurse), (host.server, name))

    def _receive(self, longest: float) -> None:
        """Take replies; lets a burst settle, so that names are reported together rather than one by one."""
        if not self._asker.outstanding:
            self._clock.sleep(longest)
            return
        until = self._clock.monotonic() + longest
        settled: float | None = None
        while self._asker.outstanding:
            now = self._clock.monotonic()
            left = (until if settled is None else min(until, settled)) - now
            replies = self._asker.poll(max(0.0, left))
            for (server, name), reply in replies:
                self._take(self._hosts[server], name, reply)
            if not replies:
                return
            if settled is None:
                settled = now + _SETTLE

    def _take(self, host: _Host, name: str, reply: Reply) -> None:
        host.asked.discard(name)
        host.last = reply
        if host.fails(reply):
            self._count_failure(host, reply)
            return
        host.tries, host.failing_since, host.dead = 0, None, False
        wanted = self.waiting.get(name)
        if wanted is None or not isinstance(reply, Answer):
            return
        if host.server.via is not None:
            host.denied.setdefault(name, self._clock.monotonic())
            alias = reply.alias(name)
            if alias is not None:
                raise _seen_too_late(name, alias)
        if wanted.values <= reply.values(name).keys():
            host.lacking.pop(name, None)
            host.has.add(name)
            if not host.progress:
                host.progress = True
                host.next = self._clock.monotonic()  # the change is here: ask for the rest at once

    def _count_failure(self, host: _Host, reply: Reply) -> None:
        now = self._clock.monotonic()
        silent = isinstance(reply, Failed) and reply.failure is Failure.TIMEOUT
        if host.failing_since is None:  # a silence has lasted for all of its tries when it is known
            host.failing_since = now - (sum(PATIENCE) if silent else 0.0)
        host.tries += reply.tries if isinstance(reply, Failed) and silent else 1
        prompt = isinstance(reply, Failed) and reply.failure in {Failure.REFUSED, Failure.UNREACHABLE}
        lasting = now - host.failing_since >= _DEAD_AFTER
        host.dead = host.tries >= _DEAD_TRIES and (prompt or lasting)

    # --- results

    def _complete(self) -> list[str]:
        done: list[str] = []
        leaving: dict[Server, str] = {}
        now = self._clock.monotonic()
        for name, wanted in self.waiting.items():
            hosts = [self._hosts[server] for server in wanted.authority.servers]
            if any(name in host.has for host in hosts) and all(host.settled(name, now) for host in hosts):
                done.append(name)
                leaving |= {host.server: wanted.authority.apex for host in hosts if name not in host.has}
        for name in done:
            self._drop(name)
        for server, apex in leaving.items():
            host = self._hosts[server]
            if host.last is not None:
                text = f"name server {host.label} of {apex} is left out: {describe(host.last)}"
                self._warn_once(text)
        return done

    def _drop(self, name: str) -> None:
        """Wait for this name no longer."""
        wanted = self.waiting.pop(name)
        self._deadlines.pop(name, None)
        for server in wanted.authority.servers:
            self._hosts[server].lacking.pop(name, None)

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._notify(Warned(self._certificate, text))

    def _tell(self) -> None:
        """Say who is waited for, at most once a second."""
        now = self._clock.monotonic()
        if now - self._told < _TELL_EVERY or not self.waiting:
            return
        self._told = now
        for host in self._hosts.values():
            if host.lacking and not host.dead:
                first = next(iter(host.lacking))
                more = f" and {len(host.lacking) - 1} more" if len(host.lacking) > 1 else ""
                event = Waiting(self._certificate, f"TXT {first}{more}", host.label, now - self._started)
                self._notify(event)
                return

    # --- failure

    def _fail_if_late(self) -> None:
        for name, (deadline, since) in list(self._deadlines.items()):
            wanted = self.waiting[name]
            hosts = [self._hosts[server] for server in wanted.authority.servers]
            if deadline.expired:
                raise self._timeout(wanted, self._clock.monotonic() - since)
            now = self._clock.monotonic()
            if hosts and all(host.dead and now - (host.failing_since or now) >= _DEAD_AFTER for host in hosts):
                if not self._move_on(wanted):
                    raise self._all_dead(wanted)
                self._drop(name)

    def _all_dead(self, wanted: Wanted) -> DnsError:
        report = self._report(wanted)
        return DnsUnreachable(
            f"no name server of {wanted.authority.apex} answers: {_sentence(report)}",
            fix="check that this machine may reach the zone's name servers on port 53 over UDP and TCP",
            details={"zone": wanted.authority.apex, "name": wanted.name, "servers": report},
        )

    def _timeout(self, wanted: Wanted, seconds: float) -> DnsError:
        report = self._report(wanted)
        others = len(self.waiting) - 1
        more = f" (and {others} more names)" if others else ""
        where, fix = f"every name server of {wanted.authority.apex}", "repair or wait for the servers that lack it"
        if any(server.via is not None for server in wanted.authority.servers):
            where = "every resolver that was asked over HTTPS"
            fix = "wait until resolvers have forgotten that there was no record (minutes), open port 53"
        return DnsPropagationTimeout(
            f"the TXT record at {wanted.name}{more} did not appear on {where} in {seconds:.0f} s: {_sentence(report)}",
            fix=f"{fix}, or raise propagation_timeout of the DNS entry",
            details={"zone": wanted.authority.apex, "name": wanted.name, "servers": report},
        )

    def _report(self, wanted: Wanted) -> list[dict[str, Any]]:
        """One object a server: its address, its state and a word on what it says."""
        return [self._state(self._hosts[server], wanted) for server in wanted.authority.servers]

    def _state(self, host: _Host, wanted: Wanted) -> dict[str, Any]:
        if wanted.name in host.has:
            state, says = "has it", "has it"
        elif host.last is None:
            state, says = "unknown", "was not asked in time"
        elif host.fails(host.last):
            state, says = ("dead" if isinstance(host.last, Failed) else "failing"), describe(host.last)
        else:
            alias = host.last.alias(wanted.name) if isinstance(host.last, Answer) else None
            state, says = "lacks it", "does not have it" if alias is None else f"has a CNAME to {alias} there"
        return {"server": host.label, "state": state, "says": says}


def _sentence(report: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{one['server']} {one['says']}" for one in report)


def _seen_too_late(name: str, alias: str) -> DnsDelegationError:
    return DnsDelegationError(
        f"{name} is a CNAME to {alias}: that could be seen only after the record was written, as no name server can be "
        "reached from here on port 53",
        fix="open port 53 (UDP and TCP) to the zone's name servers, so that CNAME records can be followed",
        details={"name": name, "chain": [name, alias]},
    )
