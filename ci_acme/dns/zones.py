"""Which servers are authoritative for what: found once, shared by all certificates of a run.

Two ways to know. A configured name server that speaks with authority for a zone is one of the servers of that zone, and
the others that are configured and silent count as dead ones. Otherwise a recursive resolver (a configured one, else the
system's, and DNS over HTTPS where those give no answer) is asked for the NS of a zone and the addresses of those hosts,
and for nothing else: a resolver that is asked for a challenge name too early remembers for minutes that there is none
(RFC 2308).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ci_acme import dnswire
from ci_acme.dataclass import dataclass
from ci_acme.dns.addresses import parse_servers, routable, system_resolvers
from ci_acme.dns.authority import Authority, Hint, membership
from ci_acme.dns.batch import Heard, Race, ask_all
from ci_acme.dns.flights import Flights
from ci_acme.dns.question import Question, Server
from ci_acme.errors import CiAcmeError, DnsUnreachable, ZoneNotFound
from ci_acme.model.names import is_suffix
from ci_acme.ports import Clock

if TYPE_CHECKING:
    from ci_acme.dns.https import Https

_GRACE: Final = 0.3
"""Seconds that a configured name server may be slower than the first before it counts as silent."""
_DEPTH: Final = 4
"""How often the answer to an NS question may point to another zone apex."""
K = TypeVar("K", bound=Hashable)


@dataclass(slots=True, eq=False)
class _Search:
    """One lookup under way: the name asked next, then the NS hosts of its zone."""

    start: str
    name: str
    hint: Hint | None
    apex: str | None = None
    hosts: Sequence[str] = ()
    found: Authority | CiAcmeError | None = None

    @property
    def told(self) -> bool:
        """Whether a referral has named the servers already."""
        return self.hint is not None and bool(self.hint.hosts)

    @property
    def lost(self) -> bool:
        """Whether the resolver knows nothing nearer than a top-level domain, or nothing at all."""
        if isinstance(self.found, Authority):
            return False
        apex = self.apex or self.name
        return self.found is not None or (apex != self.start and len(dnswire.labels_of(apex)) <= 1)


Fallback = Callable[[str], Sequence[Server]]
"""Servers that may be asked for a zone that no resolver knows: those of the provider that writes it."""


class Directory:
    """Finds the authority for names, with a cache; any thread may ask.

    `doh` are URLs of resolvers for where port 53 is closed; configured ones among `nameservers` go before them.
    `trust` is a PEM file of what they are trusted by, instead of the system's roots.
    """

    def __init__(
        self,
        nameservers: Sequence[str],
        clock: Clock,
        *,
        fallback: Fallback = lambda _: (),
        doh: Sequence[str] = (),
        trust: Path | None = None,
        port: int = 53,
    ) -> None:
        self._configured = list(nameservers)
        self._clock = clock
        self._fallback = fallback
        self._doh = list(doh)
        self._trust = trust
        self._port = port
        self._flights: Flights[str, Authority | CiAcmeError] = Flights()
        self._lock = threading.Lock()
        self._resolvers: list[Server] | None = None
        self._over_https: list[Server] | None = None
        self._https: Https | None = None

    def lookup(
        self, starts: Mapping[str, Hint | None], clock: Clock | None = None
    ) -> dict[str, Authority | CiAcmeError]:
        """The authority of the zone that each name is in. What cannot be found is an error as a value.

        Raises `ConfigError` if a configured name server is not an address.
        """
        clock = clock or self._clock
        return self._flights.get(
            list(starts), lambda wanted: self._find({key: starts[key] for key in wanted}, clock), clock
        )

    def resolvers(self) -> list[Server]:
        """The addresses that are asked first: the configured ones, else the system's."""
        with self._lock:
            if self._resolvers is None:
                if self._configured:
                    found = [server for text in self._configured for server in parse_servers(text, self._server_of)]
                else:
                    found = system_resolvers()
                self._resolvers = list(dict.fromkeys(found))
            return self._resolvers

    def over_https(self, *, fallback: bool = True) -> list[Server]:
        """The resolvers that are asked over HTTPS: the configured ones, else those for where port 53 is closed."""
        configured = [server for server in self.resolvers() if server.via is not None]
        if configured or not self._doh or not fallback:
            return configured
        with self._lock:
            if self._over_https is None:
                self._over_https = [self._server_of(url) for url in self._doh]
            return self._over_https

    def close(self) -> None:
        """Close the connections to resolvers over HTTPS."""
        with self._lock:
            if self._https is not None:
                self._https.close()

    def _server_of(self, url: str) -> Server:
        if self._https is None:
            from ci_acme.dns.https import Https  # HTTP is for those who need it

            self._https = Https(self._trust)
        return self._https.server(url)

    # --- the search

    def _find(self, starts: Mapping[str, Hint | None], clock: Clock) -> dict[str, Authority | CiAcmeError]:
        searches = [_Search(start, start, hint) for start, hint in starts.items()]
        for _ in range(_DEPTH):
            todo = [search for search in searches if search.found is None and not search.hosts]
            if not todo:
                break
            self._ask_ns(todo, clock)
        for search in searches:
            if search.lost:
                search.found = self._ask_fallback(search, clock) or search.found
        self._ask_addresses([search for search in searches if search.found is None and search.hosts], clock)
        return {search.start: search.found or _no_zone(search.start) for search in searches}

    def _ask_ns(self, searches: Sequence[_Search], clock: Clock) -> None:
        """One round of NS questions; sets each search's apex and hosts, its next name, or its end."""
        heard = self._ask_configured(searches, clock) if self._configured else {}
        questions: dict[str, list[Question]] = {}
        for search in searches:
            if search.found is not None or search.told:
                continue
            if search.hint is not None:
                questions[search.name] = [Question(server, search.name, dnswire.NS) for server in search.hint.via]
            elif not self._configured:
                questions[search.name] = self._recursive(search.name, dnswire.NS)
        heard |= Race(questions, clock).run()
        open_ones = [search for search in searches if search.found is None and search.hint is None]
        heard |= self._ask_over_https({search.name: (search.name, dnswire.NS) for search in open_ones}, heard, clock)
        for search in searches:
            if search.found is None:
                self._read_ns(search, heard.get(search.name))

    def _ask_configured(self, searches: Sequence[_Search], clock: Clock) -> dict[str, Heard]:
        """Ask all configured servers, and settle the searches for which one of them speaks with authority.

        Without recursion where there is a hint: the zone cut may be the challenge name itself. What is asked over HTTPS
        is a resolver, whatever it says of its authority.
        """
        servers = [server for server in self.resolvers() if server.via is None]
        matters = {
            search.name: [Question(server, search.name, dnswire.NS, recurse=search.hint is None) for server in servers]
            for search in searches
        }
        heard = ask_all(matters, clock, grace=_GRACE)
        for search in searches:
            search.found = membership(search.name, heard[search.name])
        return heard

    def _recursive(self, name: str, rtype: int) -> list[Question]:
        return [Question(server, name, rtype, recurse=True) for server in self.resolvers()]

    def _ask_over_https(
        self, matters: Mapping[K, tuple[str, int]], heard: Mapping[K, Heard], clock: Clock
    ) -> dict[K, Heard]:
        """Ask over HTTPS what the resolvers on port 53 did not answer.

        One that answers without a result (REFUSED) is trusted if it is the system's; a configured one may be a server
        of other zones.
        """
        todo: list[K] = []
        for key in matters:
            known = heard.get(key)
            if known is None or (known.best is None and (self._configured or not known.answered)):
                todo.append(key)
        servers = self.over_https() if todo else []
        if not servers:
            return {}
        questions = {key: [Question(server, *matters[key], recurse=True) for server in servers] for key in todo}
        found = Race(questions, clock).run()
        return {key: one for key, one in found.items() if one.best is not None or key not in heard}

    def _read_ns(self, search: _Search, heard: Heard | None) -> None:
        if search.hint is not None and search.told:
            search.apex, search.hosts = search.name, search.hint.hosts
            return
        answer = None if heard is None else heard.best
        if answer is None:
            search.found = _unreachable(search.name, heard)
            return
        hosts = answer.hosts(search.name)
        if hosts:
            search.apex, search.hosts = search.name, hosts
        elif answer.alias(search.name) is not None:
            search.name = dnswire.parent_of(search.name)
        elif answer.soa is not None and is_suffix(answer.soa.name, search.name) and answer.soa.name != search.name:
            search.name = answer.soa.name
        else:
            search.name = dnswire.parent_of(search.name)
        search.hint = search.hint if search.name == search.start else None
        if search.name == "." != search.start and not search.hosts:
            search.found = _no_zone(search.start)

    # --- addresses

    def _ask_addresses(self, searches: Sequence[_Search], clock: Clock) -> None:
        hosts = {host for search in searches for host in search.hosts}
        addresses = self.addresses(hosts, clock)
        for search in searches:
            search.found = self._authority(search, addresses)

    def addresses(self, hosts: Iterable[str], clock: Clock) -> dict[str, list[str]]:
        """The addresses of hosts; a host without one has an empty list."""
        found: dict[str, list[str]] = {host: [] for host in hosts}
        matters = {(host, rtype): (host, rtype) for host in found for rtype in (dnswire.A, dnswire.AAAA)}
        heard = Race({key: self._recursive(*key) for key in matters}, clock).run()
        heard |= self._ask_over_https(matters, heard, clock)
        for (host, rtype), one in heard.items():
            for record in () if one.best is None else one.best.answers:
                if record.rtype == rtype and isinstance(record.data, str):
                    found[host].append(record.data)
        return found

    def names_of(self, authority: Authority, clock: Clock) -> tuple[str, ...]:
        """The NS names of a zone: those that were told on the way, else what its servers say; empty if they do not."""
        if authority.names:
            return authority.names
        questions = [Question(server, authority.apex, dnswire.NS) for server in authority.servers]
        heard = Race({authority.apex: questions}, clock).run()[authority.apex]
        return () if heard.best is None else tuple(heard.best.hosts(authority.apex))

    def _authority(self, search: _Search, addresses: Mapping[str, list[str]]) -> Authority | CiAcmeError:
        glue = search.hint.glue if search.hint is not None else ()
        hosts: dict[Server, str] = {}
        for host in search.hosts:
            known = addresses[host] or [
                record.data
                for record in glue
                if record.name == host and record.rtype in {dnswire.A, dnswire.AAAA} and isinstance(record.data, str)
            ]
            hosts |= {Server(address, self._port): host for address in sorted(known)}
        good, lost = routable(list(hosts))
        apex = search.apex or search.name
        if not hosts:
            return DnsUnreachable(
                f"the name servers of {apex} ({', '.join(search.hosts)}) have no address",
                fix="repair the delegation of the zone, or name its servers in resolver.nameservers",
            )
        note = None
        if lost and good:
            note = f"name servers of {apex} that have no route from here are not checked: {', '.join(map(str, lost))}"
        return Authority(apex, tuple(good or lost), hosts, note, names=tuple(search.hosts))

    # --- the provider's own servers

    def _ask_fallback(self, search: _Search, clock: Clock) -> Authority | None:
        servers = self._fallback(search.start)
        if not servers:
            return None
        questions = [Question(server, search.start, dnswire.NS) for server in servers]
        found = membership(search.start, ask_all({search.start: questions}, clock, grace=_GRACE)[search.start])
        if found is None:
            return None
        note = (
            f"the resolver tells no name servers of {found.apex}: only {', '.join(map(str, found.servers))} is checked"
        )
        return Authority(found.apex, found.servers, {}, note, unlisted=True, names=found.names)


def _unreachable(name: str, heard: Heard | None) -> DnsUnreachable:
    why = (heard.why() if heard is not None else "") or "this machine has no resolver"
    return DnsUnreachable(
        f"the name servers of {name} cannot be found: {why}",
        fix="check the network, or name the zone's servers in resolver.nameservers (host[:port])",
        details={"zone": name, "answered": heard is not None and heard.answered},
    )


def _no_zone(name: str) -> ZoneNotFound:
    return ZoneNotFound(
        f"the zone {name} does not exist in the DNS",
        fix="check the spelling, or name the zone's servers in resolver.nameservers (host[:port])",
        details={"zone": name},
    )
