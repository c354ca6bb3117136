"""Where the TXT value of each challenge really belongs, and what is there already.

CNAMEs of the challenge name are followed at the authoritative servers, without recursion, as a CA's resolver would
follow them (RFC 8555 section 8.4). One TXT question tells all at once: the CNAME, the values that are there with their
TTL, or, by the SOA of a negative answer, the zone. A CNAME that a wildcard makes is no delegation: where it leads out
of what the config serves, the value belongs at the challenge name itself, which hides the wildcard.

Where no authoritative server can be reached (port 53 is closed), the value belongs at the challenge name if an entry
serves it: nothing is asked about that name until the value is there. Only a name that no entry serves is asked for its
CNAME over HTTPS: no record will ever be placed there, so that a resolver which remembers its absence hides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ci_acme import dnswire
from ci_acme.dataclass import dataclass, field, replace
from ci_acme.dns.authority import Authority, Hint
from ci_acme.dns.batch import Heard, Race
from ci_acme.dns.follow import MAX_HOPS, Follower, Trail, first_starts
from ci_acme.dns.question import Answer, Question
from ci_acme.dns.wildcards import made_by_wildcards
from ci_acme.dns.zones import Directory
from ci_acme.errors import CiAcmeError
from ci_acme.model.names import is_suffix
from ci_acme.ports import Clock


@dataclass(frozen=True, slots=True)
class Target:
    """Where a challenge's value belongs: `chain` runs from the challenge name to the effective name.

    `existing` are the values that were there with the TTL of their RRset. `note` is worth a warning. `closed` is set if
    no name server could be reached, and says how: then `authority` is only where the search began, and what is there is
    not known.
    """

    chain: tuple[str, ...]
    authority: Authority
    existing: Mapping[bytes, int] = field(default_factory=dict[bytes, int])
    note: str | None = None
    closed: CiAcmeError | None = None

    @property
    def name(self) -> str:
        """The effective name."""
        return self.chain[-1]

    @property
    def ttl(self) -> int | None:
        """The TTL of the RRset that is there."""
        return next(iter(self.existing.values()), None)


class Locator:
    """Follows challenge names to their effective names, all at once.

    `catch_all` says that an entry serves what `zones` do not.
    """

    def __init__(self, directory: Directory, zones: Sequence[str], clock: Clock, *, catch_all: bool = False) -> None:
        self._directory = directory
        self._zones = zones
        self._clock = clock
        self._catch_all = catch_all
        self._follower = Follower(directory, dnswire.TXT, lambda name: first_starts(name, zones), clock)

    def locate(self, names: Iterable[str]) -> dict[str, Target | CiAcmeError]:
        """The target of each name; what fails for one name is its value and does not disturb the others."""
        trails = self._follower.follow(names)
        settled = self._settle([trail for trail in trails.values() if trail.error is None])
        ends = {name: trail.error or settled[name] for name, trail in trails.items()}
        strayed = [trail for name, trail in trails.items() if self._strayed(trail, ends[name])]
        closed = {name: trail for name, trail in trails.items() if _is_closed(trail)}
        return ends | self._undo_wildcards(strayed) | (self._closed(closed) if closed else {})

    # --- the zone of each answer

    def _settle(self, trails: Sequence[Trail]) -> dict[str, Target | CiAcmeError]:
        """By challenge name; finds the apex of each zone, from the SOA of a negative answer, else by asking for it."""
        unknown = {trail.name: trail for trail in trails if trail.answer is not None and trail.answer.soa is None}
        heard = self._follower.race(unknown, dnswire.SOA)
        apexes: dict[str, Hint] = {}
        for trail in trails:
            apex = _apex_of(trail, heard.get(trail.name))
            if trail.authority is not None and apex != trail.authority.apex:
                apexes[apex] = Hint(trail.authority.servers)
        found = self._directory.lookup(apexes, self._clock)
        ends: dict[str, Target | CiAcmeError] = {}
        for trail in trails:
            assert trail.answer is not None
            assert trail.authority is not None
            authority = found.get(_apex_of(trail, heard.get(trail.name)), trail.authority)
            if isinstance(authority, Authority):
                ends[trail.chain[0]] = Target(tuple(trail.chain), authority, trail.answer.values(trail.name))
            else:
                ends[trail.chain[0]] = authority
        return ends

    # --- port 53 is closed

    def _closed(self, trails: Mapping[str, Trail]) -> dict[str, Target | CiAcmeError]:
        ends: dict[str, Target | CiAcmeError] = {}
        for name, trail in trails.items():
            assert trail.authority is not None
            ends[name] = Target(tuple(trail.chain), trail.authority, closed=trail.error)
        unserved = {name: trail for name, trail in trails.items() if not (self._catch_all or self._served(trail.name))}
        servers = self._directory.over_https() if unserved else []
        if not servers:
            return ends
        questions = {
            name: [Question(server, trail.name, dnswire.CNAME, recurse=True) for server in servers]
            for name, trail in unserved.items()
        }
        aliases: dict[str, str] = {}
        for name, heard in Race(questions, self._clock).run().items():
            alias = None if heard.best is None else heard.best.alias(unserved[name].name)
            if alias is not None and alias not in unserved[name].chain and len(unserved[name].chain) <= MAX_HOPS:
                aliases[name] = alias
        beyond = self.locate(set(aliases.values())) if aliases else {}
        for name, alias in aliases.items():
            end = beyond[alias]
            chain = (*unserved[name].chain, *(end.chain if isinstance(end, Target) else ()))
            if len(set(chain)) < len(chain) or len(chain) > MAX_HOPS + 1:
                continue  # in a circle, or too long: as if there were none
            ends[name] = replace(end, chain=chain) if isinstance(end, Target) else end
        return ends

    # --- wildcards

    def _strayed(self, trail: Trail, end: Target | CiAcmeError) -> bool:
        """Whether the CNAMEs lead out of every configured zone, and the challenge name itself is in one."""
        if trail.first is None or not self._served(trail.chain[0]):
            return False
        return not (isinstance(end, Target) and self._served(end.name))

    def _served(self, name: str) -> bool:
        return any(is_suffix(zone, name) for zone in self._zones)

    def _undo_wildcards(self, trails: Sequence[Trail]) -> dict[str, Target | CiAcmeError]:
        """The challenge names themselves, of those trails that a wildcard led astray."""
        aliases = {trail.chain[0]: (trail.chain[1], trail.first) for trail in trails if trail.first is not None}
        undone: list[Trail] = []
        for name, soa in made_by_wildcards(aliases, self._clock).items():
            answer = Answer(dnswire.NOERROR, aa=True, authority=[] if soa is None else [soa])
            undone.append(Trail([name], aliases[name][1], answer=answer))
        return {
            name: replace(end, note=_hidden(name, aliases[name][0])) if isinstance(end, Target) else end
            for name, end in self._settle(undone).items()
        }


def _is_closed(trail: Trail) -> bool:
    """Whether a delegation led to servers none of which can be reached."""
    if trail.error is None or trail.lost is not None or trail.authority is None or trail.heard is None:
        return False
    return trail.authority.delegated and not trail.looped and not trail.heard.answered


def _hidden(name: str, target: str) -> str:
    return f"the wildcard CNAME to {target} is hidden at {name} while the TXT record is there"


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
