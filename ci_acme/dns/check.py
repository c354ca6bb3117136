"""`check`: whether challenges could be solved, told without writing anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ci_acme import dnswire
from ci_acme.dataclass import dataclass, field
from ci_acme.dns.authority import Authority
from ci_acme.dns.batch import ask, describe
from ci_acme.dns.desks import Desk
from ci_acme.dns.question import Question, Server
from ci_acme.dns.resolve import Target
from ci_acme.errors import CiAcmeError, DnsRefused, DnsUnreachable, Interrupted
from ci_acme.ports import Clock, Concurrency, Deadline, Zone

if TYPE_CHECKING:
    from ci_acme.dns.engine import DnsEngine

_CHECK_SECONDS: Final = 15.0

_States = dict[str, dict[Server, str | None]]


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


def check(engine: DnsEngine, challenge_names: Sequence[str]) -> list[DnsFinding]:
    """One finding for each challenge name; findings are never exceptions. Raises `ConfigError` and `Interrupted`."""
    names = list(dict.fromkeys(challenge_names))
    targets = engine.locate(names, engine.clock)
    reached = _reach({t.authority.apex: t.authority for t in targets.values() if isinstance(t, Target)}, engine.clock)
    plans = {name: _Plan(name, target) for name, target in targets.items()}
    deadline = Deadline(engine.clock, _CHECK_SECONDS)
    for plan in plans.values():
        plan.choose(engine, deadline)
    groups: dict[tuple[int, Zone], tuple[Desk, Zone, list[_Plan]]] = {}
    for plan in plans.values():
        for desk, zone in plan.places:
            groups.setdefault((id(desk), zone), (desk, zone, []))[2].append(plan)
    for desk, zone, plans_of_zone in groups.values():
        _check_access(desk, zone, plans_of_zone, deadline)
        _look_around(engine, desk, zone, plans_of_zone)
    return [plans[name].finding(reached) for name in names]


def _reach(authorities: dict[str, Authority], clock: Clock) -> _States:
    """For each zone what is wrong with each of its servers, None for nothing."""
    pairs = [(apex, server) for apex, authority in authorities.items() for server in authority.servers]
    replies = ask([Question(server, apex, dnswire.SOA) for apex, server in pairs], clock)
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
    places: list[tuple[Desk, Zone]] = field(default_factory=list[tuple[Desk, Zone]])
    where: str | None = None
    notes: list[str] = field(default_factory=list[str])
    error: CiAcmeError | None = None

    def choose(self, engine: DnsEngine, deadline: Deadline) -> None:
        """Find the entry and its zone, at each of its providers."""
        if not isinstance(self.target, Target):
            self.error = self.target
            return
        try:
            self.desk = engine.desk_for(self.target)
            self.where = " and ".join(desk.provider.where for desk in self.desk.all)
            for desk in self.desk.all:
                choice = desk.find_zone(self.target, engine.directory, deadline)
                self.places.append((desk, choice.zone))
                self.notes += (*choice.warnings, *choice.remarks)
        except Interrupted:
            raise
        except CiAcmeError as error:
            self.error = error

    def blame(self, error: CiAcmeError | None) -> None:
        """Note an error, unless there is one."""
        self.error = self.error or error

    def finding(self, reached: _States) -> DnsFinding:
        """The result."""
        target = self.target
        if not isinstance(target, Target):
            return DnsFinding(self.name, error=target)
        authority = target.authority
        states = reached[authority.apex]
        bad = [f"name server {authority.label(server)} {says}" for server, says in states.items() if says is not None]
        bad += [note for note in (authority.note, target.note) if note is not None]
        bad += list(dict.fromkeys(self.notes))
        error = self.error
        closed = target.closed is not None
        if error is None and not closed and states and all(says is not None for says in states.values()):
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
            warnings=tuple(bad),
            error=error,
        )


def _check_access(desk: Desk, zone: Zone, plans: Sequence[_Plan], deadline: Deadline) -> None:
    """Prove write access for all names of a zone at once; if that is refused, find out which names are to blame."""
    error = _access_error(desk, zone, plans, deadline)
    if isinstance(error, DnsRefused) and len(plans) > 1:
        for plan in plans:
            plan.blame(_access_error(desk, zone, [plan], deadline))
        return
    for plan in plans:
        plan.blame(error)


def _access_error(desk: Desk, zone: Zone, plans: Sequence[_Plan], deadline: Deadline) -> CiAcmeError | None:
    names = sorted({plan.target.name for plan in plans if isinstance(plan.target, Target)})
    try:
        desk.provider.check_access(zone, names, deadline=deadline)
    except Interrupted:
        raise
    except CiAcmeError as error:
        return error
    return None


def _look_around(engine: DnsEngine, desk: Desk, zone: Zone, plans: Sequence[_Plan]) -> None:
    """What may hide a record that is written in this zone: another view of it, or servers that cannot be reached."""
    from ci_acme.dns.horizon import differences

    target = next(plan.target for plan in plans if isinstance(plan.target, Target))
    said = differences(desk, zone, target, engine.directory.over_https(fallback=False), engine.clock)
    if desk.provider.capabilities.concurrency not in {Concurrency.PER_VALUE, Concurrency.CAS}:
        who = f"{desk.provider.where} cannot keep writers apart"
        said.append(f"{who}: runs that share the state take turns there, and whoever else writes may undo it")
    for plan in plans:
        plan.notes += said
        if isinstance(plan.target, Target) and plan.target.closed is not None:
            plan.notes.append(_instead(desk, engine.directory.over_https()))


def _instead(desk: Desk, resolvers: Sequence[Server]) -> str:
    """How it will be known that a record is there."""
    if resolvers:
        return f"no name server can be reached on port 53: {', '.join(map(str, resolvers))} will be asked for records"
    if desk.provider.capabilities.in_sync_signal:
        return "no name server can be reached on port 53: the provider's word will be taken that records are there"
    wait = desk.settings.propagation_wait
    return f"no name server can be reached on port 53: challenges are answered after {wait:.0f} s (propagation_wait)"
