"""The `ChallengeSolver` for standing records: looks whether they are there. Needs no DNS provider, writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ci_acme.core.standing import judge, record
from ci_acme.dns.background import Background
from ci_acme.dns.follow import show_chain
from ci_acme.dns.resolve import Target
from ci_acme.errors import CiAcmeError, DnsRecordMissing
from ci_acme.model.events import Observer, Step, Warned
from ci_acme.model.names import is_wildcard, standing_name
from ci_acme.model.records import format_time
from ci_acme.ports import Challenge, Deadline, StandingChallenge

if TYPE_CHECKING:
    from ci_acme.dns.engine import DnsEngine

SOON: Final = timedelta(days=30)
"""A record that ends sooner is worth a warning."""


class StandingSolver:
    """Judges the records of one certificate, as the zones' authoritative servers have them."""

    def __init__(self, engine: DnsEngine, certificate: str, notify: Observer) -> None:
        self._engine = engine
        self._certificate = certificate
        self._notify = notify
        self._search: Background[dict[str, Target | CiAcmeError]] | None = None
        self._searched: frozenset[str] = frozenset()
        self._warned: set[str] = set()

    @property
    def changes(self) -> int:
        return 0

    @property
    def propagation(self) -> str | None:
        return None

    def prepare(self, names: Sequence[str]) -> None:
        if self._search is not None and self._searched.issuperset(names):
            return  # it has begun before there was an order
        engine, wanted = self._engine, sorted(set(names))
        self._searched = frozenset(wanted)
        self._search = Background(lambda clock: engine.locate(wanted, clock), engine.clock, "ci-acme-zones")

    def foresee(self, names: Sequence[str], issuers: Sequence[str], account: str, deadline: Deadline) -> None:
        """Before an order: raise `DnsRecordMissing` if a record is known to be missing by the deadline.

        `issuers` are those that the CA's directory names. Zones that cannot be asked say nothing.
        """
        if not issuers or (self._search is not None and not self._search.ended(deadline)):
            return
        found = self.judge_all(expected(names, issuers, account))
        missing = {challenge: said for challenge, said in found.items() if isinstance(said, str)}
        if missing:
            raise missing_records(missing)

    def solve(
        self, challenges: Sequence[Challenge], ready: Callable[[Sequence[Challenge]], None], *, deadline: Deadline
    ) -> None:
        standing = [challenge for challenge in challenges if isinstance(challenge, StandingChallenge)]
        missing: dict[StandingChallenge, str] = {}
        for challenge, said in self.judge_all(standing).items():
            if isinstance(said, CiAcmeError):
                raise said
            if said is not None:
                missing[challenge] = said
        if missing:
            raise missing_records(missing)
        self._notify(Step(self._certificate, f"saw {len(standing)} standing record{'s' if len(standing) > 1 else ''}"))
        ready(standing)

    def judge_all(self, challenges: Sequence[StandingChallenge]) -> dict[StandingChallenge, str | CiAcmeError | None]:
        """Why each record does not permit us, the error of a zone that cannot be asked, None if it does."""
        targets = self._targets({challenge.name for challenge in challenges})
        return {challenge: self._judge(challenge, targets[challenge.name]) for challenge in challenges}

    def cleanup(self) -> None:
        if self._search is not None:
            self._search.call_off()
            self._search = None

    def _targets(self, names: set[str]) -> dict[str, Target | CiAcmeError]:
        found = {} if self._search is None else self._search.result()
        missing = sorted(names - found.keys())
        return {**found, **(self._engine.locate(missing, self._engine.clock) if missing else {})}

    def _judge(self, challenge: StandingChallenge, target: Target | CiAcmeError) -> str | CiAcmeError | None:
        if not isinstance(target, Target):
            return target
        if target.closed is not None:
            return target.closed
        if len(target.chain) > 1:
            return f"it is a CNAME ({show_chain(target.chain)}), which CAs do not follow for this record"
        now = self._engine.clock.now()
        found, why = judge(
            target.existing,
            issuers=challenge.issuers,
            account=challenge.account,
            wildcard=challenge.wildcard,
            now=now,
        )
        if found is None:
            return why
        if found.until is not None and found.until - now < SOON:
            text = f"the standing record at {challenge.name} ends at {format_time(found.until)}"
            if text not in self._warned:
                self._warned.add(text)
                self._notify(Warned(self._certificate, text))
        return None


def expected(names: Sequence[str], issuers: Sequence[str], account: str) -> list[StandingChallenge]:
    """What the CA will ask for, as far as its directory tells: records for one of its `issuers` and our account."""
    known = tuple(issuer.lower() for issuer in issuers)
    wanted = []
    for name in dict.fromkeys(names):
        wildcard = is_wildcard(name)
        value = record(known[0], account, wildcard=wildcard)
        wanted.append(StandingChallenge(name, standing_name(name), value, known, account, wildcard))
    return wanted


def _quoted(value: str) -> str:
    """In master file form: strings of 255 octets at most."""
    return " ".join(f'"{value[start : start + 255]}"' for start in range(0, len(value), 255))


def missing_records(missing: dict[StandingChallenge, str]) -> DnsRecordMissing:
    """One error with the exact records to publish. A record with policy=wildcard serves the plain name, too."""
    said = "; ".join(f"{challenge.name}: {why}" for challenge, why in missing.items())
    values: dict[str, str] = {}
    for challenge in sorted(missing, key=lambda item: item.wildcard):
        values[challenge.name] = challenge.value
    records = [f"{name}. IN TXT {_quoted(value)}" for name, value in values.items()]
    return DnsRecordMissing(
        f"no standing record permits this account: {said}",
        fix=f"publish: {'; '.join(records)}",
        details={"records": [{"name": name, "type": "TXT", "value": value} for name, value in values.items()]},
    )
