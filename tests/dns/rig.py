"""Engines of tests: entries for our servers, and what an observer saw."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Any

from ci_acme.clock import SystemClock
from ci_acme.dns.engine import DnsEngine, DnsEntry
from ci_acme.dns.question import Server
from ci_acme.dns.solver import Solver
from ci_acme.model.events import Event, Step, Waiting, Warned
from ci_acme.model.names import challenge_name
from ci_acme.model.secret import Secret
from ci_acme.ports import Challenge, Clock, Deadline, DnsJournal, Placement, ProviderContext, TxtValue, Zone
from ci_acme_providers.rfc2136.adapter import Rfc2136
from ci_acme_providers.rfc2136.config import Rfc2136Settings
from tests.dns.servers import OTHER_SECRET, SECRET

SECRETS = {"env:SECRET": SECRET, "env:OTHER": OTHER_SECRET, "env:BROKEN": "not base64 ~~~"}


def read_secret(reference: str) -> Secret:
    return Secret(SECRETS[reference].encode())


def provider(server: Server | str | list[str], *, clock: Clock | None = None, **settings: Any) -> Rfc2136:
    texts: Any = server if isinstance(server, list) else str(server)
    fields = {"zone": "ci.test", "tsig_name": "ci-acme", "tsig_secret": "env:SECRET", **settings}
    made = Rfc2136Settings(provider="rfc2136", server=texts, **fields)
    return Rfc2136(made, ProviderContext(read_secret, clock or SystemClock()))


def entry(server: Server | str | list[str], zone: str = "ci.test", **settings: Any) -> DnsEntry:
    made = provider(server, zone=zone, **settings)
    return DnsEntry(made._settings, lambda: made)


def engine(
    entries: Sequence[DnsEntry], nameservers: Sequence[Server | str], *, journal: DnsJournal | None = None, **more: Any
) -> DnsEngine:
    return DnsEngine(
        entries, [str(server) for server in nameservers], more.pop("clock", SystemClock()), journal, **more
    )


def challenges(*identifiers: str) -> list[Challenge]:
    """A challenge for each identifier, with a value of its own."""
    return [
        Challenge(name, challenge_name(name), hashlib.sha256(name.encode()).hexdigest()[:43]) for name in identifiers
    ]


class Run:
    """A solver with what happened to it."""

    def __init__(self, made: DnsEngine, certificate: str = "cert") -> None:
        self.events: list[Event] = []
        self.ready: list[Challenge] = []
        self.calls = 0
        self.clock = made.clock
        self.solver: Solver = made.solver(certificate, self.events.append)

    def prepare(self, identifiers: Sequence[str]) -> None:
        self.solver.prepare([challenge_name(identifier) for identifier in identifiers])

    def solve(self, wanted: Sequence[Challenge], seconds: float = 30) -> None:
        self.solver.solve(wanted, self._ready, deadline=Deadline(self.clock, seconds))

    def _ready(self, some: Sequence[Challenge]) -> None:
        self.calls += 1
        self.ready += some

    @property
    def warnings(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Warned)]

    @property
    def steps(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Step)]

    @property
    def waits(self) -> list[Waiting]:
        return [event for event in self.events if isinstance(event, Waiting)]


class Journal:
    """A `DnsJournal` in memory: what is still open."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str, str], str] = {}
        self.log: list[str] = []

    def intend(self, entry: str, zone: Zone, values: Sequence[TxtValue]) -> None:
        self.log.append("intend")
        self.open.update({(entry, value.name, value.value): "intended" for value in values})

    def adopt(
        self, entry: str, zone: Zone, values: Sequence[TxtValue], *, deadline: Deadline
    ) -> Collection[tuple[str, str]]:
        return ()

    def placed(self, entry: str, placements: Sequence[Placement]) -> None:
        self.log.append("placed")
        for one in placements:
            if one.created:
                self.open[entry, one.name, one.value] = "placed"
            else:
                self.open.pop((entry, one.name, one.value), None)

    def released(self, entry: str, zone: Zone, values: Sequence[tuple[str, str]]) -> None:
        self.log.append("released")
        for name, value in values:
            self.open.pop((entry, name, value), None)
