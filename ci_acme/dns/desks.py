"""The config's DNS entries at work: a desk has one entry, its provider, and a publisher for each of its zones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ci_acme.dataclass import dataclass, field, replace
from ci_acme.dns.addresses import parse_servers
from ci_acme.dns.flights import Flights
from ci_acme.dns.publish import Lease, Publisher, Turn
from ci_acme.dns.question import Server
from ci_acme.dns.resolve import Target
from ci_acme.dnswire import canonical
from ci_acme.errors import CiAcmeError
from ci_acme.ports import Challenge, Concurrency, Deadline, DnsProvider, ProvesCredentials, TxtValue, Zone

if TYPE_CHECKING:
    from ci_acme.dns.zones import Directory
    from ci_acme.settings import DnsSettings  # it imports pydantic, which the engine does not need


@dataclass(frozen=True)
class DnsEntry:
    """A `dns:` entry of the config. `make_provider` is called once, when a name needs the provider.

    `also` are entries of further providers that serve the same zone.
    """

    settings: DnsSettings
    make_provider: Callable[[], DnsProvider]
    also: tuple[DnsEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """The zone that is written to. `warnings` are for every run; `remarks` hinder nothing and are for `check`."""

    zone: Zone
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class Desk:
    """One entry at work: its provider, and a `Publisher` for each of its zones.

    `label` is what the journal calls the entry: its zone, with a number for the further ones of `also`.
    """

    def __init__(self, entry: DnsEntry, lease: Lease | None = None, number: int = 0) -> None:
        self.settings = entry.settings
        self.zone = canonical(entry.settings.zone)
        self.label = entry_label(self.zone, number)
        self.all = (self, *(Desk(further, lease, count) for count, further in enumerate(entry.also, 1)))
        self._lease = lease
        self._make = entry.make_provider
        self._lock = threading.Lock()
        self._provider: DnsProvider | None = None
        self._zones: Flights[str, Choice] = Flights()
        self._proven: Flights[str, bool] = Flights()
        self._publishers: dict[Zone, Publisher] = {}

    @property
    def provider(self) -> DnsProvider:
        """The provider, made at first use. Raises what making it raises."""
        with self._lock:
            if self._provider is None:
                self._provider = self._make()
            return self._provider

    def find_zone(self, target: Target, directory: Directory, deadline: Deadline) -> Choice:
        """The provider's zone for a name, asked once for each apex that the DNS has.

        Raises `ZoneNotFound`, `DnsDelegationError` for a zone that a CA does not see, and the provider's errors.
        """
        apex = target.authority.apex if target.closed is None else None
        by_name = apex is None or self.settings.private  # then a longer zone may hold the next name
        key = target.name if by_name or apex is None else apex

        def find(_: Sequence[str]) -> dict[str, Choice]:
            return {key: self._choose(target, apex, directory, deadline)}

        return self._zones.get([key], find, deadline.clock)[key]

    def _choose(self, target: Target, apex: str | None, directory: Directory, deadline: Deadline) -> Choice:
        zones = self.provider.zones_for(target.name, apex, deadline=deadline)
        if len(zones) == 1 and zones[0].public and zones[0].name == apex and not zones[0].nameservers:
            return Choice(zones[0])
        from ci_acme.dns.choice import Wish, choose  # BIND has the one zone of that name and needs no choice
        from ci_acme.dns.delegation import Delegation

        settings = self.settings
        wish = Wish(
            target.name, apex, self.provider.where, private=settings.private, pinned=settings.zone_id is not None
        )
        reached = target.closed is None
        public = Delegation(directory, target.authority, target.name, deadline.clock, reached=reached)
        return choose(zones, wish, public)

    def prove_credentials(self, zone: Zone, deadline: Deadline) -> None:
        """Ask the provider once whether its credential is right, if it can tell. Raises `DnsCredentialsError`."""
        provider = self.provider
        if not isinstance(provider, ProvesCredentials):
            return

        def prove(_: Sequence[str]) -> dict[str, bool]:
            provider.prove_credentials(zone, deadline=deadline)
            return {zone.id: True}

        self._proven.get([zone.id], prove, deadline.clock)

    def publisher(self, zone: Zone) -> Publisher:
        """The publisher of a zone, the same for all threads."""
        provider, turn = self.provider, self._turn(zone)
        with self._lock:
            if zone not in self._publishers:
                self._publishers[zone] = Publisher(provider, zone, self.settings.ttl, turn)
            return self._publishers[zone]

    def _turn(self, zone: Zone) -> Turn | None:
        """How changes to a zone take turns, if the provider needs that."""
        if self.provider.capabilities.concurrency is not Concurrency.BLIND:
            return None
        from ci_acme.dns.turns import zone_turn

        return zone_turn(self.provider, zone, self._lease)

    def nameservers(self) -> list[Server]:
        """The name servers that the provider itself writes to, if it has any; never raises."""
        try:
            texts: Iterable[str] = getattr(self.provider, "nameservers", ())
            return [server for text in texts for server in parse_servers(text)]
        except CiAcmeError:
            return []


def entry_label(zone: str, number: int) -> str:
    """`example.com` for an entry of the config, `example.com#1` for the first of its `also`."""
    return f"{zone}#{number}" if number else zone


@dataclass(slots=True)
class Group:
    """All values of the certificate in one zone at one provider: one change.

    `settings` are those of the entry, also for a further provider of its `also`. `existing` is what was at each name,
    and `adopted` is what of that is ours all the same.
    """

    desk: Desk
    zone: Zone
    settings: DnsSettings
    wanted: dict[str, dict[str, list[Challenge]]] = field(default_factory=dict[str, dict[str, list[Challenge]]])
    targets: dict[str, Target] = field(default_factory=dict[str, Target])
    existing: dict[str, Mapping[bytes, int]] = field(default_factory=dict[str, Mapping[bytes, int]])
    adopted: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    thread: threading.Thread | None = None

    def take(self, target: Target, challenge: Challenge) -> None:
        """Add the value of a challenge. What no name server could be asked for is in the zone that was chosen."""
        if target.closed is not None and target.authority.apex != self.zone.name:
            target = replace(target, authority=replace(target.authority, apex=self.zone.name))
        self.targets[target.name] = target
        self.existing[target.name] = target.existing
        self.wanted.setdefault(target.name, {}).setdefault(challenge.value, []).append(challenge)

    def values(self) -> list[TxtValue]:
        """The values to publish, with the TTL of the RRset that is there."""
        return [
            TxtValue(name, value, next(iter(self.existing[name].values()), None))
            for name, values in self.wanted.items()
            for value in values
        ]

    def existed(self, value: TxtValue) -> bool:
        """Whether the value was there before us, and is another's."""
        return (value.name, value.value) not in self.adopted and value.value.encode() in self.existing[value.name]

    def key(self, name: str, value: str) -> tuple[int, str, str, str]:
        """The identity of a value among all solvers of the run."""
        return id(self.desk), self.zone.id, name, value


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
