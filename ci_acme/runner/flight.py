"""Single flight: of the runs that would order the same certificate at once, one does, and the others wait for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ci_acme.model.events import Step, Waiting
from ci_acme.model.spec import CertificateSpec
from ci_acme.ports import Deadline
from ci_acme.state.leases import Grant, Held

if TYPE_CHECKING:
    from ci_acme.runner.services import Services


@contextmanager
def alone(spec: CertificateSpec, services: Services, *, unless: Callable[[], bool]) -> Generator[Grant | None]:
    """Within, no other run orders this certificate with this account.

    A CA may answer two runs that ask for the same with one order, which only one of them can finalize. The grant is
    None if another run was waited for and `unless` says that nothing is left to do. Raises `LeaseHeld` at the run's
    deadline, `AccountError` and `SecretError` if the account has no usable key, `StateError`.
    """
    account = services.authorities.thumbprint(spec.authority)
    key = json.dumps(["certificate", spec.directory, account, sorted(spec.names), spec.profile])
    with lease(key, services, spec.name, what=f"the certificate {spec.name}", unless=unless) as grant:
        yield grant


@contextmanager
def lease(
    key: str, services: Services, certificate: str, *, what: str, unless: Callable[[], bool]
) -> Generator[Grant | None]:
    """A lease of this run, renewed meanwhile and released at the end; the wait for it is shown."""
    grant = _acquire(key, services, certificate, what=what, deadline=services.deadline, unless=unless)
    if grant is None:
        yield None
        return
    with grant.kept():
        yield grant


@contextmanager
def lease_for_change(
    key: str, services: Services, certificate: str, *, what: str, deadline: Deadline
) -> Generator[Grant]:
    """A lease for writing where a provider cannot keep writers apart; waits on the clock of the deadline.

    Raises `LeaseHeld` at the deadline, `StateError`, `Interrupted`.
    """
    state = services.state()
    if not is_shared(services):
        services.warn_once(
            f"{what} can be changed by one at a time only, and the others are kept out by {state.where}: that is safe "
            "only against runs that share this state (state: postgresql://…, s3://…, gs://… or az://… is shared by all)"
        )
    grant = _acquire(key, services, certificate, what=what, deadline=deadline, unless=lambda: False)
    assert grant is not None
    with grant.kept():
        yield grant


def is_shared(services: Services) -> bool:
    """Whether other runs see the state: not if it is forgotten with this one, or on the disk of a CI runner."""
    from ci_acme.hosts import detect_ci
    from ci_acme.state.memory import MemoryEngine

    if isinstance(services.state(), MemoryEngine):
        return False
    return not (services.config.state.startswith("sqlite:") and detect_ci(services.environ))


def _acquire(
    key: str,
    services: Services,
    certificate: str,
    *,
    what: str,
    deadline: Deadline,
    unless: Callable[[], bool],
) -> Grant | None:
    clock = deadline.clock
    begun = clock.monotonic()
    leases = services.leases_on(clock)
    holders: set[str | None] = set()

    def waiting(held: Held) -> None:
        if held.lease.owner not in holders:
            holders.add(held.lease.owner)
            services.notify(Step(certificate, f"{what} is being worked on by {held}"))
        seconds = clock.monotonic() - begun
        services.notify(Waiting(certificate, str(held), services.state().where, seconds))

    owner = f"run {services.run_id}"
    return leases.acquire(key, owner, what=what, deadline=deadline, unless=unless, waiting=waiting)
