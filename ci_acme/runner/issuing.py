"""An order from its key to its stores. The key is durable before finalize: an issued certificate is never lost."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING

from ci_acme.ca.expect import NotAsExpected
from ci_acme.ca.inspect import describe
from ci_acme.ca.keys import PrivateKey, generate_key, key_from_pem, key_to_pem
from ci_acme.ca.messages import Order
from ci_acme.ca.order import Issued, OrderRequest, accept, obtain, resume
from ci_acme.ca.renewal import renewal_info_url
from ci_acme.core.budget import OrderKind
from ci_acme.core.renewal import renewal_time
from ci_acme.core.report import Outcome, StoreOutcome
from ci_acme.errors import CertificateRejected, CiAcmeError, DeliveryError, Interrupted
from ci_acme.model.material import Bundle, CertificateFacts
from ci_acme.model.records import Metadata, RenewalMemory
from ci_acme.model.secret import Secret
from ci_acme.ports import CertificateStore, ChallengeSolver, Present
from ci_acme.runner.ca_duties import check_clock, end_order
from ci_acme.runner.delivery import probe, publish
from ci_acme.runner.jobs import Job
from ci_acme.runner.pending import Earlier, Keeper
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
    probe(job, services)
    work = _Issuing(job, services, outcome, scope, guard)
    key, issued = work.certificate(None if predecessor is None else _describe(predecessor, services))
    work.publish(key, issued)


def finish_earlier(job: Job, services: Services, outcome: Outcome, scope: Scope, guard: Callable[[], None]) -> bool:
    """Publish the certificate of an order that an earlier run left under way; False if there is none. Never orders."""
    work = _Issuing(job, services, outcome, scope, guard)
    found = work.earlier_certificate()
    if found is None:
        return False
    work.publish(*found)
    return True


def _describe(store: CertificateStore, services: Services) -> CertificateFacts | None:
    state = store.read(deadline=services.deadline)
    try:
        if isinstance(state, Present) and state.certificate is None:
            return state.metadata.facts() if state.metadata else None
        return describe(state.certificate or b"") if isinstance(state, Present) else None
    except ValueError:
        return None


def earlier_bundle(job: Job, sha256: str, services: Services, scope: Scope) -> tuple[Bundle, Callable[[], None]] | None:
    """Key and chain of a certificate that no store gives back, kept by the run that issued it; None if nobody has it.

    The second value is to be called when every store has it: it forgets what was kept.
    """
    work = _Issuing(job, services, Outcome(job.spec.name, job.spec.names, job.spec.authority, ""), scope, lambda: None)
    found = work.kept(sha256)
    if found is None:
        return None
    bundle, order = found
    return bundle, lambda: work.forget(order)


def is_settled(stores: Sequence[CertificateStore], outcomes: Sequence[StoreOutcome]) -> bool:
    """Whether nothing needs to be kept: every store has the certificate, or one that has it can serve the others."""
    served = [store for store, outcome in zip(stores, outcomes, strict=True) if outcome.error is None]
    return len(served) == len(stores) or any(store.capabilities.returns_key for store in served)


class _Issuing:
    """One certificate under way."""

    def __init__(self, job: Job, services: Services, outcome: Outcome, scope: Scope, guard: Callable[[], None]) -> None:
        self._guard = guard
        self._job = job
        self._services = services
        self._outcome = outcome
        self._scope = scope
        self._keeper = Keeper(job, services, scope, guard)
        self._client: AcmeClient | None = None

    def certificate(self, predecessor: CertificateFacts | None) -> tuple[Secret, Issued]:
        """The key and the verified certificate, from an earlier run's order or from a new one."""
        services, outcome = self._services, self._outcome
        solver = solver_for(self._job.spec.authority, self._job.spec.name, services)
        begun = services.clock.monotonic()
        dns_seconds = 0.0
        preflight = None if self._keeper.holds_one() else self._preflight(solver, predecessor)
        try:
            client = self._client = services.authorities.client(self._job.spec.authority, self._scope)
            self._keeper.account = client.account or ""
            with services.quota.gone_on_with(self._job.spec):
                found = self._earlier(client, solver, predecessor)
            if found is None:
                preflight = preflight or self._preflight(solver, predecessor)
                found = self._new(client, solver, predecessor, self._around(client, preflight))
            dns_seconds = found[1].dns_seconds
            return found
        finally:
            if preflight is not None:
                preflight.call_off()
            outcome.dns_changes += solver.changes
            outcome.propagation = solver.propagation or outcome.propagation
            spent = services.clock.monotonic() - begun - dns_seconds
            for part, seconds in (("dns", dns_seconds), ("acme", spent)):  # an earlier CA may have taken its time, too
                outcome.seconds[part] = outcome.seconds.get(part, 0.0) + seconds

    def _around(self, client: AcmeClient, preflight: Preflight) -> Callable[[], AbstractContextManager[None]]:
        """What holds for each order: the rate limits, without a request, and once the clock and what CAA says."""
        judged = False

        @contextmanager
        def around() -> Generator[None]:
            nonlocal judged
            with self._services.quota.order(self._job.spec, self._outcome.kind or OrderKind.NEW, self._scope):
                if not judged:
                    check_clock(client, self._scope)
                    preflight.require(client.directory(self._scope).caa_identities, client.account)
                    judged = True
                yield

        return around

    def earlier_certificate(self) -> tuple[Secret, Issued] | None:
        """The key and certificate of an order of an earlier run."""
        client = self._client = self._services.authorities.client(self._job.spec.authority, self._scope)
        self._keeper.account = client.account or ""
        solver = solver_for(self._job.spec.authority, self._job.spec.name, self._services)
        try:
            return self._earlier(client, solver, None)
        finally:
            self._outcome.dns_changes += solver.changes
            self._outcome.propagation = solver.propagation or self._outcome.propagation

    def kept(self, sha256: str) -> tuple[Bundle, str] | None:
        """The certificate with this digest and its order, if an earlier run kept it with its key."""
        client = self._client = self._services.authorities.client(self._job.spec.authority, self._scope)
        self._keeper.account = client.account or ""
        solver = solver_for(self._job.spec.authority, self._job.spec.name, self._services)
        for earlier in self._keeper.earlier():
            found = self._go_on(client, earlier, solver) if earlier.key is not None else None
            if found is not None and found[1].facts.sha256 == sha256:
                return Bundle(found[0], found[1].certificate_pem, found[1].chain_pem), earlier.order
        return None

    def forget(self, order: str) -> None:
        """Every store has its certificate."""
        self._keeper.forget(order)

    def publish(self, key: Secret, issued: Issued) -> None:
        """Into every store; a store that fails is in the outcome, and the next run delivers to it."""
        services, outcome = self._services, self._outcome
        begun = services.clock.monotonic()
        bundle = Bundle(key, issued.certificate_pem, issued.chain_pem)
        metadata = self._metadata(issued)
        outcome.stores = publish(
            self._job.stores, bundle, metadata, services, self._job, action="written", guard=self._guard
        )
        outcome.error = next((result.error for result in outcome.stores if result.error), None)
        if is_settled(self._job.stores, outcome.stores):
            self._keeper.forget(issued.order_url)
        else:
            self._keep_for_later(bundle, issued.order_url)
        outcome.take(issued.facts)
        outcome.order = issued.order_url
        outcome.renew_after = metadata.renew_after
        outcome.seconds["stores"] = services.clock.monotonic() - begun

    def _preflight(self, solver: ChallengeSolver, predecessor: CertificateFacts | None) -> Preflight:
        return Preflight(self._job.spec, self._services, solver, renewal=predecessor is not None)

    def _new(
        self,
        client: AcmeClient,
        solver: ChallengeSolver,
        predecessor: CertificateFacts | None,
        around: Callable[[], AbstractContextManager[None]],
    ) -> tuple[Secret, Issued]:
        request = self._request(generate_key(self._job.spec.key), predecessor.ari_id if predecessor else None)
        key = key_to_pem(request.key)
        issued = obtain(
            client,
            request,
            solver,
            scope=self._scope,
            on_made=lambda order: self._made(order, key),
            on_order=lambda order: self._keeper.about_to_finalize(order, key),
            before_finalize=self._guard,
            on_given_up=self._give_up,
            around=around,
        )
        return key, issued

    def _made(self, order: str, key: Secret) -> None:
        self._outcome.order = order
        self._keeper.made(order, key)

    # --- the order of an earlier run ---

    def _earlier(
        self, client: AcmeClient, solver: ChallengeSolver, predecessor: CertificateFacts | None
    ) -> tuple[Secret, Issued] | None:
        """The certificate of an order that an earlier run left under way, if it can still be had and is news."""
        for earlier in chain(self._keeper.earlier(), self._lost(client)):
            try:
                found = self._go_on(client, earlier, solver)
            except NotAsExpected as error:
                if not self._services.force:
                    raise
                self._scope.warn(f"{error.message}; ordering again")
                found = None
            if found is not None and self._is_news(found[1], predecessor):
                self._scope.step(f"went on with the order of an earlier run, {earlier.order}")
                return found
            self._guard()  # what is kept may be of the run that took over
            self._keeper.forget(earlier.order)
        return None

    def _lost(self, client: AcmeClient) -> Iterator[Earlier]:
        """After a run was killed: an order that it may not have had the time to write down."""
        spec = self._job.spec
        if self._keeper.after_a_kill():
            lost = self._services.authorities.lost_orders(spec.authority)
            order = lost.claim(client, frozenset(spec.names), spec.profile, self._scope)
            if order is not None:
                yield Earlier(order.url)

    def _go_on(self, client: AcmeClient, earlier: Earlier, solver: ChallengeSolver) -> tuple[Secret, Issued] | None:
        try:
            private = key_from_pem(earlier.key) if earlier.key else generate_key(self._job.spec.key)
        except ValueError:
            private = generate_key(self._job.spec.key)
        request, key = self._request(private), key_to_pem(private)
        if earlier.certificate is not None:
            try:
                now = self._services.clock.now()
                return key, accept(earlier.certificate, request, order_url=earlier.order, now=now)
            except NotAsExpected:
                raise
            except CertificateRejected as error:
                self._scope.warn(f"the certificate that an earlier run kept cannot be used: {error.message}")
        issued = resume(
            client,
            earlier.order,
            request,
            scope=self._scope,
            before_finalize=self._guard,
            solver=solver,
            on_order=lambda order: self._keeper.about_to_finalize(order, key),
            on_given_up=self._give_up,
        )
        return None if issued is None else (key, issued)

    def _is_news(self, issued: Issued, predecessor: CertificateFacts | None) -> bool:
        """Whether it is not the certificate that shall be replaced: a run may have died after it published that."""
        facts, policy = issued.facts, self._job.spec.renew
        due = renewal_time(facts.not_before, facts.not_after, policy, None)
        return self._services.clock.now() < due and (predecessor is None or facts.sha256 != predecessor.sha256)

    def _give_up(self, order: Order) -> None:
        """An order that failed or was interrupted: nothing of it shall count at the CA any longer."""
        assert self._client is not None
        try:
            self._guard()
        except CiAcmeError:
            return  # the run that took over may go on with it
        if end_order(self._client, order, self._job.spec.authority, self._services):
            with suppress(DeliveryError, Interrupted):
                self._keeper.forget(order.url)

    def _keep_for_later(self, bundle: Bundle, order: str) -> None:
        """A store lacks the certificate and no other gives its key back: keep it where the order was kept."""
        try:
            self._keeper.about_to_finalize(order, bundle.key, bundle.fullchain)
        except DeliveryError as error:  # the key and the order's URL are there since before finalize
            self._scope.warn(f"{error.message}; the next run downloads it from the order again")

    # --- values ---

    def _request(self, key: PrivateKey, replaces: str | None = None) -> OrderRequest:
        spec, authority = self._job.spec, self._services.authority(self._job.spec.authority)
        start = self._services.clock.now() - (spec.backdate or timedelta())
        return OrderRequest(
            names=spec.names,
            key=key,
            profile=spec.profile,
            replaces=replaces,
            preferred_chain=authority.preferred_chain,
            not_before=None if spec.backdate is None else start,
            not_after=None if spec.lifetime is None else start + spec.lifetime,
            renew=spec.renew,
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
