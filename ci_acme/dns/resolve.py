"""Where the TXT value of each challenge really belongs, and what is there already.

CNAMEs of the challenge name are followed at the authoritative servers, without recursion, as a CA's resolver would
follow them (RFC 8555 section 8.4). One TXT question tells all at once: the CNAME, the values that are there with their
TTL, or, by the SOA of a negative answer, the zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ci_acme import dnswire
from ci_acme.dns.ask import Answer, Question, Server
from ci_acme.dns.batch import Heard, Race
from ci_acme.dns.wildcards import made_by_wildcards
from ci_acme.dns.zones import Authority, Directory, Hint
from ci_acme.errors import CiAcmeError, DnsDelegationError, DnsUnreachable
from ci_acme.model.names import is_suffix
from ci_acme.ports import Clock

MAX_HOPS: Final = 8
_MAX_ROUNDS: Final = 4 * MAX_HOPS
"""Each hop may go through a few zone cuts."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a challenge's value belongs: `chain` runs from the challenge name to the effective name.

    `existing` are the values that were there with the TTL of their RRset. `note` is worth a warning.
    """

    chain: tuple[str, ...]
    authority: Authority
    existing: Mapping[bytes, int] = field(default_factory=dict[bytes, int])
    note: str | None = None

    @property
    def name(self) -> str:
        """The effective name."""
        return self.chain[-1]

    @property
    def ttl(self) -> int | None:
        """The TTL of the RRset that is there."""
        return next(iter(self.existing.values()), None)


@dataclass(slots=True, eq=False)
class _Path:
    """The way from one challenge name.

    `authority` is who is asked for the last name of `chain`; `first` is who gave the first CNAME.
    """

    chain: list[str]
    authority: Authority | None = None
    first: Authority | None = None
    answer: Answer | None = None
    end: Target | CiAcmeError | None = None
    note: str | None = None

    @property
    def name(self) -> str:
        return self.chain[-1]


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


class Locator:
    """Follows challenge names to their effective names, all at once."""

    def __init__(self, directory: Directory, zones: Sequence[str], clock: Clock) -> None:
        self._directory = directory
        self._zones = zones
        self._clock = clock
        self._silent: set[Server] = set()

    def locate(self, names: Iterable[str]) -> dict[str, Target | CiAcmeError]:
        """The target of each name; what fails for one name is its value and does not disturb the others."""
        paths = {name: _Path([name]) for name in names}
        for _ in range(_MAX_ROUNDS):
            running = [path for path in paths.values() if path.end is None and path.answer is None]
            if not running:
                break
            self._find_authorities([path for path in running if path.authority is None])
            self._ask_txt([path for path in running if path.end is None])
        self._settle([path for path in paths.values() if path.end is None])
        self._undo_wildcards([path for path in paths.values() if self._strayed(path)])
        return {name: path.end or _too_long(path.chain) for name, path in paths.items()}

    def _find_authorities(self, paths: Sequence[_Path]) -> None:
        """Who is asked first for the last name of each path."""
        starts = {id(path): first_starts(path.name, self._zones) for path in paths}
        todo = list(paths)
        while todo:
            found = self._directory.lookup({starts[id(path)][0]: None for path in todo}, self._clock)
            deeper: list[_Path] = []
            for path in todo:
                start, *rest = starts[id(path)]
                authority = found[start]
                if isinstance(authority, Authority):
                    path.authority, path.end = authority, None
                    continue
                path.end = path.end or _led_nowhere(path.chain, authority)
                if rest and isinstance(authority, DnsUnreachable) and authority.details.get("answered"):
                    starts[id(path)] = rest
                    deeper.append(path)
            todo = deeper

    def _ask_txt(self, paths: Sequence[_Path]) -> None:
        """One TXT question for each path; moves each to its next hop, its next zone cut, or its answer."""
        by_name = {path.name: path for path in paths}
        heard = self._race(by_name, dnswire.TXT)
        cuts: dict[str, Hint] = {}
        for path in paths:
            self._read_txt(path, heard[path.name], cuts)
        if cuts:
            found = self._directory.lookup(cuts, self._clock)
            for path in paths:
                cut = None if path.answer is None else path.answer.referral
                if cut is None or path.end is not None:
                    continue
                path.answer = None
                authority = found[cut]
                if isinstance(authority, Authority):
                    path.authority = authority
                else:
                    path.end = _led_nowhere(path.chain, authority)

    def _read_txt(self, path: _Path, heard: Heard, cuts: dict[str, Hint]) -> None:
        answer = heard.best
        assert path.authority is not None
        if answer is None:
            path.end = _silent(path, heard)
            return
        alias = answer.alias(path.name)
        if alias is None:
            path.answer = answer
            if answer.referral is not None:
                hosts = answer.hosts(answer.referral)
                cuts[answer.referral] = Hint(path.authority.servers, hosts, answer.additional)
            return
        looped = alias in path.chain
        path.first = path.first or path.authority
        path.chain.append(alias)
        path.authority = None
        if looped:
            path.end = _loop(path.chain)
        elif len(path.chain) > MAX_HOPS + 1:
            path.end = _too_long(path.chain)

    def _race(self, paths: Mapping[str, _Path], rtype: int) -> dict[str, Heard]:
        """Ask each path's servers about its name, those that were silent before last."""
        questions: dict[str, list[Question]] = {}
        for name, path in paths.items():
            servers = () if path.authority is None else path.authority.servers
            ordered = sorted(servers, key=self._silent.__contains__)
            questions[name] = [Question(server, name, rtype) for server in ordered]
        heard = Race(questions, self._clock, lambda name, answer: _speaks(answer, name, paths[name])).run()
        self._silent = self._silent.union(*(one.silent for one in heard.values()))
        return heard

    # --- the zone of each answer

    def _settle(self, paths: Sequence[_Path]) -> None:
        """Find the apex of each path's zone: from the SOA of a negative answer, else by asking for it."""
        answered = [path for path in paths if path.answer is not None]
        unknown = {path.name: path for path in answered if path.answer is not None and path.answer.soa is None}
        heard = self._race(unknown, dnswire.SOA)
        apexes: dict[str, Hint] = {}
        for path in answered:
            apex = _apex_of(path, heard.get(path.name))
            if path.authority is not None and apex != path.authority.apex:
                apexes[apex] = Hint(path.authority.servers)
        found = self._directory.lookup(apexes, self._clock)
        for path in answered:
            assert path.answer is not None
            assert path.authority is not None
            authority = found.get(_apex_of(path, heard.get(path.name)), path.authority)
            if isinstance(authority, Authority):
                path.end = Target(tuple(path.chain), authority, path.answer.values(path.name), path.note)
            else:
                path.end = authority

    # --- wildcards

    def _strayed(self, path: _Path) -> bool:
        """Whether the CNAMEs lead out of every configured zone, and the challenge name itself is in one."""
        if path.first is None or not any(is_suffix(zone, path.chain[0]) for zone in self._zones):
            return False
        return not (isinstance(path.end, Target) and any(is_suffix(zone, path.end.name) for zone in self._zones))

    def _undo_wildcards(self, paths: Sequence[_Path]) -> None:
        """Go back to the challenge name itself where a wildcard led astray."""
        aliases = {path.chain[0]: (path.chain[1], path.first) for path in paths if path.first is not None}
        made = made_by_wildcards(aliases, self._clock)
        undone = [path for path in paths if path.chain[0] in made]
        for path in undone:
            soa = made[path.chain[0]]
            path.note = (
                f"the wildcard CNAME to {path.chain[1]} is hidden at {path.chain[0]} while the TXT record is there"
            )
            path.chain, path.authority, path.end = path.chain[:1], path.first, None
            path.answer = Answer(dnswire.NOERROR, aa=True, authority=[] if soa is None else [soa])
        self._settle(undone)


