"""A certificate into its stores; each store has its own result, and one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ci_acme.core.report import StoreOutcome
from ci_acme.errors import DeliveryError, StoreNotWritable
from ci_acme.model.events import Step, Warned
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
from ci_acme.ports import CertificateStore

if TYPE_CHECKING:
    from ci_acme.runner.services import Services


def probe(stores: Sequence[CertificateStore], services: Services, certificate: str) -> None:
    """Find out before an order is spent whether the certificate could be stored.

    A store that cannot be written is a warning as long as another one can; if none can, raises `StoreNotWritable`.
    """
    failures: list[StoreNotWritable] = []
    for store in stores:
        try:
            store.probe(deadline=services.deadline)
        except StoreNotWritable as error:
            failures.append(error)
            services.notify(Warned(certificate, f"{error.message}; {error.fix}"))
    if stores and len(failures) == len(stores):
        raise failures[0]


def publish(
    stores: Sequence[CertificateStore],
    bundle: Bundle,
    metadata: Metadata,
    services: Services,
    certificate: str,
    *,
    action: str,
    guard: Callable[[], None] = lambda: None,
) -> list[StoreOutcome]:
    """Write the bundle to every store. `action` is what success is called: written or delivered.

    `guard` is called right before each store is written; what it raises ends the work.
    """
    outcomes: list[StoreOutcome] = []
    for store in stores:
        guard()
        try:
            version = store.publish(bundle, metadata, deadline=services.deadline)
        except DeliveryError as error:
            outcomes.append(StoreOutcome(store.provider, store.target, "failed", error=error))
            continue
        services.notify(Step(certificate, f"stored in {store.provider}:{store.target}"))
        outcomes.append(StoreOutcome(store.provider, store.target, action, version))
    return outcomes
