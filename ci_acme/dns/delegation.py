"""What the DNS says of zones, for `choice`: name servers, their addresses, and signs of another view."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ci_acme.dns.authority import Authority
from ci_acme.dns.question import Server
from ci_acme.dns.zones import Directory
from ci_acme.errors import CiAcmeError, ZoneNotFound
from ci_acme.ports import Clock


class Delegation:
    """`choice.Public` for the zone of one name.

    `authority` is who speaks for it, `reached` whether its servers could be asked. `name` itself is never asked for: a
    record may be about to be placed there.
    """

    def __init__(self, directory: Directory, authority: Authority, name: str, clock: Clock, *, reached: bool) -> None:
        self._directory = directory
        self._authority = authority
        self._name = name
        self._clock = clock
        self._reached = reached

    def hosts(self, zone: str) -> Collection[str] | None:
        """The NS names of exactly this zone: none if there is no such zone, None if that cannot be found out."""
        if self._reached and zone == self._authority.apex:
            if self._authority.unlisted:  # nobody delegates to it: there is nothing to compare
                return None
            return self._directory.names_of(self._authority, self._clock) or None
        if zone == self._name:
            return None
        found = self._look_up(zone)
        if isinstance(found, Authority):
            return (found.names or None) if found.apex == zone else ()
        return () if isinstance(found, ZoneNotFound) else None

    def same_servers(self, zone: str, assigned: Collection[str]) -> bool:
        """Whether these hosts have an address of the zone's servers."""
        mine = self._reached and zone == self._authority.apex
        found = self._authority if mine else self._look_up(zone)
        if not isinstance(found, Authority):
            return False
        known = self._directory.addresses(assigned, self._clock)
        return bool({server.address for server in found.servers} & {one for many in known.values() for one in many})

    def view(self, zone: str) -> str | None:
        """Why this machine may see another view of the zone than a CA."""
        return inner_view(self._authority) if zone == self._authority.apex else None

    def _look_up(self, zone: str) -> Authority | CiAcmeError:
        return self._directory.lookup({zone: None}, self._clock)[zone]


def inner_view(authority: Authority) -> str | None:
    """Said of a zone whose delegation leads to addresses that the internet cannot reach; None for any other."""
    inner = [authority.label(server) for server in _private(authority.servers)] if authority.delegated else []
    if not inner:
        return None
    return (
        f"split horizon: the name servers of {authority.apex} that this machine finds have private addresses "
        f"({', '.join(inner)}), so that a CA asks others"
    )


def _private(servers: Iterable[Server]) -> list[Server]:
    import ipaddress

    found: list[Server] = []
    for server in servers:
        try:
            address = ipaddress.ip_address(server.address.partition("%")[0])
        except ValueError:
            continue
        if address.is_private and not address.is_loopback:
            found.append(server)
    return found
