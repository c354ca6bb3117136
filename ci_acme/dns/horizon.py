"""Split horizon: two zones of one name, where this machine sees one and a change goes to the other.

Told apart by what the provider's own servers (and a resolver over HTTPS, if one is configured) say of the zone, beside
the servers that this machine finds: other NS names or another primary are another zone; the same with another serial
is a transfer that lags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ci_acme import dnswire
from ci_acme.dataclass import dataclass
from ci_acme.dns.authority import Authority
from ci_acme.dns.batch import ask
from ci_acme.dns.delegation import inner_view
from ci_acme.dns.desks import Desk
from ci_acme.dns.dual import servers_of
from ci_acme.dns.question import Answer, Question, Reply, Server
from ci_acme.dns.resolve import Target
from ci_acme.dnswire import Soa
from ci_acme.errors import DnsPropagationTimeout
from ci_acme.ports import Clock, Deadline, Zone

if TYPE_CHECKING:
    from ci_acme.dns.engine import DnsEngine

_SECONDS: Final = 3.0
_FIX: Final = (
    "name the servers that a CA would ask in resolver.nameservers (https://…/dns-query for the public view), or write "
    "to the provider of the zone that this machine sees"
)


@dataclass(frozen=True, slots=True)
class View:
    """What one server says of a zone; `names` are its NS. Fields are empty where it says nothing."""

    server: Server
    names: frozenset[str] = frozenset()
    primary: str = ""
    serial: int | None = None

    @property
    def speaks(self) -> bool:
        """Whether it has the zone at all."""
        return self.serial is not None

    def differs(self, other: View) -> bool:
        """Whether it is another zone of the same name: a copy of one has its NS and its primary."""
        return bool(self.names) and bool(other.names) and not self.names & other.names


def explained(
    error: DnsPropagationTimeout, groups: Sequence[tuple[Desk, Zone, Mapping[str, Target]]], engine: DnsEngine
) -> DnsPropagationTimeout:
    """The error with why the record may never appear, if that can be seen."""
    name = error.details.get("name")
    for desk, zone, targets in groups:
        target = targets.get(str(name))
        if target is None:
            continue
        clock = engine.clock
        said = differences(desk, zone, target, engine.directory.over_https(fallback=False), clock)
        if said:
            details = {**error.details, "split_horizon": said}
            return DnsPropagationTimeout(f"{error.message}; {'; '.join(said)}", fix=_FIX, details=details)
    return error


def differences(desk: Desk, zone: Zone, target: Target, resolvers: Sequence[Server], clock: Clock) -> list[str]:
    """Why a CA may see another zone than this machine, or than the one that is written to; empty if nothing says so.

    `resolvers` are those over HTTPS that the config names.
    """
    said = [text for text in (inner_view(target.authority),) if text is not None]
    if target.closed is not None:
        return said
    authority = target.authority
    own = [server for server in servers_of(desk, zone, target) if server not in authority.servers]
    views = look(authority.apex, [*authority.servers, *own, *resolvers], clock)
    ours = [views[server] for server in authority.servers if views[server].speaks]
    said += _between(authority, ours)
    alone = len(desk.all) == 1 and desk.label == desk.zone  # several primaries count their serials by themselves
    for server in own:
        said += _beside(authority, ours, views[server], f"the provider's server {server}", serial=alone)
    for server in resolvers:
        said += _beside(authority, ours, views[server], f"the resolver {server}", serial=False)
    return said


def look(apex: str, servers: Sequence[Server], clock: Clock) -> dict[Server, View]:
    """What each server says of a zone."""
    pairs = [(server, rtype) for server in servers for rtype in (dnswire.SOA, dnswire.NS)]
    questions = [Question(server, apex, rtype, recurse=server.via is not None) for server, rtype in pairs]
    replies = dict(zip(pairs, ask(questions, clock, deadline=Deadline(clock, _SECONDS)), strict=True))
    return {
        server: _view(server, apex, replies[server, dnswire.SOA], replies[server, dnswire.NS]) for server in servers
    }


def _view(server: Server, apex: str, soa: Reply, names: Reply) -> View:
    hosts = names.hosts(apex) if isinstance(names, Answer) and names.usable else []
    record = soa.soa if isinstance(soa, Answer) and soa.usable else None
    if record is None or record.name != apex or not isinstance(record.data, Soa):
        return View(server, frozenset(hosts))
    return View(server, frozenset(hosts), record.data.mname, record.data.serial)


def _between(authority: Authority, views: Sequence[View]) -> list[str]:
    """Servers of one zone that have two zones."""
    for view in views[1:]:
        if view.differs(views[0]):
            both = f"{authority.label(views[0].server)} and {authority.label(view.server)}"
            names = f"NS {_list(views[0].names)} and {_list(view.names)}"
            return [f"split horizon: {both} have different zones {authority.apex} ({names})"]
    return []


def _beside(authority: Authority, ours: Sequence[View], view: View, who: str, *, serial: bool) -> list[str]:
    """How a view differs from what this machine finds."""
    if not ours:
        return []
    mine, found = ours[0], authority.label(ours[0].server)
    if view.differs(mine):
        theirs = f"{who} has NS {_list(view.names)} for {authority.apex}"
        return [f"split horizon: {theirs}, and {found}, which this machine finds, has NS {_list(mine.names)}"]
    if serial and view.speaks and mine.speaks and view.serial != mine.serial:
        theirs = f"{who} has serial {view.serial} of {authority.apex}, and {found} has {mine.serial}"
        return [f"{theirs}: the transfer from one to the other lags, or there is none"]
    return []


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
