"""One certificate from the first of its CAs that can serve.

What switches to the next is trouble of the CA: no connection, 5xx, no end within the time, a rate limit. A refusal does
not (CAA, policy, names, a failed challenge): the next CA would be a way around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ci_acme.ca.new_order import check_profile
from ci_acme.core.budget import OrderKind
from ci_acme.core.plan import StoreView, predecessor
from ci_acme.core.quirks import known_ca
from ci_acme.core.report import Outcome
from ci_acme.core.requirements import refusal
from ci_acme.dataclass import replace
from ci_acme.errors import CaaForbidden, CaTimeout, CaUnreachable, CiAcmeError, ConfigError, OrderRefused, RateLimited
from ci_acme.model.events import Warned
from ci_acme.model.spec import CertificateSpec, Source
from ci_acme.ports import CertificateStore
from ci_acme.runner.ca_check import account_url
from ci_acme.runner.issuing import finish_earlier, issue
from ci_acme.runner.jobs import Job
from ci_acme.runner.preflight import Preflight

if TYPE_CHECKING:
    from ci_acme.ca.scope import Scope
    from ci_acme.runner.services import Services

TROUBLE: Final = (CaUnreachable, CaTimeout, RateLimited)
"""What makes the next CA serve."""


def issue_from_sources(
    job: Job, views: list[StoreView], services: Services, outcome: Outcome, guard: Callable[[], None]
) -> None:
    """Issue and publish; the outcome says which CA served, and why if it was not the first. `guard` as for `issue`.

    Raises the first CA's error if all have trouble or cannot serve, with the others' in `details["fallbacks"]`; and
    the refusal of a CA, whichever it is.
    """
    scope = services.scope(job.spec.name)
    try:
        if job.spec.fallbacks:
            _Sources(job, views, services, outcome, scope=scope, guard=guard).run()
        else:
            _refuse_keys(job.spec, views, services)
            issue(job, _store_of(job, job.spec, views), services, outcome, scope=scope, guard=guard)
    finally:
        outcome.acme_requests += scope.requests.total


def _refuse_keys(spec: CertificateSpec, views: list[StoreView], services: Services) -> None:
    """Before the CA is asked. Raises `AccountError` if the account key is that of the certificate."""
    held = {view.facts.spki_sha256 for view in views if view.facts is not None}
    if held:
        services.authorities.refuse_certificate_key(spec.authority, held)


def _store_of(job: Job, spec: CertificateSpec, views: list[StoreView]) -> CertificateStore | None:
    """The store that holds what a new certificate of this CA replaces."""
    index = predecessor(spec, views)
    return None if index is None else job.stores[index]


class _Sources:
    """The CAs of one certificate, one after the other."""

    def __init__(
        self,
        job: Job,
        views: list[StoreView],
        services: Services,
        outcome: Outcome,
        *,
        scope: Scope,
        guard: Callable[[], None],
    ) -> None:
        self._job = job
        self._views = views
        self._services = services
        self._outcome = outcome
        self._scope = scope
        self._guard = guard
        self._kind = outcome.kind
        self._failures: list[tuple[Source, CiAcmeError]] = []

    def run(self) -> None:
        """Try them in order."""
        if self._finish_earlier():
            return
        sources = self._job.spec.sources
        for index, source in enumerate(sources):
            scope = self._scope_for(len(sources) - index)
            try:
                self._try(source, scope)
            except TROUBLE as error:
                self._note(source, error)
            else:
                self._served(source)
                return
        raise self._failed()

    def _try(self, source: Source, scope: Scope) -> None:
        spec = self._job.spec.of(source)
        if self._failures:
            try:
                self._require(spec, scope)
            except (ConfigError, OrderRefused) as error:  # it cannot serve: nothing of it was tried
                raise _CannotServe(error.message, fix=error.fix, details=error.details) from error
            self._outcome.kind = OrderKind.NEW  # whatever the first CA would have counted it as
        _refuse_keys(spec, self._views, self._services)
        job, store = replace(self._job, spec=spec), _store_of(self._job, spec, self._views)
        issue(job, store, self._services, self._outcome, scope=scope, guard=self._guard)

    def _require(self, spec: CertificateSpec, scope: Scope) -> None:
        """What a fallback needs before it is tried: no known refusal, leave by CAA, an account, the profile."""
        refused = refusal(spec, known_ca(spec.directory), self._services.clock.now()) or self._forbidden(spec, scope)
        if refused is not None:
            raise refused
        client = self._services.authorities.client(spec.authority, scope)
        if spec.profile is not None:
            check_profile(spec.profile, client.directory(scope), client.host)

    def _forbidden(self, spec: CertificateSpec, scope: Scope) -> CaaForbidden | None:
        """What CAA says, before an account is registered at a CA that may not issue anyway."""
        directory = self._services.connections.directory(spec.authority, scope)
        preflight = Preflight(spec, self._services)
        try:
            return preflight.forbidden(directory.caa_identities, account_url(spec.authority, self._services))
        finally:
            preflight.call_off()

    def _scope_for(self, left: int) -> Scope:
        """A fair part of the time that is left, so that a CA which hangs leaves some for the next."""
        return replace(self._scope, deadline=self._scope.deadline.within(self._scope.deadline.remaining() / left))

    def _finish_earlier(self) -> bool:
        """What a fallback issued in an earlier run and no store took is delivered, and not ordered anew."""
        staged = {
            pending.spec_digest
            for store in self._job.stores
            if store.capabilities.holds_pending
            and (pending := store.staged(deadline=self._services.deadline)) is not None
        }
        for source in self._job.spec.fallbacks if staged else ():
            spec = self._job.spec.of(source)
            if spec.digest() not in staged:
                continue
            try:
                job, scope = replace(self._job, spec=spec), self._scope_for(2)
                if finish_earlier(job, self._services, self._outcome, scope, self._guard):
                    self._outcome.kind = OrderKind.NEW
                    self._served(source)
                    return True
            except (*TROUBLE, ConfigError) as error:
                self._warn(f"{source.authority} has an order of an earlier run, which cannot be gone on with: {error}")
        return False

    def _served(self, source: Source) -> None:
        outcome = self._outcome
        outcome.authority, outcome.profile = source.authority, source.profile
        if self._failures:
            why = "; ".join(f"{failed.authority}: {error.message}" for failed, error in self._failures)
            outcome.reason = f"{outcome.reason}; served by {source.authority}, as the CAs before it could not ({why})"

    def _note(self, source: Source, error: CiAcmeError) -> None:
        self._failures.append((source, error))
        self._warn(f"{source.authority} cannot serve: {error.message}")

    def _warn(self, text: str) -> None:
        self._services.notify(Warned(self._job.spec.name, text))

    def _failed(self) -> CiAcmeError:
        self._outcome.kind = self._kind
        _, first = self._failures[0]
        others = [{"authority": source.authority, **error.as_dict()} for source, error in self._failures[1:]]
        fix = f"{first.fix}; or repair a fallback: " + "; ".join(
            f"{source.authority}: {error.message}" for source, error in self._failures[1:]
        )
        details = {**first.details, "fallbacks": others}
        if not all(error.details.get("forecast") for _, error in self._failures):
            details.pop("forecast", None)  # at one CA it was tried
        return type(first)(first.message, fix=fix, details=details)


class _CannotServe(CaUnreachable):
    """A fallback lacks something: an account, a profile, a CAA record that permits it."""
