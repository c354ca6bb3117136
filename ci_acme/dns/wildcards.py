"""CNAMEs that a wildcard makes: `*.preview CNAME load-balancer` is no delegation of the challenge names below it.

A CA's resolver cannot tell the two apart, and neither can a client that only follows; but a record at the name itself
takes the wildcard's place there (RFC 4592 section 2.2.1).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ci_acme import dnswire
from ci_acme.dns.authority import Authority
from ci_acme.dns.batch import Race
from ci_acme.dns.question import Answer, Question
from ci_acme.dnswire import Record
from ci_acme.model.names import is_suffix
from ci_acme.ports import Clock


def made_by_wildcards(aliases: Mapping[str, tuple[str, Authority]], clock: Clock) -> dict[str, Record | None]:
    """Of names with a CNAME (its target, and who said so), those whose CNAME is a wildcard's; with the SOA of the zone.

    A sibling with a random label shows it: only a wildcard answers for that too.
    """
    siblings = {name: f"{os.urandom(12).hex()}.{dnswire.parent_of(name)}" for name in aliases}
    heard = Race(
        {
            name: [Question(server, siblings[name], dnswire.TXT) for server in authority.servers]
            for name, (_, authority) in aliases.items()
        },
        clock,
        lambda _, answer: answer.aa,
    ).run()
    made: dict[str, Record | None] = {}
    for name, (target, authority) in aliases.items():
        best = heard[name].best
        if best is not None and best.alias(siblings[name]) == target:
            made[name] = _soa(name, authority, clock)
    return made


def _soa(name: str, authority: Authority, clock: Clock) -> Record | None:
    """The nearest SOA above a name that itself answers with a CNAME to every question."""
    above: list[str] = []
    while name not in {authority.apex, "."}:
        name = dnswire.parent_of(name)
        above.append(name)
    questions = {one: [Question(server, one, dnswire.SOA) for server in authority.servers] for one in above}
    heard = Race(questions, clock, lambda one, answer: answer.aa and _own_soa(one, answer) is not None).run()
    found = [_own_soa(one, heard[one].best) for one in above]
    return next((soa for soa in found if soa is not None and is_suffix(authority.apex, soa.name)), None)


def _own_soa(name: str, answer: Answer | None) -> Record | None:
    soa = None if answer is None else answer.soa
    return soa if soa is not None and soa.name == name else None
