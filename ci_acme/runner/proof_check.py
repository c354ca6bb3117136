"""What `check` says of proving the names, by the challenge that each CA is to be given. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ci_acme.core.checks import CheckLine
from ci_acme.errors import CiAcmeError
from ci_acme.model.names import challenge_name
from ci_acme.runner.solvers import is_preauthorized, known_account, names_for_check

if TYPE_CHECKING:
    from ci_acme.dns.check import DnsFinding
    from ci_acme.runner.account_check import SeenCa
    from ci_acme.runner.jobs import Job
    from ci_acme.runner.services import Services


def check_proofs(jobs: Sequence[Job], services: Services, seen: Mapping[str, SeenCa]) -> Iterator[CheckLine]:
    """Lines for all names at their CAs; those that take dns-01 share theirs. `seen` are those that answered."""
    wanted: dict[str, list[str]] = {}
    for job in jobs:
        for source in job.spec.sources:
            wanted.setdefault(source.authority, []).extend(job.spec.names)
    plain: list[str] = []
    for authority, names in wanted.items():
        section = services.authority(authority)
        if section.challenge == "dns-persist-01":
            yield from _standing(authority, names, services, seen.get(authority))
        elif is_preauthorized(section):
            yield CheckLine("ok", "ca", authority, "validates names in its console: no challenge is expected")
        elif section.challenge == "dns-account-01":
            yield from _by_account(authority, names, services, seen.get(authority))
        else:
            plain += names
    if plain:
        yield from _zones(plain, challenge_name, services)


def _zones(names: Iterable[str], name_of: Callable[[str], str], services: Services) -> Iterator[CheckLine]:
    for found in services.dns.check(list(dict.fromkeys(names)), name_of=name_of):
        yield from _lines(found)


def _lines(found: DnsFinding) -> Iterator[CheckLine]:
    subject = " -> ".join(found.chain) or found.name
    if found.error is not None:
        yield CheckLine("error", "dns", subject, found.error.message, found.error.fix, found.error.code)
        return
    servers = ", ".join(found.servers)
    yield CheckLine("ok", "dns", subject, f"zone {found.zone}, changed at {found.where}, served by {servers}")
    for warning in found.warnings:
        yield CheckLine("warning", "dns", subject, warning)


def _by_account(authority: str, names: Sequence[str], services: Services, seen: SeenCa | None) -> Iterator[CheckLine]:
    name_of = names_for_check(authority, services, None if seen is None else seen.account)
    if name_of is None:
        yield _no_account(authority, "the names of its challenges")
    else:
        yield from _zones(names, name_of, services)


def _standing(authority: str, names: Sequence[str], services: Services, seen: SeenCa | None) -> Iterator[CheckLine]:
    """Whether the standing records permit us, as far as it is known before an order."""
    from ci_acme.dns.standing import StandingSolver, expected, missing_records

    if seen is None:  # the line about the CA says why
        return
    account = seen.account or known_account(authority, services)
    if account is None:
        yield _no_account(authority, "the records that permit it")
        return
    issuers = seen.directory.caa_identities
    if not issuers:
        yield CheckLine("warning", "dns", authority, "its directory does not say whose name the records must have")
        return
    wanted = expected(names, issuers, account)
    for challenge, said in StandingSolver(services.dns, "", services.notify).judge_all(wanted).items():
        if said is None:
            yield CheckLine("ok", "dns", challenge.name, f"permits {account} at {authority}")
            continue
        error = said if isinstance(said, CiAcmeError) else missing_records({challenge: said})
        yield CheckLine("error", "dns", challenge.name, error.message, error.fix, error.code)


def _no_account(authority: str, what: str) -> CheckLine:
    return CheckLine(
        "warning",
        "dns",
        authority,
        f"no account is known yet, and {what} depend on its URL",
        "the first issue registers it; then check again",
    )
