"""The DNS side of a run: what all of its certificates share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ci_acme import dnswire
from ci_acme.dns.caa import CaaFinder, RelevantCaa
from ci_acme.dns.desks import Desk, DnsEntry, Holds
from ci_acme.dns.follow import show_chain
from ci_acme.dns.publish import Lease
from ci_acme.dns.question import Server
from ci_acme.dns.resolve import Locator, Target
from ci_acme.dns.solver import Solver
from ci_acme.dns.zones import Directory
from ci_acme.errors import CiAcmeError, DnsDelegationError, ZoneNotFound
from ci_acme.model.events import Observer
from ci_acme.model.names import challenge_name, is_suffix
from ci_acme.ports import Clock, DnsJournal

if TYPE_CHECKING:
    from ci_acme.dns.check import DnsFinding

__all__ = ["DnsEngine", "DnsEntry"]


class DnsEngine:
    """Shared by all certificates of a run; any thread may use it.

    Args:
        entries: the config's `dns:` entries.
        nameservers: the config's `resolver.nameservers`: host[:port] or URLs of DNS over HTTPS.
        clock: the run's clock.
        journal: the write-ahead record of values, None for none.
        lease: takes the leases that some providers need, None to do without.
        doh: URLs of DNS over HTTPS for where port 53 is closed; those among `nameservers` go before them.
        trust: a PEM file of what those are trusted by, None for the system's roots.
        port: where name servers that are found through NS listen; only tests change it.
    """

    def __init__(
        self,
        entries: Sequence[DnsEntry],
        nameservers: Sequence[str],
        clock: Clock,
        journal: DnsJournal | None = None,
        *,
        lease: Lease | None = None,
        doh: Sequence[str] = (),
        trust: Path | None = None,
        port: int = 53,
    ) -> None:
        self.clock = clock
        self.journal = journal
        self.lease = lease
        self.desks = [Desk(entry, lease) for entry in entries]
        self.holds = Holds()
        self.directory = Directory(nameservers, clock, fallback=self._servers_of, doh=doh, trust=trust, port=port)
        self._caa = CaaFinder(self.directory, self._zones())

    def solver(self, certificate: str, notify: Observer) -> Solver:
        """A `ChallengeSolver` for one certificate of the run."""
        return Solver(self, certificate, notify)

    def locate(self, names: Iterable[str], clock: Clock) -> dict[str, Target | CiAcmeError]:
        """Where the values of challenge names belong."""
        catch_all = any(desk.zone == "." for desk in self.desks)
        return Locator(self.directory, self._zones(), clock, catch_all=catch_all).locate(names)

    def caa(self, names: Iterable[str], clock: Clock) -> dict[str, RelevantCaa]:
        """The relevant CAA records of names (without `*.`); what fails for one name is in its result."""
        return self._caa.find(names, clock)

    def close(self) -> None:
        """Close what is kept open."""
        self.directory.close()

    def _zones(self) -> list[str]:
        return [desk.zone for desk in self.desks if desk.zone != "."]

    def serves(self, name: str) -> bool:
        """Whether an entry of the config has a zone that the name is in."""
        return self._desk_of(name) is not None

    def desk_for(self, target: Target) -> Desk:
        """The entry with the longest zone that the effective name is in.

        Raises `ZoneNotFound`, or `DnsDelegationError` if CNAMEs led to a name that does not exist.
        """
        desk = self._desk_of(target.name)
        if desk is not None:
            return desk
        raise _not_served(target, self.desks)

    def _desk_of(self, name: str) -> Desk | None:
        serving = [desk for desk in self.desks if is_suffix(desk.zone, name)]
        return max(serving, key=lambda desk: len(dnswire.labels_of(desk.zone)), default=None)

    def _servers_of(self, name: str) -> list[Server]:
        desk = self._desk_of(name)
        return [] if desk is None else desk.nameservers()

    def check(self, identifiers: Sequence[str], *, name_of: Callable[[str], str] = challenge_name) -> list[DnsFinding]:
        """Whether the challenges of these identifiers could be solved; one finding a challenge name, nothing written.

        `name_of` gives the challenge name of an identifier.

        Findings are never exceptions. Raises `ConfigError` for unusable `resolver.nameservers`, and `Interrupted`.
        """
        from ci_acme.dns.check import check  # `issue` does not need it

        return check(self, [name_of(identifier) for identifier in identifiers])


def _not_served(target: Target, desks: Sequence[Desk]) -> CiAcmeError:
    zones = sorted(desk.zone for desk in desks)
    details = {
        "name": target.name,
        "chain": list(target.chain),
        "zone": target.authority.apex,
        "configured": zones,
    }
    apex = target.authority.apex
    if len(target.chain) > 1 and apex == ".":
        return DnsDelegationError(
            f"the CNAME records of {target.chain[0]} lead nowhere: {show_chain(target.chain)}; no such zone exists",
            fix="repair or remove the CNAME record",
            details=details,
        )
    way = f" (reached by {show_chain(target.chain)})" if len(target.chain) > 1 else ""
    known = ", ".join(zones) or "none"
    likely = apex if len(dnswire.labels_of(apex)) > 1 else ".".join(dnswire.labels_of(target.name)[-2:])
    aliases = sorted({desk.settings.alias for desk in desks if desk.settings.alias is not None})
    record = f"; or publish {target.name}. CNAME {'. or '.join(aliases)}." if aliases else ""
    hidden = "" if target.closed is None else f"; CNAMEs could not be followed: {target.closed.message}"
    return ZoneNotFound(
        f"no DNS entry of the config serves {target.name}{way}; configured zones: {known}{hidden}",
        fix=f"add an entry to dns: with zone: {likely}{record}",
        details=details,
    )
