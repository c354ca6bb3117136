"""An order from its key to its stores; a key is durable before finalize, so that an issued certificate is never lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ci_acme.ca.keys import generate_key, key_from_pem, key_to_pem
from ci_acme.ca.order import Issued, OrderRequest, accept, obtain, resume
from ci_acme.ca.renewal import renewal_info_url
from ci_acme.core.renewal import renewal_time
from ci_acme.core.report import Outcome
from ci_acme.errors import CertificateRejected, DeliveryError
from ci_acme.model.events import Warned
from ci_acme.model.material import Bundle, CertificateFacts
from ci_acme.model.records import Metadata, PendingOrder, RenewalMemory
from ci_acme.model.secret import Secret
from ci_acme.ports import CertificateStore, ChallengeSolver
from ci_acme.runner.delivery import probe, publish
from ci_acme.runner.jobs import Job

if TYPE_CHECKING:
    from ci_acme.ca.client import AcmeClient
    from ci_acme.ca.scope import Scope
    from ci_acme.runner.services import Services


def issue(job: Job, predecessor: CertificateFacts | None, services: Services, outcome: Outcome) -> None:
    """Order (or go on with an order of an earlier run), verify, and publish to every store.

    Raises `CiAcmeError` if no certificate came of it; a store that failed is in the outcome.
    """
    probe(job.stores, services, job.spec.name)
    scope = services.scope(job.spec.name)
    solver = services.solver(job.spec.name)
    begun = services.clock.monotonic()
    dns_seconds = 0.0
    try:
        client = services.authorities.client(job.spec.authority, scope)
        key, issued = _resume(job, client, scope, services) or _order(job, client, solver, predecessor, scope, services)
        dns_seconds = issued.dns_seconds
    finally:
        outcome.acme_requests = scope.requests.total
        outcome.dns_changes = solver.changes
        outcome.seconds["dns"] = dns_seconds
        outcome.seconds["acme"] = services.clock.monotonic() - begun - dns_seconds
    _publish(job, client, Bundle(key, issued.certificate_pem, issued.chain_pem), issued, scope, services, outcome)


def _order(
    job: Job,
    client: AcmeClient,
    solver: ChallengeSolver,
    predecessor: CertificateFacts | None,
    scope: Scope,
    services: Services,
) -> tuple[Secret, Issued]:
    spec = job.spec
    key = generate_key(spec.key)
    pem = key_to_pem(key)

    def keep(order_url: str) -> None:
        pending = PendingOrder(spec.digest(), spec.directory, client.account or "", order_url, pem)
        _first_holder(job, lambda store: store.stage(pending, deadline=services.deadline), services)

    request = OrderRequest(
        names=spec.names,
        key=key,
        profile=spec.profile,
        replaces=predecessor.ari_id if predecessor else None,
        preferred_chain=services.authority(spec.authority).preferred_chain,
    )
    return pem, obtain(client, request, solver, scope=scope, on_order=keep)


def _resume(job: Job, client: AcmeClient, scope: Scope, services: Services) -> tuple[Secret, Issued] | None:
    """The certificate of an order that an earlier run left under way, if it can still be had."""
    digest = job.spec.digest()
    for store in _holders(job):
        pending = store.staged(deadline=services.deadline)
        if pending is None or pending.spec_digest != digest or pending.account != client.account:
            continue
        issued = _resume_one(job, client, pending, scope, services)
        if issued is not None:
            scope.step(f"went on with the order of an earlier run, {pending.order}")
            return pending.key, issued
        store.unstage(deadline=services.deadline)
    return None


def _resume_one(job: Job, client: AcmeClient, pending: PendingOrder, scope: Scope, services: Services) -> Issued | None:
    authority = services.authority(job.spec.authority)
    try:
        key = key_from_pem(pending.key)
    except ValueError:
        return None
    request = OrderRequest(names=job.spec.names, key=key, preferred_chain=authority.preferred_chain)
    if pending.certificate is not None:
        try:
            return accept(pending.certificate, request, order_url=pending.order, now=services.clock.now())
        except CertificateRejected as error:
            scope.warn(f"the certificate that an earlier run kept cannot be used: {error.message}")
    return resume(client, pending.order, request, scope=scope)


def _publish(
    job: Job,
    client: AcmeClient,
    bundle: Bundle,
    issued: Issued,
    scope: Scope,
    services: Services,
    outcome: Outcome,
) -> None:
    begun = services.clock.monotonic()
    metadata = _metadata(job, issued, client.directory(scope).renewal_info, services)
    outcome.stores = publish(job.stores, bundle, metadata, services, job.spec.name, action="written")
    outcome.error = next((result.error for result in outcome.stores if result.error), None)
    if any(result.error is None for result in outcome.stores):
        for store in _holders(job):
            store.unstage(deadline=services.deadline)
    else:
        _keep_for_later(job, client, bundle, issued.order_url, services)
    outcome.take(issued.facts)
    outcome.order = issued.order_url
    outcome.renew_after = metadata.renew_after
    outcome.seconds["stores"] = services.clock.monotonic() - begun


def _keep_for_later(job: Job, client: AcmeClient, bundle: Bundle, order: str, services: Services) -> None:
    """No store took the certificate: keep it with its key where the order was kept, for the next run."""
    pending = PendingOrder(
        job.spec.digest(), job.spec.directory, client.account or "", order, bundle.key, bundle.fullchain
    )
    try:
        _first_holder(job, lambda store: store.stage(pending, deadline=services.deadline), services)
    except DeliveryError as error:  # the key and the order's URL are there since before finalize
        services.notify(Warned(job.spec.name, f"{error.message}; the next run downloads it from the order again"))


def _metadata(job: Job, issued: Issued, renewal_info: str | None, services: Services) -> Metadata:
    spec, facts = job.spec, issued.facts
    memory = RenewalMemory(renewal_info_url(renewal_info, facts.ari_id)) if renewal_info and facts.ari_id else None
    return Metadata(
        name=spec.name,
        spec_digest=spec.digest(),
        names=facts.names,
        authority=spec.directory,
        profile=spec.profile,
        key=spec.key.value,
        owner=spec.owner,
        serial=facts.serial,
        sha256=facts.sha256,
        spki_sha256=facts.spki_sha256,
        issuer=facts.issuer,
        not_before=facts.not_before,
        not_after=facts.not_after,
        renew_after=renewal_time(facts.not_before, facts.not_after, spec.renew, memory),
        order=issued.order_url,
        run=services.run_id,
        renewal=memory,
    )


def _holders(job: Job) -> Sequence[CertificateStore]:
    return [store for store in job.stores if store.capabilities.holds_pending]


def _first_holder(job: Job, stage: Callable[[CertificateStore], None], services: Services) -> None:
    """Stage in the first store that takes it. Raises its `DeliveryError` if none does."""
    failure: DeliveryError | None = None
    for store in _holders(job):
        try:
            stage(store)
        except DeliveryError as error:
            failure = failure or error
            continue
        return
    if failure is not None:
        raise failure
    services.notify(Warned(job.spec.name, "no store of this certificate can hold its key before it is issued"))
