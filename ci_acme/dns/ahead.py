"""Where challenge records go, looked for beside other work, and what speaks against them before there is an order:
no place for a record, or a credential that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from ci_acme.dns.background import Background
from ci_acme.dns.resolve import Target
from ci_acme.errors import CiAcmeError, DnsUnreachable, Interrupted
from ci_acme.ports import Clock, Deadline

if TYPE_CHECKING:
    from ci_acme.dns.engine import DnsEngine

_SECONDS: Final = 10.0


class Search:
    """The search for the zones of one certificate's names, in a thread of its own."""

    def __init__(self, engine: DnsEngine) -> None:
        self._engine = engine
        self._running: Background[dict[str, Target | CiAcmeError]] | None = None
        self._names: frozenset[str] = frozenset()
        self._objection: CiAcmeError | None = None

    def begin(self, names: Iterable[str], *, objecting: bool = False) -> None:
        """Begin, unless a search for these names has begun; `objecting` looks for an `objection` too."""
        names = sorted(set(names))
        if not objecting and self._running is not None and self._names.issuperset(names):
            return
        self._names = frozenset(names)

        def search(clock: Clock) -> dict[str, Target | CiAcmeError]:
            found = self._engine.locate(names, clock)
            if objecting:
                self._objection = _objection(self._engine, found, clock)
            return found

        self._running = Background(search, self._engine.clock, "ci-acme-zones")

    def objection(self, deadline: Deadline) -> CiAcmeError | None:
        """What speaks for certain against the names, if that is known by the deadline. Raises what broke the search."""
        if self._running is None or not self._running.ended(deadline):
            return None
        self._running.result()
        return self._objection

    def found(self, names: Iterable[str]) -> dict[str, Target | CiAcmeError]:
        """What is known of each name, in their order; names that nobody has looked for are looked for now."""
        wanted = sorted(set(names))
        found: dict[str, Target | CiAcmeError] = {}
        if self._running is not None and not self._names.isdisjoint(wanted):
            found = self._running.result()
        missing = [name for name in wanted if name not in found]
        if missing:
            found = {**found, **self._engine.locate(missing, self._engine.clock)}
        return {name: found[name] for name in wanted}

    def call_off(self) -> None:
        """Nobody waits for it any more."""
        if self._running is not None:
            self._running.call_off()
            self._running = None


def _objection(engine: DnsEngine, targets: Mapping[str, Target | CiAcmeError], clock: Clock) -> CiAcmeError | None:
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
