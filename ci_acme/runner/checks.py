"""`check`: what would go wrong, found without an order and without changing anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ci_acme.core.checks import CheckLine
from ci_acme.errors import CiAcmeError, Interrupted, StateUnavailable
from ci_acme.hosts import may_have_identity
from ci_acme.ports import CertificateStore
from ci_acme.runner.jobs import Job

if TYPE_CHECKING:
    from ci_acme.runner.account_check import SeenCa
    from ci_acme.runner.services import Services


def check(jobs: list[Job], services: Services, trust_policy: str | None = None) -> list[CheckLine]:
    """Every finding about the state, the job's identity, the stores, CAs, zones and CAA. Raises only `Interrupted`.

    `trust_policy` is a file with the trust policy of an AWS role, to be judged by the job's token.
    """
    from ci_acme.runner.ca_check import check_authority
    from ci_acme.runner.proof_check import check_proofs

    lines: list[CheckLine] = []
    _collect(lines, "state", services.config.state, _state(services))
    if trust_policy is not None or may_have_identity(services.environ):
        from ci_acme.runner.identity_check import check_identity

        _collect(lines, "token", "identity", check_identity(services, trust_policy))
    for job in jobs:
        for store in job.stores:
            _collect(lines, "store", f"{store.provider}:{store.target}", _store(job, store, services))
    seen: dict[str, SeenCa] = {}
    for name in dict.fromkeys(source.authority for job in jobs for source in job.spec.sources):
        _collect(lines, "ca", name, check_authority(name, jobs, services, seen))
    _collect(lines, "dns", "zones", check_proofs(jobs, services, seen))
    for name, ca in seen.items():
        served = [job for job in jobs if any(source.authority == name for source in job.spec.sources)]
        names = list(dict.fromkeys(each for job in served for each in job.spec.names))
        _collect(lines, "caa", name, _caa(name, names, ca, services))
    return lines


def _collect(lines: list[CheckLine], area: str, subject: str, found: Iterable[CheckLine]) -> None:
    """Take findings until an error ends them; the error is a finding too, once."""
    try:
        for line in found:
            lines.append(line)
    except Interrupted:
        raise
    except CiAcmeError as error:
        if not any((line.code, line.message) == (error.code, error.message) for line in lines):
            lines.append(CheckLine("error", area, subject, error.message, error.fix, error.code))


def _state(services: Services) -> Iterable[CheckLine]:
    """A run goes on without a state that is out of reach, and ends where it is damaged or newer than this program."""
    try:
        services.sure_state()
    except StateUnavailable as error:
        yield CheckLine("warning", "state", services.config.state, error.message, error.fix, error.code)
    else:
        yield CheckLine("ok", "state", services.config.state, "can be used")


def _store(job: Job, store: CertificateStore, services: Services) -> Iterable[CheckLine]:
    from ci_acme.runner.delivery import require_room

    require_room(store, job.sizes[job.stores.index(store)], job)
    store.probe(deadline=services.deadline)
    yield CheckLine("ok", "store", f"{store.provider}:{store.target}", "can be written")


def _caa(authority: str, names: list[str], seen: SeenCa, services: Services) -> Iterable[CheckLine]:
    """Whether a CA may issue for the names. Nothing is said where neither the CA nor the zones speak of CAA."""
    from ci_acme.runner.ca_check import account_url
    from ci_acme.runner.preflight import bases_of, judge_names
    from ci_acme.runner.solvers import method_of

    found = services.dns.caa(bases_of(names), services.clock)
    identities, account = seen.directory.caa_identities, account_url(authority, services, seen)
    for one in judge_names(names, found, identities, account, method_of(authority, services)):
        if one.decided or identities:
            code = one.error.code if one.error else ""
            yield CheckLine(one.level, "caa", f"{one.subject} at {authority}", one.text, one.fix, code)
    unseen = sorted({name for relevant in found.values() for name in relevant.unseen})
    if unseen and identities:
        text = (
            "the configured name servers do not serve it, so its CAA records are not seen; they count for names below"
        )
        yield CheckLine(
            "warning", "caa", ", ".join(unseen), text, "look with: dig CAA, or name a resolver that knows it"
        )
