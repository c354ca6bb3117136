"""`check`: what would go wrong, found without an order and without changing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ci_acme.errors import CiAcmeError, Interrupted
from ci_acme.runner.jobs import Job

if TYPE_CHECKING:
    from ci_acme.runner.services import Services

CHECK_SCHEMA = "ci-acme/check/1"


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One line of `check`. `level` is ok, warning or error; a warning does not change the exit status."""

    level: str
    area: str
    subject: str
    message: str
    fix: str = ""
    code: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For the JSON document."""
        return {
            "level": self.level,
            "area": self.area,
            "subject": self.subject,
            "message": self.message,
            "fix": self.fix,
            "code": self.code,
        }


def check(jobs: list[Job], services: Services) -> list[CheckLine]:
    """Every finding about stores, CAs and DNS of the jobs, in this order. Raises only `Interrupted`."""
    lines: list[CheckLine] = []
    for job in jobs:
        for store in job.stores:
            target = f"{store.provider}:{store.target}"
            lines += _try("store", target, lambda store=store: _store(store, services))  # type: ignore[misc]
    for name in dict.fromkeys(job.spec.authority for job in jobs):
        lines += _try("ca", name, lambda name=name: services.authorities.check(name))  # type: ignore[misc]
    identifiers = list(dict.fromkeys(name for job in jobs for name in job.spec.names))
    lines += _try("dns", "zones", lambda: services.dns.check(identifiers, deadline=services.deadline))
    return lines


def _try(area: str, subject: str, work: Callable[[], Iterator[CheckLine] | list[CheckLine]]) -> list[CheckLine]:
    found: list[CheckLine] = []
    try:
        found.extend(work())
    except Interrupted:
        raise
    except CiAcmeError as error:
        found.append(CheckLine("error", area, subject, error.message, error.fix, error.code))
    return found


def _store(store: Any, services: Services) -> Iterator[CheckLine]:
    subject = f"{store.provider}:{store.target}"
    store.probe(deadline=services.deadline)
    yield CheckLine("ok", "store", subject, "can be written")
