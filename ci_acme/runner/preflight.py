"""What CAA, DNSSEC and delegations say about an order before it is made: a failure that is foreseen costs no order.

The search runs in the background while the account is opened; nothing is asked of the CA but what its directory says.
What a CA that names itself (`meta.caaIdentities`) would surely refuse is an error. Everything else is a warning: what
cannot be seen from this machine, and all findings for a CA that does not name itself, as it may not look at CAA at all.

Where a challenge's record belongs is looked for as well if nothing was ever issued for the certificate: no DNS entry of
the config that serves it, a zone that the provider does not have, CNAMEs to nowhere, a delegation to servers that do
not answer, and a credential that the provider rejects end the run before an order. A renewal is not held up, and no
account that is bound to an external one: their names may be validated already, so that no record is needed. Neither is
an order held up by silence (docs/decisions/0010-dns-before-an-order.md). A standing record that is missing always ends
the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from ci_acme.core.quirks import known_ca
from ci_acme.dns.background import Background
from ci_acme.dns.solver import Solver
from ci_acme.errors import CaaForbidden, CiAcmeError, Interrupted, StateError, ZoneNotFound
from ci_acme.model.events import Step, Warned
from ci_acme.model.names import base_name, is_wildcard, standing_name
from ci_acme.model.records import format_time
from ci_acme.runner.solvers import is_preauthorized, method_of, names_for_check

if TYPE_CHECKING:
    from ci_acme.core.caa import Verdict
    from ci_acme.dns.caa import RelevantCaa
    from ci_acme.dns.standing import StandingSolver
    from ci_acme.model.spec import CertificateSpec
    from ci_acme.ports import ChallengeSolver
    from ci_acme.runner.services import Services

_PATIENCE: Final = 10.0
"""Seconds that an order waits for the search; what cannot be seen until then is left to the CA."""
_REUSE: Final = timedelta(days=30)
"""No CA that is known takes an old validation of a name for longer in a new order."""
_SHOWN: Final = 3


class Judgement(NamedTuple):
    """What holds alike for some identifiers: an error, or else words of how it stands.

    `level` is ok, warning or error; `decided` is False where there is nothing to judge.
    """

    identifiers: tuple[str, ...]
    level: str
    text: str
    fix: str = ""
    decided: bool = True
    error: CiAcmeError | None = None

    @property
    def subject(self) -> str:
        """The identifiers, the first few by name."""
        return show_names(self.identifiers)


class Preflight:
    """The search for one certificate's CAA records, begun when it is made.

    A `solver` looks ahead as well, but before a `renewal` only one for standing records.
    """

    def __init__(
        self, spec: CertificateSpec, services: Services, solver: ChallengeSolver | None = None, *, renewal: bool = False
    ) -> None:
        self._spec = spec
        self._certificate = spec.name
        self._names = names = spec.names
        self._method = method_of(spec.authority, services)
        self._services = services
        dns, bases = services.dns, bases_of(names)
        self._search: Background[dict[str, RelevantCaa]] = Background(
            lambda clock: dns.caa(bases, clock), services.clock, "ci-acme-caa"
        )
        self._passed = False
        self._ahead = False
        self._solver: Solver | None = None
        self._standing: StandingSolver | None = None
        if solver is not None and self._method == "dns-persist-01":
            from ci_acme.dns.standing import StandingSolver

            assert isinstance(solver, StandingSolver)
            self._standing = solver
            solver.prepare([standing_name(name) for name in names])
        elif isinstance(solver, Solver) and not renewal:
            self._solver = solver
            self._ahead = self._look_ahead(None)

    def require(self, identities: Sequence[str], account: str | None) -> None:
        """Wait for the search and judge. Raises `CaaForbidden`, `CaaUnanswered`, `DnssecBroken`; warns of doubts.

        Raises another `DnsError` for a challenge that has no place, and `DnsRecordMissing`.
        """
        self._require_caa(identities, account)
        if self._solver is not None and (self._ahead or self._look_ahead(account)):
            self._require_places(self._solver)
        if self._standing is not None and account is not None:
            within = self._services.deadline.within(_PATIENCE)
            self._standing.foresee(self._names, identities, account, within)
        self._passed = True

    def _look_ahead(self, account: str | None) -> bool:
        """Begin to look for the places of records, if they are known: the names of some depend on the account."""
        wanted = challenge_names(self._spec, self._services, account)
        if wanted and self._solver is not None:
            self._solver.look_ahead(wanted)
        return bool(wanted)

    def _require_places(self, solver: Solver) -> None:
        try:
            solver.foresee(self._services.deadline.within(_PATIENCE))
        except Interrupted:
            raise
        except CiAcmeError as error:
            if self._issued_lately():
                text = f"{error.message}; ordering all the same: the CA may still know the names to be valid"
                self._services.notify(Warned(self._certificate, text))
                return
            if not isinstance(error, ZoneNotFound):
                raise
            fix = f"{error.fix}; or say preauthorized: true in the authority, if the CA validates the name by itself"
            raise ZoneNotFound(error.message, fix=fix, details=error.details) from None

    def _issued_lately(self) -> bool:
        """Whether the state knows a certificate of this CA for all of the names that is younger than any reuse."""
        from ci_acme.state.ledger import Ledger

        since = format_time(self._services.clock.now() - _REUSE)
        try:
            entries = Ledger(self._services.state()).entries()
        except StateError:
            return False
        return any(
            one.get("directory") == self._spec.directory
            and set(self._names) <= set(one.get("names") or ())
            and str(one.get("not_before", "")) > since
            for one in entries
        )

    def _require_caa(self, identities: Sequence[str], account: str | None) -> None:
        notify = self._services.notify
        judgements = self._judge(identities, account)
        if judgements is None:
            text = f"CAA records were not checked: the name servers took longer than {_PATIENCE:.0f} s"
            notify(Warned(self._certificate, text))
            return
        errors = [one.error for one in judgements if one.error is not None]
        if errors:
            errors[0].details["caa"] = [{"message": one.message, "fix": one.fix, **one.details} for one in errors]
            raise errors[0]
        for one in judgements:
            if one.level == "warning":
                notify(Warned(self._certificate, f"CAA of {one.subject}: {one.text}"))
            elif one.decided:
                notify(Step(self._certificate, f"CAA of {one.subject}: {one.text}"))

    def forbidden(self, identities: Sequence[str], account: str | None) -> CaaForbidden | None:
        """The refusal by CAA that is to be expected, if any; of nothing else a word."""
        found = (one.error for one in self._judge(identities, account) or ())
        return next((error for error in found if isinstance(error, CaaForbidden)), None)

    def _judge(self, identities: Sequence[str], account: str | None) -> list[Judgement] | None:
        """None if the search takes too long."""
        if not self._search.ended(self._services.deadline.within(_PATIENCE)):
            return None
        return judge_names(self._names, self._search.result(), identities, account, self._method)

    def call_off(self) -> None:
        """End the searches, if they run."""
        self._search.call_off()
        if self._passed:
            return
        for solver in (self._solver, self._standing):
            if solver is not None:
                solver.cleanup()


def bases_of(names: Sequence[str]) -> list[str]:
    """The names that are looked up for identifiers."""
    return list(dict.fromkeys(base_name(name) for name in names))


def challenge_names(spec: CertificateSpec, services: Services, account: str | None) -> list[str]:
    """Where the records of an order belong, as far as it is sure that it takes records and where."""
    section = services.authority(spec.authority)
    bound = section.external_account is not None and not known_ca(section.directory_url).by_challenge
    if not services.config.dns or bound or is_preauthorized(section):
        return []
    name_of = names_for_check(spec.authority, services, account)
    return [] if name_of is None else list(dict.fromkeys(map(name_of, spec.names)))


def judge_names(
    names: Sequence[str],
    found: Mapping[str, RelevantCaa],
    identities: Sequence[str],
    account: str | None,
    method: str | None,
) -> list[Judgement]:
    """A judgement for each group of identifiers that share one; `account` and `method` as in `core.caa.judge`."""
    free: list[str] = []
    held: list[str] = []
    failures: dict[tuple[object, ...], list[str]] = {}
    for name in names:
        relevant = found[base_name(name)]
        failure = relevant.error or relevant.doubt
        if failure is not None:
            key = (type(failure), failure.details.get("zone", failure.message), relevant.error is None)
            failures.setdefault(key, []).append(name)
        else:
            (free if relevant.nothing else held).append(name)
    judgements = [_of_failure(tuple(group), found[base_name(group[0])], identities) for group in failures.values()]
    if held:
        judgements += _judge_records(held, found, identities, account, method)
    if free:
        judgements.append(Judgement(tuple(free), "ok", "no CAA record restricts who may issue", decided=False))
    return judgements


def _judge_records(
    names: Sequence[str],
    found: Mapping[str, RelevantCaa],
    identities: Sequence[str],
    account: str | None,
    method: str | None,
) -> list[Judgement]:
    from ci_acme.core.caa import judge  # few names have records

    verdicts: dict[Verdict, list[str]] = {}
    for name in names:
        relevant = found[base_name(name)]
        verdict = judge(
            relevant.records,
            owner=relevant.owner or "",
            wildcard=is_wildcard(name),
            ca_identities=identities,
            account_url=account,
            method=method,
        )
        verdicts.setdefault(verdict, []).append(name)
    return [_of_verdict(tuple(group), verdict, identities) for verdict, group in verdicts.items()]


def _of_failure(group: tuple[str, ...], relevant: RelevantCaa, identities: Sequence[str]) -> Judgement:
    """A failed lookup: an error for a CA that looks at CAA, if it would surely fail as well."""
    failure = relevant.error or relevant.doubt
    assert failure is not None
    if relevant.error is None:
        text = f"could not be seen from here, the CA looks for itself: {failure.message}"
        return Judgement(group, "warning", text, failure.fix)
    if not identities:
        return Judgement(group, "warning", f"a CA that looks at CAA would refuse: {failure.message}", failure.fix)
    details = {**failure.details, "identifiers": list(group)}
    error = type(failure)(failure.message, fix=failure.fix, details=details)  # the finding is shared by certificates
    return Judgement(group, "error", failure.message, failure.fix, error=error)


def _of_verdict(group: tuple[str, ...], verdict: Verdict, identities: Sequence[str]) -> Judgement:
    from ci_acme.core.caa import Ruling

    if verdict.ruling is not Ruling.FORBIDDEN:
        level = "ok" if verdict.ruling is Ruling.PERMITTED else "warning"
        return Judgement(group, level, verdict.reason, verdict.fix)
    details = {"identifiers": list(group), "record": str(verdict.record), "ca": list(identities)}
    message = f"{identities[0]} may not issue for {show_names(group)}: {verdict.reason}"
    error = CaaForbidden(message, fix=verdict.fix, details=details)
    return Judgement(group, "error", verdict.reason, verdict.fix, error=error)


def show_names(names: Sequence[str]) -> str:
    """`a, b, c and 97 more`."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
