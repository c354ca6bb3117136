"""From names to the servers that speak for them: zone cuts and CNAMEs, all names at once.

The servers are asked without recursion, as the resolver of a CA would ask them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from ci_acme import dnswire
from ci_acme.dataclass import dataclass
from ci_acme.dns.authority import Authority, Hint
from ci_acme.dns.batch import Heard, Race
from ci_acme.dns.question import Answer, Question, Server
from ci_acme.dns.zones import Directory
from ci_acme.errors import CiAcmeError, DnsDelegationError, DnsUnreachable
from ci_acme.model.names import is_suffix
from ci_acme.ports import Clock

MAX_HOPS: Final = 8
_MAX_ROUNDS: Final = 4 * MAX_HOPS
"""Each hop may go through a few zone cuts."""

Starts = Callable[[str], Sequence[str]]
"""The names whose zone may be looked up to find who speaks for a name, the most promising first."""


@dataclass(slots=True, eq=False)
class Trail:
    """The way from a name: `chain` runs over its CNAMEs, `authority` is who is asked for the last name.

    `first` is who gave the first CNAME. In the end there is an `answer` or an `error`. `heard` is what the servers of
    `authority` said last; `lost` is set if it was the search for them that failed; `looped` says that the CNAMEs run in
    a circle.
    """

    chain: list[str]
    authority: Authority | None = None
    first: Authority | None = None
    heard: Heard | None = None
    answer: Answer | None = None
    error: CiAcmeError | None = None
    lost: CiAcmeError | None = None
    looped: bool = False

    @property
    def name(self) -> str:
        """The last name."""
        return self.chain[-1]

    def speaks(self, answer: Answer) -> bool:
        """Whether a server speaks for the zone, or refers to one below; anything else is lame.

        An alias counts whatever the code beside it: it is that of the end of the chain (BIND: SERVFAIL for a loop).
        """
        if self.authority is None:
            return False
        if answer.aa:
            return answer.usable or answer.alias(self.name) is not None
        cut = answer.referral
        return cut is not None and len(cut) > len(self.authority.apex) and is_suffix(cut, self.name)


def show_chain(chain: Sequence[str]) -> str:
    """`a -> b -> c`, the way people write CNAMEs."""
    return " -> ".join(chain)


def first_starts(name: str, zones: Iterable[str]) -> list[str]:
    """Names above `name` whose zone a resolver may be asked for, the most promising first; never `name` itself.

    The longest configured zone, else the last two labels: the way down from there is told by referrals. The deeper
    names follow, for servers that hold nothing above.
    """
    labels = dnswire.labels_of(name)
    above = [".".join(labels[index:]) for index in range(1, len(labels))] or ["."]
    known = [zone for zone in zones if zone in above]
    first = max(known, key=len) if known else above[-2] if len(above) > 1 else above[-1]
    return [first, *(start for start in reversed(above) if len(start) > len(first))]


class Follower:
    """Asks one record type for many names, following CNAMEs and zone cuts.

    Servers that were silent once are asked last from then on.
    """

    def __init__(self, directory: Directory, rtype: int, starts: Starts, clock: Clock) -> None:
        self._directory = directory
        self._rtype = rtype
        self._starts = starts
        self._clock = clock
        self._silent: set[Server] = set()

    def follow(self, names: Iterable[str]) -> dict[str, Trail]:
        """The trail of each name; what fails for one name does not disturb the others."""
        trails = {name: Trail([name]) for name in names}
        for _ in range(_MAX_ROUNDS):
            running = [trail for trail in trails.values() if trail.error is None and trail.answer is None]
            if not running:
                break
            self._find_authorities([trail for trail in running if trail.authority is None])
            self._ask([trail for trail in running if trail.error is None])
        for trail in trails.values():
            if trail.error is None and trail.answer is None:
                trail.error = _too_long(trail.chain)
        return trails

    def race(self, trails: Mapping[str, Trail], rtype: int) -> dict[str, Heard]:
        """Ask the servers of each trail about its last name, which is its key; the silent ones last."""
        questions: dict[str, list[Question]] = {}
        for name, trail in trails.items():
            servers = () if trail.authority is None else trail.authority.servers
            ordered = sorted(servers, key=self._silent.__contains__)
            questions[name] = [Question(server, name, rtype) for server in ordered]
        heard = Race(questions, self._clock, lambda name, answer: trails[name].speaks(answer)).run()
        self._silent = self._silent.union(*(one.silent for one in heard.values()))
        return heard

    def _find_authorities(self, trails: Sequence[Trail]) -> None:
        """Who is asked first for the last name of each trail."""
        starts = {id(trail): self._starts(trail.name) for trail in trails}
        todo = list(trails)
        while todo:
            found = self._directory.lookup({starts[id(trail)][0]: None for trail in todo}, self._clock)
            deeper: list[Trail] = []
            for trail in todo:
                start, *rest = starts[id(trail)]
                authority = found[start]
                if isinstance(authority, Authority):
                    trail.authority, trail.error, trail.lost = authority, None, None
                    continue
                trail.lost = trail.lost or authority
                trail.error = trail.error or _led_nowhere(trail.chain, authority)
                if rest and isinstance(authority, DnsUnreachable) and authority.details.get("answered"):
                    starts[id(trail)] = rest
                    deeper.append(trail)
            todo = deeper

    def _ask(self, trails: Sequence[Trail]) -> None:
        """One question for each trail; moves each to its next hop, its next zone cut, or its answer."""
        heard = self.race({trail.name: trail for trail in trails}, self._rtype)
        cuts: dict[str, Hint] = {}
        for trail in trails:
            trail.heard = heard[trail.name]
            self._read(trail, trail.heard, cuts)
        if cuts:
            found = self._directory.lookup(cuts, self._clock)
            for trail in trails:
                cut = None if trail.answer is None else trail.answer.referral
                if cut is None or trail.error is not None:
                    continue
                trail.answer = None
                authority = found[cut]
                if isinstance(authority, Authority):
                    trail.authority = authority
                else:
                    trail.lost = authority
                    trail.error = _led_nowhere(trail.chain, authority)

    def _read(self, trail: Trail, heard: Heard, cuts: dict[str, Hint]) -> None:
        answer = heard.best
        assert trail.authority is not None
        if answer is None:
            trail.error = _silent(trail, heard)
            return
        alias = answer.alias(trail.name)
        if alias is None:
            trail.answer = answer
            if answer.referral is not None:
                hosts = answer.hosts(answer.referral)
                cuts[answer.referral] = Hint(trail.authority.servers, hosts, answer.additional)
            return
        trail.looped = alias in trail.chain
        trail.first = trail.first or trail.authority
        trail.chain.append(alias)
        trail.authority = None
        if trail.looped:
            trail.error = _loop(trail.chain)
        elif len(trail.chain) > MAX_HOPS + 1:
            trail.error = _too_long(trail.chain)


# --- errors ------------------------------------------------------------------------------------------------------

_CNAME_FIX: Final = "repair the CNAME records, or remove them so that the TXT record can stand at the challenge name"


def _loop(chain: Sequence[str]) -> DnsDelegationError:
    return DnsDelegationError(
        f"the CNAME records of {chain[0]} run in a circle: {show_chain(chain)}",
        fix=_CNAME_FIX,
        details={"chain": list(chain)},
    )


def _too_long(chain: Sequence[str]) -> DnsDelegationError:
    return DnsDelegationError(
        f"the CNAME records of {chain[0]} are more than {MAX_HOPS}: {show_chain(chain)}",
        fix=_CNAME_FIX,
        details={"chain": list(chain)},
    )


def _led_nowhere(chain: Sequence[str], error: CiAcmeError) -> CiAcmeError:
    """The error of a zone lookup, with the CNAMEs that led there."""
    if len(chain) == 1:
        return error
    kind = DnsUnreachable if isinstance(error, DnsUnreachable) else DnsDelegationError
    return kind(
        f"the CNAME records of {chain[0]} lead nowhere ({show_chain(chain)}): {error.message}",
        fix=_CNAME_FIX if kind is DnsDelegationError else error.fix,
        details={**error.details, "chain": list(chain)},
    )


def _silent(trail: Trail, heard: Heard) -> DnsUnreachable:
    apex = trail.authority.apex if trail.authority is not None else trail.name
    way = f" (reached by {show_chain(trail.chain)})" if len(trail.chain) > 1 else ""
    return DnsUnreachable(
        f"no name server of {apex} answers for {trail.name}{way}: {heard.why()}",
        fix="check that this machine may reach the zone's name servers on port 53 over UDP and TCP",
        details={"zone": apex, "chain": trail.chain, "servers": [str(one.server) for one in heard.questions]},
    )