def _speaks(answer: Answer, name: str, path: _Path) -> bool:
    """Whether a server speaks for the zone, or refers to one below; anything else is lame.

    An alias counts whatever the code beside it: it is that of the end of the chain (BIND: SERVFAIL for a loop).
    """
    if path.authority is None:
        return False
    if answer.aa:
        return answer.usable or answer.alias(name) is not None
    cut = answer.referral
    return cut is not None and len(cut) > len(path.authority.apex) and is_suffix(cut, name)


def _apex_of(path: _Path, heard: Heard | None) -> str:
    """The apex that the SOA names, if it lies between the zone that was asked and the name."""
    assert path.answer is not None
    assert path.authority is not None
    soa = path.answer.soa
    if soa is None and heard is not None and heard.best is not None:
        soa = heard.best.soa
    if soa is not None and is_suffix(soa.name, path.name) and is_suffix(path.authority.apex, soa.name):
        return soa.name
    return path.authority.apex


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


def _silent(path: _Path, heard: Heard) -> DnsUnreachable:
    apex = path.authority.apex if path.authority is not None else path.name
    way = f" (reached by {show_chain(path.chain)})" if len(path.chain) > 1 else ""
    return DnsUnreachable(
        f"no name server of {apex} answers for {path.name}{way}: {heard.why()}",
        fix="check that this machine may reach the zone's name servers on port 53 over UDP and TCP",
        details={"zone": apex, "chain": path.chain, "servers": [str(one.server) for one in heard.questions]},
    )
