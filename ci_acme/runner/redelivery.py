"""A certificate that is there, to the stores that lack it: no order, and no key but from where it was kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ci_acme.core.plan import Decision, StoreView
from ci_acme.core.report import Outcome, StoreOutcome
from ci_acme.dataclass import replace
from ci_acme.errors import DeliveryError, StoreReadError
from ci_acme.model.events import Started, Warned
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
from ci_acme.runner.delivery import publish
from ci_acme.runner.jobs import Job, label_of

if TYPE_CHECKING:
    from ci_acme.runner.services import Services


def deliver(
    job: Job,
    views: Sequence[StoreView],
    decision: Decision,
    metadata: Metadata,
    services: Services,
    outcome: Outcome,
) -> list[StoreOutcome]:
    """Bring the missing stores into line; one outcome a store. Raises `DeliveryError` if nobody has the key."""
    services.notify(Started(job.spec.name, "delivering", decision.reason))
    bundle, done = _bundle(job, views, metadata, services, outcome)
    missing = [job.stores[index] for index in decision.missing]
    written = publish(missing, bundle, metadata, services, job, action="delivered")
    if all(result.error is None for result in written):
        done()
    by_store = {id(store): result for store, result in zip(missing, written, strict=True)}
    return [by_store.get(id(store)) or StoreOutcome(store.provider, store.target, "kept") for store in job.stores]


def _bundle(
    job: Job, views: Sequence[StoreView], metadata: Metadata, services: Services, outcome: Outcome
) -> tuple[Bundle, Callable[[], None]]:
    """Key and chain from a store that has the certificate and gives them, else from what the run that issued it kept.

    The second value is called when every store has them.
    """
    holders = [
        store
        for store, view in zip(job.stores, views, strict=True)
        if view.facts is not None and view.facts.sha256 == metadata.sha256
    ]
    for store in (holder for holder in holders if holder.capabilities.returns_key):
        try:
            bundle = store.read_bundle(deadline=services.deadline)
        except StoreReadError as error:
            services.notify(Warned(job.spec.name, f"{label_of(store)} does not give the key back: {error.message}"))
            continue
        if bundle is not None:
            return bundle, lambda: None
    return _kept(job, holders[0].provider, metadata, services, outcome)


def _kept(
    job: Job, holder: str, metadata: Metadata, services: Services, outcome: Outcome
) -> tuple[Bundle, Callable[[], None]]:
    from ci_acme.runner.issuing import earlier_bundle

    scope = services.scope(job.spec.name)
    served = replace(job, spec=job.spec.of(job.spec.source_of(metadata.authority)))
    try:
        found = earlier_bundle(served, metadata.sha256, services, scope)
    finally:
        outcome.acme_requests += scope.requests.total
    if found is None:
        raise DeliveryError(
            f"{holder} holds the certificate, no store gives its key back, and none is kept",
            fix="run again with --force: a new certificate goes to every store; with state_key in the config the key "
            "of a certificate is kept, sealed, until every store has it",
        )
    return found
