"""The config's DNS entries at work: a desk has one entry, its provider, and a publisher for each of its zones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci_acme.dns.addresses import parse_servers
from ci_acme.dns.ask import Server
from ci_acme.dns.flights import Flights
from ci_acme.dns.publish import Publisher
from ci_acme.dnswire import canonical, labels_of
from ci_acme.errors import CiAcmeError, ZoneNotFound
from ci_acme.model.names import is_suffix
from ci_acme.ports import Deadline, DnsProvider, Zone

if TYPE_CHECKING:
    from ci_acme.settings import DnsSettings  # it imports pydantic, which the engine does not need


@dataclass(frozen=True)
class DnsEntry:
    """A `dns:` entry of the config. `make_provider` is called once, when a name needs the provider."""

    settings: DnsSettings
    make_provider: Callable[[], DnsProvider]


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
        """The provider's zone for a name, asked once for each apex. Raises `ZoneNotFound` and the provider's errors."""

        def find(_: Sequence[str]) -> dict[str, Zone]:
            return {apex: longest(self.provider.zones_for(name, apex, deadline=deadline), name, self.provider.where)}

        return self._zones.get([apex], find, deadline.clock)[apex]

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


def longest(zones: Sequence[Zone], name: str, where: str) -> Zone:
    """The longest public zone that holds the name. Raises `ZoneNotFound`."""
    usable = [zone for zone in zones if zone.public and is_suffix(zone.name, name)]
    if not usable:
        raise ZoneNotFound(
            f"{where} has no zone for {name}", fix="create the zone there, or correct the credentials of the DNS entry"
        )
    return max(usable, key=lambda zone: len(labels_of(zone.name)))


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
