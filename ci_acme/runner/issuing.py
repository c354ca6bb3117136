"""An order from its key to its stores; a key is durable before finalize, so that an issued certificate is never lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ci_acme.ca.inspect import describe, key_matches
from ci_acme.ca.keys import generate_key
from ci_acme.ca.order import Issued, OrderRequest, obtain, resume
from ci_acme.core.renewal import renewal_time
from ci_acme.core.report import Outcome
from ci_acme.errors import CaError, DeliveryError
from ci_acme.model.events import Step, Warned
from ci_acme.model.material import Bundle, CertificateFacts
from ci_acme.model.records import Metadata, PendingOrder, RenewalMemory
from ci_acme.model.secret import Secret
from ci_acme.ports import CertificateStore, Challenge, ChallengeSolver, Deadline
from ci_acme.runner.delivery import probe, publish
from ci_acme.runner.jobs import Job

if TYPE_CHECKING:
    from ci_acme.ca.client import AcmeClient
    from ci_acme.runner.services import Services


def issue(job: Job, predecessor: CertificateFacts | None, services: Services, outcome: Outcome) -> None:
    """Order (or go on with an order of an earlier run), verify, and publish to every store.

    Raises `CiAcmeError` if no certificate came of it; a store that failed is in the outcome.
    """
    probe(job.stores, services, job.spec.name)
    client = services.client(job.spec.authority)
    before = client.request_count()
    solver = TimedSolver(services.solver(job.spec.name))
    begun = services.clock.monotonic()
    try:
        key, issued = _resume(job, client, services) or _order(job, client, solver, predecessor, services)
    finally:
        outcome.acme_requests = client.request_count() - before
        outcome.dns_changes = solver.changes()
        outcome.seconds["dns"] = solver.seconds
        outcome.seconds["acme"] = services.clock.monotonic() - begun - solver.seconds
    _publish(job, client, Bundle(key, issued.certificate, issued.chain), issued.order_url, services, outcome)


def _order(
    job: Job, client: AcmeClient, solver: ChallengeSolver, predecessor: CertificateFacts | None, services: Services
) -> tuple[Secret, Issued]:
    spec = job.spec
    key = generate_key(spec.key)

    def keep(order_url: str) -> None:
        pending = PendingOrder(spec.digest(), spec.directory, client.account_url, order_url, key)
        _first_holder(job, lambda store: store.stage(pending, deadline=services.deadline), services)

    request = OrderRequest(
        names=spec.names,
        key=key,
        profile=spec.profile,
        replaces=predecessor.ari_id if predecessor else None,
        preferred_chain=services.authority(spec.authority).preferred_chain,
    )
    issued = obtain(
        client,
        request,
        solver,
        on_order=keep,
        notify=services.notify,
        certificate=spec.name,
        deadline=services.deadline,
    )
    return key, issued


def _resume(job: Job, client: AcmeClient, services: Services) -> tuple[Secret, Issued] | None:
    """The certificate of an order that an earlier run left under way, if it can still be had."""
    digest = job.spec.digest()
    for store in _holders(job):
        pending = store.staged(deadline=services.deadline)
        if pending is None or pending.spec_digest != digest or pending.account != client.account_url:
            continue
        issued = _from_stage(pending) or _from_ca(job, client, pending, services)
        if issued is not None:
            services.notify(Step(job.spec.name, f"went on with the order of an earlier run, {pending.order}"))
            return pending.key, issued
        store.unstage(deadline=services.deadline)
    return None


def _from_stage(pending: PendingOrder) -> Issued | None:
    from ci_acme.ca.inspect import split_pem

    if pending.certificate is None:
        return None
    try:
        leaf, *chain = split_pem(pending.certificate)
        if key_matches(pending.key, leaf):
            return Issued(pending.order, leaf, b"".join(chain))
    except ValueError:
        return None
    return None


def _from_ca(job: Job, client: AcmeClient, pending: PendingOrder, services: Services) -> Issued | None:
    authority = services.authority(job.spec.authority)
    try:
        return resume(
            client,
            pending.order,
            OrderRequest(names=job.spec.names, key=pending.key, preferred_chain=authority.preferred_chain),
            notify=services.notify,
            certificate=job.spec.name,
            deadline=services.deadline,
        )
    except CaError as error:
        if error.retryable:
            raise
        services.notify(Warned(job.spec.name, f"the order of an earlier run is of no use: {error.message}"))
        return None


def _publish(job: Job, client: AcmeClient, bundle: Bundle, order: str, services: Services, outcome: Outcome) -> None:
    begun = services.clock.monotonic()
    metadata = _metadata(job, client, bundle, order, services)
    outcome.stores = publish(job.stores, bundle, metadata, services, job.spec.name, action="written")
    outcome.error = next((result.error for result in outcome.stores if result.error), None)
    if any(result.error is None for result in outcome.stores):
        for store in _holders(job):
            store.unstage(deadline=services.deadline)
    else:
        _keep_for_later(job, client, bundle, order, services)
    facts = describe(bundle.certificate)
    from ci_acme.runner.certificate import set_facts

    set_facts(outcome, facts)
    outcome.order = order
    outcome.renew_after = metadata.renew_after
    outcome.seconds["stores"] = services.clock.monotonic() - begun


def _keep_for_later(job: Job, client: AcmeClient, bundle: Bundle, order: str, services: Services) -> None:
    """No store took the certificate: keep it with its key where the order was kept, for the next run."""
    pending = PendingOrder(
        job.spec.digest(), job.spec.directory, client.account_url, order, bundle.key, bundle.fullchain
    )
    try:
        _first_holder(job, lambda store: store.stage(pending, deadline=services.deadline), services)
    except DeliveryError as error:  # the key and the order's URL are there since before finalize
        services.notify(Warned(job.spec.name, f"{error.message}; the next run downloads it from the order again"))


def _metadata(job: Job, client: AcmeClient, bundle: Bundle, order: str, services: Services) -> Metadata:
    spec = job.spec
    facts = describe(bundle.certificate)
    base = client.directory().renewal_info
    memory = RenewalMemory(f"{base.rstrip('/')}/{facts.ari_id}") if base and facts.ari_id else None
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
        order=order,
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


class TimedSolver:
    """A solver that knows how long publishing and waiting took."""

    def __init__(self, inner: ChallengeSolver) -> None:
        self._inner = inner
        self.seconds = 0.0

    def prepare(self, identifiers: Sequence[str]) -> None:
        self._inner.prepare(identifiers)

    def solve(
        self, challenges: Sequence[Challenge], ready: Callable[[Sequence[Challenge]], None], *, deadline: Deadline
    ) -> None:
        """Solve, less the time that `ready` took: that is the CA's."""
        elsewhere = 0.0

        def timed(done: Sequence[Challenge]) -> None:
            nonlocal elsewhere
            begun = time.monotonic()
            try:
                ready(done)
            finally:
                elsewhere += time.monotonic() - begun

        begun = time.monotonic()
        try:
            self._inner.solve(challenges, timed, deadline=deadline)
        finally:
            self.seconds += time.monotonic() - begun - elsewhere

    def cleanup(self) -> None:
        self._inner.cleanup()

    def changes(self) -> int:
        """Change requests that were sent to DNS providers."""
        return int(getattr(self._inner, "changes", 0))
