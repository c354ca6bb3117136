"""The DNS side of a run: the config's entries, their providers, and what all certificates share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ci_acme import dnswire
from ci_acme.dns.addresses import parse_servers
from ci_acme.dns.ask import Question, Server
from ci_acme.dns.batch import ask, describe
from ci_acme.dns.caa import CaaFinder, RelevantCaa
from ci_acme.dns.flights import Flights
from ci_acme.dns.follow import show_chain
from ci_acme.dns.publish import Publisher
from ci_acme.dns.resolve import Locator, Target
from ci_acme.dns.solver import Solver
from ci_acme.dns.zones import Authority, Directory
from ci_acme.dnswire import canonical
from ci_acme.errors import CiAcmeError, DnsUnreachable, ZoneNotFound
from ci_acme.model.events import Observer
from ci_acme.model.names import challenge_name, is_suffix
from ci_acme.ports import Clock, Deadline, DnsJournal, DnsProvider, Zone

if TYPE_CHECKING:
    from ci_acme.settings import DnsSettings  # it imports pydantic, which the engine does not need

_CHECK_SECONDS: Final = 15.0


@dataclass(frozen=True)
class DnsEntry:
    """A `dns:` entry of the config. `make_provider` is called once, when a name needs the provider."""

    settings: DnsSettings
    make_provider: Callable[[], DnsProvider]


@dataclass(frozen=True, slots=True)
class DnsFinding:
    """What `check` found for one challenge name.

    `chain` runs from the challenge name to the name where the value would be written; `zone` is the apex there, `entry`
    the zone of the config's entry that serves it. `error` is None if a challenge could be solved as far as can be known
    without writing; `warnings` do not hinder it.
    """

    name: str
    chain: tuple[str, ...] = ()
    zone: str | None = None
    entry: str | None = None
    where: str | None = None
    servers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: CiAcmeError | None = None


class Desk:
    """One entry at work: its provider, and a `Publisher` for each of its zones."""

    def __init__(self, entry: DnsEntry) -> None:
        self.settings = entry.settings
        self.zone = canonical(entry.settings.zone)
        self._make = entry.make_provider
        self._lock = threading.Lock()
        self._provider: DnsProvider | None = None
        self._zones: Flights[str, Zone] = Flights()
        self._publishers: dict[Zone, Publisher] = {}

    @property
    def provider(self) -> DnsProvider:
        """The provider, made at first use. Raises what making it raises."""
        with self._lock:
            if self._provider is None:
                self._provider = self._make()
            return self._provider

    def find_zone(self, name: str, apex: str, deadline: Deadline) -> Zone:
        """The provider's zone for a name, asked once for each apex."""
        provider = self.provider
        return self._zones.get(
            [apex], lambda _: {apex: provider.find_zone(name, apex, deadline=deadline)}, deadline.clock
        )[apex]

    def publisher(self, zone: Zone) -> Publisher:
        """The publisher of a zone, the same for all threads."""
        provider = self.provider
        with self._lock:
            if zone not in self._publishers:
                self._publishers[zone] = Publisher(provider, zone, self.settings.ttl)
            return self._publishers[zone]

    def nameservers(self) -> list[Server]:
        """The name servers that the provider itself writes to, if it has any; never raises."""
        try:
            texts: Iterable[str] = getattr(self.provider, "nameservers", ())
            return [server for text in texts for server in parse_servers(text)]
        except CiAcmeError:
            return []


@dataclass(slots=True)
class _Hold:
    """A value that solvers of this run hold; `created` says that it is ours."""

    count: int
    created: bool


