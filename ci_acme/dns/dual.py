"""A zone that several providers serve at once (`also:`): what each of them has, seen at its own servers."""

from __future__ import annotations

from collections.abc import Mapping

from ci_acme import dnswire
from ci_acme.dns.batch import Race
from ci_acme.dns.desks import Desk
from ci_acme.dns.question import Answer, Question, Server
from ci_acme.dns.resolve import Target
from ci_acme.model.names import to_a_labels
from ci_acme.ports import Clock, Zone


def existing_at(desk: Desk, zone: Zone, targets: Mapping[str, Target], clock: Clock) -> dict[str, Mapping[bytes, int]]:
    """The values that one provider has at each name, with their TTL, as its own servers show them.

    Nothing for a name whose servers are not known to be the provider's, or do not answer: then what the provider says
    of a change decides whether a value is ours.
    """
    servers = {name: servers_of(desk, zone, target) for name, target in targets.items()}
    questions = {name: [Question(server, name, dnswire.TXT) for server in many] for name, many in servers.items()}
    heard = Race(questions, clock, lambda _, answer: answer.usable and answer.aa).run()
    return {name: _values(name, one.best) for name, one in heard.items()}


def servers_of(desk: Desk, zone: Zone, target: Target) -> list[Server]:
    """The name servers that are known to be the provider's: those it says it has, or the zone has been given."""
    own = desk.nameservers()
    if own or target.closed is not None:
        return own
    assigned = {_plain(host) for host in zone.nameservers}
    return [server for server in target.authority.servers if target.authority.hosts.get(server) in assigned]


def _values(name: str, answer: Answer | None) -> Mapping[bytes, int]:
    return {} if answer is None else answer.values(name)


def _plain(host: str) -> str:
    try:
        return dnswire.canonical(to_a_labels(host.rstrip(".")))
    except ValueError:
        return dnswire.canonical(host)
