"""The servers that speak for a zone, and how replies tell which they are: values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ci_acme import dnswire
from ci_acme.dataclass import dataclass, field
from ci_acme.dns.batch import Heard
from ci_acme.dns.question import Answer, Server
from ci_acme.dnswire import Record
from ci_acme.model.names import is_suffix


@dataclass(frozen=True, slots=True)
class Authority:
    """A zone and the addresses that serve it. `hosts` names addresses by their NS; `note` is worth a warning.

    `names` are the NS names, as far as they were told on the way. `unlisted` says that no resolver knows the zone here:
    the addresses are those that its provider writes to.
    """

    apex: str
    servers: tuple[Server, ...]
    hosts: Mapping[Server, str] = field(default_factory=dict[Server, str])
    note: str | None = None
    unlisted: bool = False
    names: tuple[str, ...] = ()

    @property
    def delegated(self) -> bool:
        """Whether a delegation led to the addresses, rather than the config."""
        return bool(self.hosts) and not self.unlisted

    def label(self, server: Server) -> str:
        """`ns1.example.com (192.0.2.1:53)`, or the bare address."""
        host = self.hosts.get(server)
        return str(server) if host is None else f"{host} ({server})"


@dataclass(frozen=True, slots=True)
class Hint:
    """What an authoritative server said of a zone cut: `hosts` and `glue` of a referral, or just who said it."""

    via: Sequence[Server]
    hosts: Sequence[str] = ()
    glue: Sequence[Record] = ()


def membership(name: str, heard: Heard) -> Authority | None:
    """The servers that speak with authority for the zone of `name`, and the silent ones; None if none does."""
    cuts: dict[Server, str] = {}
    names: dict[str, set[str]] = {}
    for server, reply in heard.replies.items():
        if isinstance(reply, Answer) and reply.aa and reply.usable:
            cut = _apex(name, reply)
            if cut is not None:
                cuts[server] = cut
                names.setdefault(cut, set()).update(reply.hosts(cut))
    if not cuts:
        return None
    apex = max(cuts.values(), key=len)
    silent = [server for server, reply in heard.replies.items() if not isinstance(reply, Answer)]
    members = [server for server, cut in cuts.items() if cut == apex]
    return Authority(apex, tuple(members + silent), names=tuple(sorted(names[apex])))


def _apex(name: str, answer: Answer) -> str | None:
    """The zone apex that an authoritative reply to an NS or SOA question at `name` shows."""
    if any(record.name == name and record.rtype in {dnswire.NS, dnswire.SOA} for record in answer.answers):
        return name
    soa = answer.soa
    return soa.name if soa is not None and is_suffix(soa.name, name) else None
