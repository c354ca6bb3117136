"""An order from its key to its stores. The key is durable before finalize: an issued certificate is never lost."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from ci_acme.ca.expect import NotAsExpected
from ci_acme.ca.inspect import describe
from ci_acme.ca.keys import PrivateKey, generate_key, key_from_pem, key_to_pem
from ci_acme.ca.order import Issued, OrderRequest, accept, obtain, resume
from ci_acme.ca.renewal import renewal_info_url
from ci_acme.core.budget import OrderKind
from ci_acme.core.renewal import renewal_time
from ci_acme.core.report import Outcome
from ci_acme.errors import CertificateRejected, DeliveryError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata, PendingOrder, RenewalMemory
from ci_acme.model.secret import Secret
from ci_acme.ports import CertificateStore, Present
from ci_acme.runner.delivery import probe, publish
from ci_acme.runner.jobs import Job
from ci_acme.runner.preflight import Preflight
from ci_acme.runner.solvers import is_preauthorized, solver_for

if TYPE_CHECKING:
    from ci_acme.ca.client import AcmeClient
    from ci_acme.ca.scope import Scope
    from ci_acme.runner.services import Services


def issue(
    job: Job,
    predecessor: CertificateStore | None,
    services: Services,
    outcome: Outcome,
    *,
    scope: Scope,
    guard: Callable[[], None],
) -> None:
    """Order (or go on with an order of an earlier run), verify, and publish to every store.

    `predecessor` is the store that holds the certificate which the new one replaces (RFC 9773 section 5). `scope`
    counts the requests, and may end before the run does. `guard` raises `LeaseLost` if another run has taken over: then
    nothing is finalized, kept or published any more. Raises `CiAcmeError` if no certificate came of it; a store that
    failed is in the outcome.
    """
    probe(job.stores, services, job.spec.name)
    work = _Issuing(job, services, outcome, scope, guard)
    key, issued = work.certificate(None if predecessor is None else _ari_id(predecessor, services))
    work.publish(key, issued)


def finish_earlier(job: Job, services: Services, outcome: Outcome, scope: Scope, guard: Callable[[], None]) -> bool:
    """Publish the certificate of an order that an earlier run left under way; False if there is none. Never orders."""
    work = _Issuing(job, services, outcome, scope, guard)
    found = work.earlier_certificate()
    if found is None:
        return False
    work.publish(*found)
    return True


def _ari_id(store: CertificateStore, services: Services) -> str | None:
    state = store.read(deadline=services.deadline)
    try:
        return describe(state.certificate).ari_id if isinstance(state, Present) else None
    except ValueError:
        return None


class _Issuing:
    """One certificate under way."""

    def __init__(self, job: Job, services: Services, outcome: Outcome, scope: Scope, guard: Callable[[], None]) -> None:
        self._guard = guard
        self._job = job
        self._services = services
        self._outcome = outcome
        self._scope = scope
        self._holders = [store for store in job.stores if store.capabilities.holds_pending]
        self._client: AcmeClient | None = None

    def certificate(self, replaces: str | None) -> tuple[Secret, Issued]:
        """The key and the verified certificate, from an earlier run's order or from a new one."""
        services, outcome = self._services, self._outcome
        solver = solver_for(self._job.spec.authority, self._job.spec.name, services)
        begun = services.clock.monotonic()
        dns_seconds = 0.0
        kept = self._kept()
        preflight = None if kept else self._preflight()
        try:
            client = self._client = services.authorities.client(self._job.spec.authority, self._scope)
            found = self._earlier(client, kept)
            if found is None:
                request = self._request(generate_key(self._job.spec.key), replaces)
                preflight = preflight or self._preflight()
                keep = self._keeper(client, request)
                issued = obtain(
                    client,
                    request,
                    solver,
                    scope=self._scope,
                    on_order=keep,
                    before_finalize=self._guard,
                    around=self._around(client, preflight),
                )
                found = key_to_pem(request.key), issued
            dns_seconds = found[1].dns_seconds
            return found
        finally:
            if preflight is not None:
                preflight.call_off()
            outcome.dns_changes += solver.changes
            spent = services.clock.monotonic() - begun - dns_seconds
            for part, seconds in (("dns", dns_seconds), ("acme", spent)):  # an earlier CA may have taken its time, too
                outcome.seconds[part] = outcome.seconds.get(part, 0.0) + seconds

    def _around(self, client: AcmeClient, preflight: Preflight) -> Callable[[], AbstractContextManager[None]]:
        """What holds for each order: the rate limits, and once what CAA says."""
        judged = False

        @contextmanager
        def around() -> Generator[None]:
            nonlocal judged
            with self._services.quota.order(self._job.spec, self._outcome.kind or OrderKind.NEW, self._scope):
                if not judged:
                    preflight.require(client.directory(self._scope).caa_identities, client.account)
                    judged = True
                yield

        return around

    def earlier_certificate(self) -> tuple[Secret, Issued] | None:
        """The key and certificate of an order of an earlier run."""
        client = self._client = self._services.authorities.client(self._job.spec.authority, self._scope)
        return self._earlier(client, self._kept())

    def publish(self, key: Secret, issued: Issued) -> None:
        """Into every store; a store that fails is in the outcome, and the next run delivers to it."""
        services, outcome = self._services, self._outcome
        begun = services.clock.monotonic()
        bundle = Bundle(key, issued.certificate_pem, issued.chain_pem)
        metadata = self._metadata(issued)
        outcome.stores = publish(
            self._job.stores, bundle, metadata, services, self._job.spec.name, action="written", guard=self._guard
        )
        outcome.error = next((result.error for result in outcome.stores if result.error), None)
        if any(result.error is None for result in outcome.stores):
            for store in self._holders:
                store.unstage(deadline=services.deadline)
        else:
            self._keep_for_later(bundle, issued.order_url)
        outcome.take(issued.facts)
        outcome.order = issued.order_url
        outcome.renew_after = metadata.renew_after
        outcome.seconds["stores"] = services.clock.monotonic() - begun

    def _preflight(self) -> Preflight:
        return Preflight(self._job.spec, self._services)

    # --- the order of an earlier run ---

    def _kept(self) -> list[tuple[CertificateStore, PendingOrder]]:
        """The orders for this certificate that earlier runs left under way."""
        digest = self._job.spec.digest()
        staged = [(store, store.staged(deadline=self._services.deadline)) for store in self._holders]
        return [(store, pending) for store, pending in staged if pending is not None and pending.spec_digest == digest]

    def _earlier(
        self, client: AcmeClient, kept: Sequence[tuple[CertificateStore, PendingOrder]]
    ) -> tuple[Secret, Issued] | None:
        """The certificate of an order that an earlier run left under way, if it can still be had."""
        for store, pending in kept:
            if pending.account != client.account:
                continue
            try:
                issued = self._go_on(client, pending)
            except NotAsExpected as error:
                if not self._services.force:
                    raise
                self._scope.warn(f"{error.message}; ordering again")
                issued = None
            if issued is not None:
                self._scope.step(f"went on with the order of an earlier run, {pending.order}")
                return pending.key, issued
            store.unstage(deadline=self._services.deadline)
        return None

    def _go_on(self, client: AcmeClient, pending: PendingOrder) -> Issued | None:
        try:
            request = self._request(key_from_pem(pending.key))
        except ValueError:
            return None
        if pending.certificate is not None:
            try:
                return accept(pending.certificate, request, order_url=pending.order, now=self._services.clock.now())
            except NotAsExpected:
                raise
            except CertificateRejected as error:
                self._scope.warn(f"the certificate that an earlier run kept cannot be used: {error.message}")
        return resume(client, pending.order, request, scope=self._scope, before_finalize=self._guard)

    # --- what is kept ---

    def _keeper(self, client: AcmeClient, request: OrderRequest) -> Callable[[str], None]:
        spec = self._job.spec
        key = key_to_pem(request.key)

        def keep(order_url: str) -> None:
            self._outcome.order = order_url
            self._stage(PendingOrder(spec.digest(), spec.directory, client.account or "", order_url, key))

        return keep

    def _keep_for_later(self, bundle: Bundle, order: str) -> None:
        """No store took the certificate: keep it with its key where the order was kept, for the next run."""
        spec, account = self._job.spec, self._client.account if self._client else None
        try:
            self._stage(PendingOrder(spec.digest(), spec.directory, account or "", order, bundle.key, bundle.fullchain))
        except DeliveryError as error:  # the key and the order's URL are there since before finalize
            self._scope.warn(f"{error.message}; the next run downloads it from the order again")

    def _stage(self, pending: PendingOrder) -> None:
        """In the first store that takes it. Raises its `DeliveryError` if none does."""
        self._guard()  # what is kept there may be of the run that took over
        failure: DeliveryError | None = None
        for store in self._holders:
            try:
                store.stage(pending, deadline=self._services.deadline)
            except DeliveryError as error:
                failure = failure or error
                continue
            return
        if failure is not None:
            raise failure
        self._scope.warn("no store of this certificate can hold its key before it is issued")

    # --- values ---

    def _request(self, key: PrivateKey, replaces: str | None = None) -> OrderRequest:
        spec, authority = self._job.spec, self._services.authority(self._job.spec.authority)
        return OrderRequest(
            names=spec.names,
            key=key,
            profile=spec.profile,
            replaces=replaces,
            preferred_chain=authority.preferred_chain,
            not_after=None if spec.lifetime is None else self._services.clock.now() + spec.lifetime,
            expect=spec.expect,
            challenge=authority.challenge,
            preauthorized=is_preauthorized(authority),
        )

    def _metadata(self, issued: Issued) -> Metadata:
        spec, facts = self._job.spec, issued.facts
        assert self._client is not None
        base = self._client.directory(self._scope).renewal_info
        memory = RenewalMemory(renewal_info_url(base, facts.ari_id)) if base and facts.ari_id else None
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
            run=self._services.run_id,
            renewal=memory,
        )
