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
    from ci_acme.runner.jobs import Job
    from ci_acme.runner.services import Services


def probe(job: Job, services: Services) -> None:
    """Find out before an order is spent whether the certificate could be stored.

    A store that cannot be written is a warning as long as another one can; if none can, raises `StoreNotWritable`.
    """
    stores, certificate = job.stores, job.spec.name
    failures: list[StoreNotWritable] = []
    for index, store in enumerate(stores):
        try:
            require_room(store, job.sizes[index] if job.sizes else 0, job)
            store.probe(deadline=services.deadline)
        except StoreNotWritable as error:
            failures.append(error)
            services.notify(Warned(certificate, f"{error.message}; {error.fix}"))
    if stores and len(failures) == len(stores):
        raise failures[0]


def require_room(store: CertificateStore, size: int, job: Job) -> None:
    """Raise `StoreNotWritable` if a bundle of this certificate will not fit: that is known before an order."""
    most = store.capabilities.max_bytes
    if most is not None and size > most:
        raise StoreNotWritable(
            f"{store.provider}:{store.target} takes {most} bytes, and a {job.spec.key.value} key with a certificate of "
            f"{len(job.spec.names)} names and its chain are about {size}",
            fix="use an EC key, fewer names or a smaller shape (shape: pem), or a store that takes more",
        )


def publish(
    stores: Sequence[CertificateStore],
    bundle: Bundle,
    metadata: Metadata,
    services: Services,
    job: Job,
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
            require_accepted(job.accepted_by(store), bundle, metadata, store, services)
            version = store.publish(bundle, metadata, deadline=services.deadline)
        except DeliveryError as error:
            outcomes.append(StoreOutcome(store.provider, store.target, "failed", error=error))
            continue
        services.notify(Step(job.spec.name, f"stored in {store.provider}:{store.target}"))
        outcomes.append(StoreOutcome(store.provider, store.target, action, version))
    return outcomes


def require_accepted(
    accept: str, bundle: Bundle, metadata: Metadata, store: CertificateStore, services: Services
) -> None:
    """Keep a staging certificate out of a production store, and the other way round. Raises `DeliveryError`."""
    if accept == "any":
        return
    from ci_acme.ca.trust import distrust
    from ci_acme.core.quirks import known_ca

    reason = distrust(bundle, services.clock.now())
    if known_ca(metadata.authority).staging:
        reason = "it is of a staging CA, which nobody trusts"
    if (reason is None) is (accept == "production"):
        return
    what = f"the certificate is not publicly trusted: {reason}" if reason else "the certificate is publicly trusted"
    raise DeliveryError(
        f"{store.provider}:{store.target} accepts {accept} certificates only, and {what}",
        fix="use an authority of that kind for this certificate, or say accept: any in the store",
    )