class Holds:
    """Counts who holds a value, so that two certificates with the same challenge do not remove it under each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holds: dict[tuple[int, str, str, str], _Hold] = {}

    def take(self, key: tuple[int, str, str, str], *, existed: bool) -> bool:
        """Hold a value; whether it is ours. `existed` says that it was there before, perhaps by another hold."""
        with self._lock:
            hold = self._holds.setdefault(key, _Hold(0, not existed))
            hold.count += 1
            return hold.created

    def drop(self, key: tuple[int, str, str, str]) -> bool:
        """Let go; whether the value is ours and nobody else holds it, so that it is to be removed."""
        with self._lock:
            hold = self._holds.get(key)
            if hold is None:
                return False
            hold.count -= 1
            if hold.count:
                return False
            del self._holds[key]
            return hold.created


class DnsEngine:
    """Shared by all certificates of a run; any thread may use it.

    Args:
        entries: the config's `dns:` entries.
        nameservers: the config's `resolver.nameservers`: host[:port].
        clock: the run's clock.
        journal: the write-ahead record of values, None for none.
        port: where name servers that are found through NS listen; only tests change it.
    """

    def __init__(
        self,
        entries: Sequence[DnsEntry],
        nameservers: Sequence[str],
        clock: Clock,
        journal: DnsJournal | None = None,
        *,
        port: int = 53,
    ) -> None:
        self.clock = clock
        self.journal = journal
        self.desks = [Desk(entry) for entry in entries]
        self.holds = Holds()
        self.directory = Directory(nameservers, clock, fallback=self._servers_of, port=port)

        self._caa = CaaFinder(self.directory, self._zones())

    def solver(self, certificate: str, notify: Observer) -> Solver:
        """A `ChallengeSolver` for one certificate of the run."""
        return Solver(self, certificate, notify)

    def locate(self, names: Iterable[str], clock: Clock) -> dict[str, Target | CiAcmeError]:
        """Where the values of challenge names belong."""
        return Locator(self.directory, self._zones(), clock).locate(names)

    def caa(self, names: Iterable[str], clock: Clock) -> dict[str, RelevantCaa]:
        """The relevant CAA records of names (without `*.`); what fails for one name is in its result."""
        return self._caa.find(names, clock)

    def _zones(self) -> list[str]:
        return [desk.zone for desk in self.desks if desk.zone != "."]

    def desk_for(self, target: Target) -> Desk:
        """The entry with the longest zone that the effective name is in. Raises `ZoneNotFound`."""
        desk = self._desk_of(target.name)
        if desk is not None:
            return desk
        zones = ", ".join(sorted(desk.zone for desk in self.desks)) or "none"
        way = f" (reached by {show_chain(target.chain)})" if len(target.chain) > 1 else ""
        raise ZoneNotFound(
            f"no DNS entry of the config serves {target.name}{way}; configured zones: {zones}",
            fix=f"add an entry to dns: with zone: {target.authority.apex}",
            details={"name": target.name, "chain": list(target.chain), "zone": target.authority.apex},
        )

    def _desk_of(self, name: str) -> Desk | None:
        serving = [desk for desk in self.desks if is_suffix(desk.zone, name)]
        return max(serving, key=lambda desk: len(dnswire.labels_of(desk.zone)), default=None)

    def _servers_of(self, name: str) -> list[Server]:
        desk = self._desk_of(name)
        return [] if desk is None else desk.nameservers()

    # --- check

    def check(self, identifiers: Sequence[str]) -> list[DnsFinding]:
        """Whether the challenges of these identifiers could be solved; one finding a challenge name, nothing written.

        Findings are never exceptions. Raises `ConfigError` for unusable `resolver.nameservers`, and `Interrupted`.
        """
        names = list(dict.fromkeys(challenge_name(identifier) for identifier in identifiers))
        targets = self.locate(names, self.clock)
        reached = self._reach({t.authority.apex: t.authority for t in targets.values() if isinstance(t, Target)})
        plans = {name: _Plan(name, target) for name, target in targets.items()}
        deadline = Deadline(self.clock, _CHECK_SECONDS)
        for plan in plans.values():
            plan.choose(self, deadline)
        groups: dict[tuple[int, Zone], list[_Plan]] = {}
        for plan in plans.values():
            if plan.desk is not None and plan.zone is not None:
                groups.setdefault((id(plan.desk), plan.zone), []).append(plan)
        for plans_of_zone in groups.values():
            _check_access(plans_of_zone, deadline)
        return [plans[name].finding(reached) for name in names]

    def _reach(self, authorities: dict[str, Authority]) -> dict[str, dict[Server, str | None]]:
        """For each zone what is wrong with each of its servers, None for nothing."""
        pairs = [(apex, server) for apex, authority in authorities.items() for server in authority.servers]
        replies = ask([Question(server, apex, dnswire.SOA) for apex, server in pairs], self.clock)
        found: dict[str, dict[Server, str | None]] = {apex: {} for apex in authorities}
        for (apex, server), reply in zip(pairs, replies, strict=True):
            says = describe(reply)
            found[apex][server] = None if says == "answers" else says
        return found


@dataclass(slots=True)
class _Plan:
    """`check` of one challenge name under way."""

    name: str
    target: Target | CiAcmeError
    desk: Desk | None = None
    zone: Zone | None = None
    where: str | None = None
    warnings: list[str] = field(default_factory=list[str])
    error: CiAcmeError | None = None

    def choose(self, engine: DnsEngine, deadline: Deadline) -> None:
        """Find the entry and its zone."""
        if not isinstance(self.target, Target):
            self.error = self.target
            return
        try:
            self.desk = engine.desk_for(self.target)
            self.where = self.desk.provider.where
            self.zone = self.desk.find_zone(self.target.name, self.target.authority.apex, deadline)
        except CiAcmeError as error:
            _raise_interrupt(error)
            self.error = error

    def finding(self, reached: dict[str, dict[Server, str | None]]) -> DnsFinding:
        """The result."""
        target = self.target
        if not isinstance(target, Target):
            return DnsFinding(self.name, error=target)
        authority = target.authority
        states = reached[authority.apex]
        bad = [f"name server {authority.label(server)} {says}" for server, says in states.items() if says is not None]
        if authority.note is not None:
            bad.append(authority.note)
        error = self.error
        if error is None and states and all(says is not None for says in states.values()):
            error = DnsUnreachable(
                f"no name server of {authority.apex} answers: {'; '.join(bad)}",
                fix="check that this machine may reach the zone's name servers on port 53 over UDP and TCP",
            )
        return DnsFinding(
            name=self.name,
            chain=target.chain,
            zone=authority.apex,
            entry=None if self.desk is None else self.desk.zone,
            where=self.where,
            servers=tuple(authority.label(server) for server in authority.servers),
            warnings=(*self.warnings, *bad),
            error=error,
        )


def _check_access(plans: Sequence[_Plan], deadline: Deadline) -> None:
    """Prove write access for all names of a zone at once; if that fails, find out which names are to blame."""
    desk, zone = plans[0].desk, plans[0].zone
    assert desk is not None
    assert zone is not None
    for group in (plans, *([plan] for plan in plans)):
        names = [plan.target.name for plan in group if isinstance(plan.target, Target)]
        try:
            desk.provider.check_access(zone, names, deadline=deadline)
        except CiAcmeError as error:
            _raise_interrupt(error)
            for plan in group:
                plan.error = error
            if len(plans) == 1:
                return
        else:
            for plan in group:
                plan.error = None
            if group is plans:
                return


def _raise_interrupt(error: CiAcmeError) -> None:
    from ci_acme.errors import Interrupted

    if isinstance(error, Interrupted):
        raise error
