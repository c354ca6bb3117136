"""The CAA records that are relevant to a name (RFC 8659 section 3), as a CA would find them.

The name and every name above it are asked at once, at the authoritative servers: no cache is between, so that a record
that was just repaired counts, and no resolver learns too early that a name does not exist. CNAMEs are followed, and
where one leads to nothing the search goes on above the name itself, not above its target. Only the top-level domain is
asked through a resolver.

A CA takes a failure as a refusal (CA/B Forum BR 3.2.2.8), so what is surely one is an error: servers that all answer
and none with an answer to this question, servers that answer other questions and not this one, CNAMEs in a circle, and
a zone that a resolver refuses for its DNSSEC (which takes one that validates: authoritative servers do not). What only
this machine cannot see is a doubt, as the CA may see it: servers that do not answer from here at all, and zones that
the configured name servers do not serve.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ci_acme import dnswire
from ci_acme.dns.authority import Authority
from ci_acme.dns.batch import Race, ask, describe
from ci_acme.dns.flights import Flights
from ci_acme.dns.follow import Follower, Trail, first_starts, show_chain
from ci_acme.dns.question import Answer, Question, Reply, Server
from ci_acme.dns.zones import Directory
from ci_acme.errors import CaaUnanswered, CiAcmeError, DnssecBroken, DnsUnreachable, ZoneNotFound
from ci_acme.model.names import challenge_name
from ci_acme.ports import Clock

if TYPE_CHECKING:
    from ci_acme.core.caa import CaaRecord  # most names have no records, and then nothing of it is needed

_ANSWER_FIX: Final = (
    "make every name server of the zone answer CAA questions (an empty answer where there is no record): "
    "a CA takes a failure as a refusal"
)
_REACH_FIX: Final = "check that this machine may reach the zone's name servers on port 53 over UDP and TCP"


class CaaAt(NamedTuple):
    """The CAA records of one name; `owner` holds them, another name than `name` behind a CNAME.

    `error` is what a CA would fail at as well. `doubt` says why they could not be seen from here; `unserved` marks the
    kind of doubt that the configured name servers do not serve the name at all.
    """

    name: str
    owner: str
    records: tuple[CaaRecord, ...] = ()
    error: CiAcmeError | None = None
    doubt: CiAcmeError | None = None
    unserved: bool = False


class RelevantCaa(NamedTuple):
    """What the climb from a name found: the nearest records, or none (`owner` is None), or why that is not known.

    `unseen` are names above that the configured name servers do not serve; they count as empty.
    """

    owner: str | None = None
    records: tuple[CaaRecord, ...] = ()
    error: CiAcmeError | None = None
    doubt: CiAcmeError | None = None
    unseen: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether no records were found so far, and nothing hides any."""
        return self.owner is None and self.error is None and self.doubt is None


class CaaFinder:
    """Finds relevant record sets, each name asked once a run; any thread may ask."""

    def __init__(self, directory: Directory, zones: Sequence[str]) -> None:
        self._directory = directory
        self._zones = zones
        self._flights: Flights[str, CaaAt] = Flights()

    def find(self, names: Iterable[str], clock: Clock) -> dict[str, RelevantCaa]:
        """The relevant record set of each name (without `*.`). What fails for one name is in its result.

        Raises `ConfigError` for a configured name server that is not an address, and `Interrupted`.
        """
        climbs = {name: _above(name) for name in names}
        below = list(dict.fromkeys(step for climb in climbs.values() for step in climb if "." in step))
        known = self._flights.get(below, lambda wanted: self._ask(wanted, clock), clock)
        found = {name: _climb(climb, known) for name, climb in climbs.items()}
        tops = sorted({climbs[name][-1] for name, one in found.items() if one.nothing})
        known |= self._flights.get(tops, lambda wanted: self._ask_tops(wanted, clock), clock)
        return {name: _climb(climbs[name], known) if one.nothing else one for name, one in found.items()}

    # --- asking

    def _starts(self, name: str) -> list[str]:
        """As for the challenge of the name, so that both look up the same zones."""
        return first_starts(challenge_name(name), self._zones)

    def _ask(self, names: Sequence[str], clock: Clock) -> dict[str, CaaAt]:
        """The records of names below the top-level domains."""
        trails = Follower(self._directory, dnswire.CAA, self._starts, clock).follow(names)
        refused = self._refused_zones(trails.values(), clock)
        mute = _mute_zones(trails.values(), clock)
        return {name: self._read(name, trail, refused, mute) for name, trail in trails.items()}

    def _ask_tops(self, names: Sequence[str], clock: Clock) -> dict[str, CaaAt]:
        """The records of top-level domains; one that cannot be asked counts as empty, as its CAs issue below it."""
        resolvers = self._directory.resolvers()
        matters = {name: [Question(server, name, dnswire.CAA, recurse=True) for server in resolvers] for name in names}
        found: dict[str, CaaAt] = {}
        for name, heard in Race(matters, clock).run().items():
            octets = [] if heard.best is None else heard.best.octets(name, dnswire.CAA)
            found[name] = _records(name, name, octets)
        return found

    # --- failures

    def _refused_zones(self, trails: Iterable[Trail], clock: Clock) -> dict[str, DnssecBroken | None]:
        """The zones that a resolver answers SERVFAIL for, by the name looked up, with the error if DNSSEC is why.

        Only zones that no resolver gave servers for are tried. A resolver that validates gives the answer with CD=1;
        asked again without, it must still refuse, or the first failure was a passing one.
        """
        zones: dict[str, None] = {}
        for trail in trails:
            if isinstance(trail.lost, DnsUnreachable) and trail.lost.details.get("answered"):
                zones[self._starts(trail.name)[0]] = None
            elif trail.authority is not None and trail.authority.unlisted:
                zones[trail.authority.apex] = None
        if not zones:
            return {}
        pairs = [(zone, server) for zone in zones for server in self._directory.resolvers()]
        failing = _still(pairs, clock)
        bogus = _still(_still(failing, clock, unchecked=True), clock)
        return {**{zone: None for zone, _ in failing}, **{zone: _bogus(zone, server) for zone, server in bogus}}

    def _read(
        self, name: str, trail: Trail, refused: Mapping[str, DnssecBroken | None], mute: Mapping[str, Sequence[Reply]]
    ) -> CaaAt:
        zone = self._starts(trail.name)[0] if trail.authority is None else trail.authority.apex
        bogus = refused.get(zone)
        if bogus is not None:
            return CaaAt(name, trail.name, error=bogus)
        if trail.answer is not None:
            return _records(name, trail.name, trail.answer.octets(trail.name, dnswire.CAA))
        assert trail.error is not None
        if trail.looped:
            return CaaAt(name, trail.name, error=CaaUnanswered(trail.error.message, fix="repair the CNAME records"))
        if trail.authority is not None and trail.lost is None:
            return _failed(name, trail, trail.authority, mute.get(zone, ()))
        if isinstance(trail.lost, ZoneNotFound):  # no such zone, as at the end of a CNAME to nowhere: no records
            return CaaAt(name, trail.name)
        unserved = trail.lost is not None and bool(trail.lost.details.get("answered")) and zone not in refused
        return CaaAt(name, trail.name, doubt=trail.error, unserved=unserved)


