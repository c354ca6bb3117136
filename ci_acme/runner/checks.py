"""`check`: what would go wrong, found without an order and without changing anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ci_acme.core.checks import CheckLine
from ci_acme.errors import CiAcmeError, Interrupted
from ci_acme.ports import CertificateStore
from ci_acme.runner.jobs import Job

if TYPE_CHECKING:
    from ci_acme.runner.services import Services


def check(jobs: list[Job], services: Services) -> list[CheckLine]:
    """Every finding about the stores, CAs and zones of the jobs, in this order. Raises only `Interrupted`."""
    from ci_acme.runner.ca_check import check_authority
    from ci_acme.runner.proof_check import check_proofs

    lines: list[CheckLine] = []
    for job in jobs:
        for store in job.stores:
            _collect(lines, "store", f"{store.provider}:{store.target}", _store(store, services))
    for name in dict.fromkeys(source.authority for job in jobs for source in job.spec.sources):
        _collect(lines, "ca", name, check_authority(name, jobs, services))
    _collect(lines, "dns", "zones", check_proofs(jobs, services))
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
