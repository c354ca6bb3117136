"""Where the TXT value of each challenge really belongs, and what is there already.

CNAMEs of the challenge name are followed at the authoritative servers, without recursion, as a CA's resolver would
follow them (RFC 8555 section 8.4). One TXT question tells all at once: the CNAME, the values that are there with their
TTL, or, by the SOA of a negative answer, the zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ci_acme import dnswire
from ci_acme.dns.batch import Heard, Race
from ci_acme.dns.follow import Follower, Trail, first_starts
from ci_acme.dns.zones import Authority, Directory, Hint
from ci_acme.errors import CiAcmeError
from ci_acme.model.names import is_suffix
from ci_acme.ports import Clock


@dataclass(frozen=True, slots=True)
class Target:
    """Where a challenge's value belongs: `chain` runs from the challenge name to the effective name.

    `existing` are the values that were there with the TTL of their RRset.
    """

    chain: tuple[str, ...]
    authority: Authority
    existing: Mapping[bytes, int] = field(default_factory=dict[bytes, int])

    @property
    def name(self) -> str:
        """The effective name."""
        return self.chain[-1]

    @property
    def ttl(self) -> int | None:
        """The TTL of the RRset that is there."""
        return next(iter(self.existing.values()), None)


class Locator:
    """Follows challenge names to their effective names, all at once."""

    def __init__(self, directory: Directory, zones: Sequence[str], clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._follower = Follower(directory, dnswire.TXT, lambda name: first_starts(name, zones), clock)

    def locate(self, names: Iterable[str]) -> dict[str, Target | CiAcmeError]:
        """The target of each name; what fails for one name is its value and does not disturb the others."""
        trails = self._follower.follow(names)
        settled = self._settle([trail for trail in trails.values() if trail.error is None])
        return {name: trail.error or settled[id(trail)] for name, trail in trails.items()}

    def _settle(self, trails: Sequence[Trail]) -> dict[int, Target | CiAcmeError]:
        """Find the apex of each trail's zone: from the SOA of a negative answer, else by asking for it."""
        unknown = {trail.name: trail for trail in trails if trail.answer is not None and trail.answer.soa is None}
        heard = Race(
            {name: trail.questions(dnswire.SOA) for name, trail in unknown.items()},
            self._clock,
            lambda name, answer: unknown[name].speaks(answer),
        ).run()
        apexes: dict[str, Hint] = {}
        for trail in trails:
            apex = _apex_of(trail, heard.get(trail.name))
            if trail.authority is not None and apex != trail.authority.apex:
                apexes[apex] = Hint(trail.authority.servers)
        found = self._directory.lookup(apexes, self._clock)
        ends: dict[int, Target | CiAcmeError] = {}
        for trail in trails:
            assert trail.answer is not None
            assert trail.authority is not None
            authority = found.get(_apex_of(trail, heard.get(trail.name)), trail.authority)
            if isinstance(authority, Authority):
                ends[id(trail)] = Target(tuple(trail.chain), authority, trail.answer.values(trail.name))
            else:
                ends[id(trail)] = authority
        return ends


def _apex_of(trail: Trail, heard: Heard | None) -> str:
    """The apex that the SOA names, if it lies between the zone that was asked and the name."""
    assert trail.answer is not None
    assert trail.authority is not None
    soa = trail.answer.soa
    if soa is None and heard is not None and heard.best is not None:
        soa = heard.best.soa
    if soa is not None and is_suffix(soa.name, trail.name) and is_suffix(trail.authority.apex, soa.name):
        return soa.name
    return trail.authority.apex