def _still(pairs: Sequence[tuple[str, Server]], clock: Clock, *, unchecked: bool = False) -> list[tuple[str, Server]]:
    """The pairs of zone and resolver where CAA gives SERVFAIL; with `unchecked`, where it gives an answer with CD=1."""
    questions = [Question(server, zone, dnswire.CAA, recurse=True, unchecked=unchecked) for zone, server in pairs]
    kept: list[tuple[str, Server]] = []
    for pair, reply in zip(pairs, ask(questions, clock), strict=True):
        if isinstance(reply, Answer) and (reply.usable if unchecked else reply.rcode == dnswire.SERVFAIL):
            kept.append(pair)
    return kept


def _above(name: str) -> list[str]:
    """The name and all names above it, without the root."""
    labels = dnswire.labels_of(name)
    return [".".join(labels[index:]) for index in range(len(labels))]


def _climb(climb: Sequence[str], known: Mapping[str, CaaAt]) -> RelevantCaa:
    """The first non-empty record set on the way up; a failure below it hides what may be there."""
    unseen: list[str] = []
    for step in climb:
        at = known.get(step)
        if at is None:
            continue
        if at.error is not None or (at.doubt is not None and not (at.unserved and step != climb[0])):
            return RelevantCaa(error=at.error, doubt=at.doubt, unseen=tuple(unseen))
        if at.unserved:
            unseen.append(step)
        if at.records:
            return RelevantCaa(at.owner, at.records, unseen=tuple(unseen))
    return RelevantCaa(unseen=tuple(unseen))


def _records(name: str, owner: str, octets: Sequence[bytes]) -> CaaAt:
    if not octets:
        return CaaAt(name, owner)
    from ci_acme.core.caa import parse_rdata

    try:
        return CaaAt(name, owner, tuple(map(parse_rdata, octets)))
    except ValueError as error:
        message = f"a CAA record of {owner} cannot be read: {error}"
        return CaaAt(name, owner, error=CaaUnanswered(message, fix="write it as RFC 8659 section 4 has it"))


def _failed(name: str, trail: Trail, authority: Authority, others: Sequence[Reply]) -> CaaAt:
    """No server of the zone gave an answer. `others` are their replies to another question, if all were silent."""
    replies = {} if trail.heard is None else trail.heard.replies
    way = f" (reached by {show_chain(trail.chain)})" if len(trail.chain) > 1 else ""
    said = "; ".join(f"{authority.label(server)} {describe(reply)}" for server, reply in replies.items())
    text = f"the name servers of {authority.apex} fail for the CAA records of {trail.name}{way}: {said}"
    details = {"name": trail.name, "chain": list(trail.chain), "zone": authority.apex}
    picky = any(isinstance(reply, Answer) and reply.usable for reply in others)
    if not picky and not all(isinstance(reply, Answer) for reply in replies.values()):
        return CaaAt(name, trail.name, doubt=DnsUnreachable(text, fix=_REACH_FIX, details=details))
    text += "; they do answer for SOA" if picky else ""
    return CaaAt(name, trail.name, error=CaaUnanswered(text, fix=_ANSWER_FIX, details=details))


def _mute_zones(trails: Iterable[Trail], clock: Clock) -> dict[str, list[Reply]]:
    """For zones whose servers were all silent about CAA: their replies for SOA, by apex."""
    silent: dict[str, Authority] = {}
    for trail in trails:
        if trail.error is None or trail.authority is None or trail.heard is None or trail.heard.answered:
            continue
        silent[trail.authority.apex] = trail.authority
    pairs = [(apex, server) for apex, authority in silent.items() for server in authority.servers]
    replies = ask([Question(server, apex, dnswire.SOA) for apex, server in pairs], clock)
    found: dict[str, list[Reply]] = {}
    for (apex, _), reply in zip(pairs, replies, strict=True):
        found.setdefault(apex, []).append(reply)
    return found


def _bogus(zone: str, server: Server) -> DnssecBroken:
    return DnssecBroken(
        f"DNSSEC of {zone} is broken: the resolver {server} answers SERVFAIL, and an answer without validation (CD=1)",
        fix=f"sign {zone} again or repair its DS records (`delv {zone} SOA` says which); until then CAs refuse it",
        details={"zone": zone, "resolver": str(server)},
    )
