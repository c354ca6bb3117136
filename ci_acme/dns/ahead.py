"""What speaks against a challenge before there is an order: no place for its record, or a credential that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ci_acme.dns.resolve import Target
from ci_acme.errors import CiAcmeError, DnsUnreachable, Interrupted
from ci_acme.ports import Clock, Deadline

if TYPE_CHECKING:
    from ci_acme.dns.engine import DnsEngine

_SECONDS: Final = 10.0


def objection(engine: DnsEngine, targets: Mapping[str, Target | CiAcmeError], clock: Clock) -> CiAcmeError | None:
    """The error that the first name which cannot be served will end in, None if nothing is known against any.

    Only what will not be better a moment later counts. Name servers of ours that do not answer, and providers that are
    out of reach, say nothing: the order may be ready without a challenge. Nothing is written.
    """
    deadline = Deadline(clock, _SECONDS)
    for name, target in targets.items():
        if isinstance(target, Target):
            found = _against(engine, target, deadline)
            if found is not None:
                return found
        elif not (isinstance(target, DnsUnreachable) and engine.serves(name)):
            return target
    return None


def _against(engine: DnsEngine, target: Target, deadline: Deadline) -> CiAcmeError | None:
    try:
        for desk in engine.desk_for(target).all:
            choice = desk.find_zone(target, engine.directory, deadline)
            desk.prove_credentials(choice.zone, deadline)
    except Interrupted:
        raise
    except CiAcmeError as error:
        return None if error.retryable else error
    return None
