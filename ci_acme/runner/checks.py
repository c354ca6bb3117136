"""`check`: what would go wrong, found without an order and without changing anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ci_acme.core.checks import CheckLine
from ci_acme.errors import CiAcmeError, Interrupted
from ci_acme.ports import CertificateStore
from ci_acme.runner.jobs import Job

if TYPE_CHECKING:
    from ci_acme.ca.messages import Directory
    from ci_acme.runner.services import Services


def check(jobs: list[Job], services: Services) -> list[CheckLine]:
    """Every finding about the stores, CAs, zones and CAA of the jobs, in this order. Raises only `Interrupted`."""
    from ci_acme.runner.ca_check import check_authority

    lines: list[CheckLine] = []
    for job in jobs:
        for store in job.stores:
            _collect(lines, "store", f"{store.provider}:{store.target}", _store(store, services))
    directories: dict[str, Directory] = {}
    for name in dict.fromkeys(job.spec.authority for job in jobs):
        _collect(lines, "ca", name, check_authority(name, jobs, services, directories))
    identifiers = list(dict.fromkeys(name for job in jobs for name in job.spec.names))
    _collect(lines, "dns", "zones", _zones(identifiers, services))
    for name, directory in directories.items():
        names = [each for job in jobs if job.spec.authority == name for each in job.spec.names]
        _collect(lines, "caa", name, _caa(name, list(dict.fromkeys(names)), directory, services))
    return lines


def _collect(lines: list[CheckLine], area: str, subject: str, found: Iterable[CheckLine]) -> None:
    """Take findings until an error ends them; the error is a finding too."""
    try:
        for line in found:
            lines.append(line)
    except Interrupted:
        raise
    except CiAcmeError as error:
        lines.append(CheckLine("error", area, subject, error.message, error.fix, error.code))


def _store(store: CertificateStore, services: Services) -> Iterable[CheckLine]:
    store.probe(deadline=services.deadline)
    yield CheckLine("ok", "store", f"{store.provider}:{store.target}", "can be written")


def _zones(identifiers: list[str], services: Services) -> Iterable[CheckLine]:
    for found in services.dns.check(identifiers):
        subject = " -> ".join(found.chain) or found.name
        if found.error is not None:
            yield CheckLine("error", "dns", subject, found.error.message, found.error.fix, found.error.code)
            continue
        servers = ", ".join(found.servers)
        yield CheckLine("ok", "dns", subject, f"zone {found.zone}, changed at {found.where}, served by {servers}")
        for warning in found.warnings:
            yield CheckLine("warning", "dns", subject, warning)


def _caa(authority: str, names: list[str], directory: Directory, services: Services) -> Iterable[CheckLine]:
    """Whether a CA may issue for the names. Nothing is said where neither the CA nor the zones speak of CAA."""
    from ci_acme.runner.ca_check import account_url
    from ci_acme.runner.preflight import bases_of, judge_names

    found = services.dns.caa(bases_of(names), services.clock)
    identities = directory.caa_identities
    for one in judge_names(names, found, identities, account_url(authority, services)):
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
