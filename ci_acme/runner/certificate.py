"""One certificate from what its stores hold to what they shall hold."""

from __future__ import annotations

import random
from datetime import datetime
from typing import TYPE_CHECKING

from ci_acme.core import renewal
from ci_acme.core.budget import OrderKind, order_kind
from ci_acme.core.plan import Action, Decision, Selection, StoreView, decide, select
from ci_acme.core.report import Outcome, StoreOutcome
from ci_acme.core.requirements import KnownRefusal
from ci_acme.dataclass import dataclass
from ci_acme.errors import CaError, CiAcmeError, DeliveryError, Interrupted, RateLimited, StoreReadError
from ci_acme.model.events import Finished, Started, Warned
from ci_acme.model.material import CertificateFacts
from ci_acme.model.records import Metadata, RenewalMemory, parse_time
from ci_acme.ports import Absent, CertificateStore, Present, Unusable
from ci_acme.runner.beforehand import judge_beforehand
from ci_acme.runner.jobs import Job, label_of

if TYPE_CHECKING:
    from ci_acme.runner.services import Services

_DONE = {Action.KEEP: "kept", Action.DELIVER: "delivered", Action.RENEW: "renewed", Action.ISSUE: "issued"}
_WOULD = {
    Action.KEEP: "would-keep",
    Action.DELIVER: "would-deliver",
    Action.RENEW: "would-renew",
    Action.ISSUE: "would-issue",
}


def process(job: Job, services: Services) -> Outcome:
    """Keep, deliver, renew or issue one certificate. Never raises a `CiAcmeError`: it is in the outcome."""
    spec = job.spec
    outcome = Outcome(spec.name, spec.names, spec.authority, spec.key.value, profile=spec.profile, owner=spec.owner)
    begun = services.clock.monotonic()
    try:
        services.clock.check()
        _process(job, services, outcome)
    except CiAcmeError as error:
        outcome.error = _signal(error, services)
        known = isinstance(error, KnownRefusal) or error.details.get("forecast")
        outcome.action = "refused" if known else "failed"
        outcome.reason = outcome.reason or error.message
    outcome.warnings = services.warnings.pop(spec.name, [])
    if not services.dry_run and outcome.action != "kept":
        from ci_acme.runner.recording import record

        record(job, outcome, services)
    outcome.seconds["total"] = services.clock.monotonic() - begun
    services.notify(Finished(spec.name, outcome.action, outcome.reason))
    return outcome


def _signal(error: CiAcmeError, services: Services) -> CiAcmeError:
    """An interrupt as the clock tells it: SIGINT or SIGTERM. An aborted connection does not know which."""
    if isinstance(error, Interrupted):
        try:
            services.clock.check()
        except Interrupted as precise:
            return precise
    return error


@dataclass(frozen=True, slots=True)
class _Look:
    """What the stores hold, and what follows from it. `memory` is what the CA said of the best certificate."""

    views: list[StoreView]
    selection: Selection
    memory: RenewalMemory | None
    renew_after: datetime | None
    decision: Decision

    @property
    def best(self) -> StoreView | None:
        """The view of the store that has the right certificate."""
        return None if self.selection.best is None else self.views[self.selection.best]

    @property
    def ordering(self) -> bool:
        """Whether the CA has to issue a certificate."""
        return self.decision.action in {Action.ISSUE, Action.RENEW}


def _process(job: Job, services: Services, outcome: Outcome) -> None:
    look = _look(job, services, outcome)
    outcome.reason = look.decision.reason
    if look.ordering:
        outcome.kind = _order_kind(job, look, services)
    judge_beforehand(job, look.decision.action, services)
    if look.decision.action is Action.RENEW:
        _explain(job, look.memory, services)
    if services.dry_run:
        _would(job, look, outcome)
    elif look.ordering:
        look = _order(job, look, services, outcome)
        if look.ordering:
            return
        outcome.reason = look.decision.reason
    if not services.dry_run:
        _bring_into_line(job, look, services, outcome)
    if look.best is not None:
        _take(job, look.best, outcome)
        outcome.renew_after = look.renew_after


def _look(job: Job, services: Services, outcome: Outcome, earlier: _Look | None = None) -> _Look:
    """Read the stores and decide. After an `earlier` look the CA is not asked again, and `--force` is done with if
    another run has put a new certificate there meanwhile.
    """
    spec, now = job.spec, services.clock.now()
    views = read_stores(job, services)
    selection = select(spec, views, now)
    memory: RenewalMemory | None = None
    renew_after = None
    replaced = False
    if selection.best is not None:
        best = views[selection.best]
        assert best.facts is not None
        assert best.metadata is not None
        replaced = earlier is not None and (earlier.best is None or earlier.best.facts != best.facts)
        if earlier is None:
            memory = _consult_ca(job, best.facts, best.metadata, services, outcome)
        else:
            memory = best.metadata.renewal if replaced else earlier.memory
        renew_after = renewal.renewal_time(best.facts.not_before, best.facts.not_after, spec.renew, memory)
    decision = decide(selection, renew_after, now, force=services.force and not replaced)
    return _Look(views, selection, memory, renew_after, decision)


def _order(job: Job, look: _Look, services: Services, outcome: Outcome) -> _Look:
    """Issue or renew, unless another run does it meanwhile; the last look, which says which of the two it was.

    The lease is for the first CA, whichever will serve: runs of one config wait for each other before they try any.
    """
    from ci_acme.runner.flight import alone
    from ci_acme.runner.sources import issue_from_sources

    def settled() -> bool:
        nonlocal look
        look = _look(job, services, outcome, look)
        return not look.ordering

    with alone(job.spec, services, unless=settled) as grant:
        if grant is None or settled():  # another run may have published between the first look and the lease
            return look
        decision = look.decision
        _remember_before_order(job, look, services)
        action = "renewing" if decision.action is Action.RENEW else "issuing"
        services.notify(Started(job.spec.name, action, decision.reason))
        services.look_who_asks()
        issue_from_sources(job, look.views, services, outcome, grant.check)
        outcome.action = _DONE[decision.action] if outcome.error is None else "failed"
    return look


def _remember_before_order(job: Job, look: _Look, services: Services) -> None:
    """What the CA said, or that it said nothing, must survive an order that fails (RFC 9773 section 4.3)."""
    if look.best is None or look.memory is None or look.renew_after is None:
        return
    assert look.best.metadata is not None
    fresh = look.best.metadata.with_renewal(look.memory, look.renew_after)
    _remember(job, look.views, look.selection, fresh, services)


def _bring_into_line(job: Job, look: _Look, services: Services, outcome: Outcome) -> None:
    """Keep what is there, and deliver it to the stores that do not have it."""
    selection, decision = look.selection, look.decision
    assert selection.best is not None
    assert look.best is not None
    assert look.best.metadata is not None
    assert look.renew_after is not None
    fresh = look.best.metadata.with_renewal(look.memory, look.renew_after)
    _remember(job, look.views, selection, fresh, services)
    if decision.action is Action.DELIVER:
        from ci_acme.runner.redelivery import deliver

        outcome.stores = deliver(job, look.views, look.decision, fresh, services, outcome)
        outcome.error = next((store.error for store in outcome.stores if store.error), None)
    else:
        outcome.stores = [StoreOutcome(s.provider, s.target, "kept", v.version) for s, v in _pairs(job, look.views)]
    outcome.action = _DONE[decision.action] if outcome.error is None else "failed"


def _take(job: Job, view: StoreView, outcome: Outcome) -> None:
    """What the stores hold already, and which CA it is of."""
    assert view.facts is not None
    outcome.take(view.facts)
    if view.metadata is not None:
        outcome.order = view.metadata.order
        source = job.spec.source_of(view.metadata.authority)
        outcome.authority, outcome.profile = source.authority, source.profile


def read_stores(job: Job, services: Services) -> list[StoreView]:
    """What every store holds. A store that cannot be read counts as empty unless none can be read."""
    views: list[StoreView] = []
    errors: list[StoreReadError] = []
    for store in job.stores:
        try:
            views.append(view_of(store, services))
        except StoreReadError as error:
            errors.append(error)
            services.notify(Warned(job.spec.name, error.message))
            views.append(StoreView(label_of(store), problem="unreadable content"))
    if len(errors) == len(job.stores):
        raise errors[0]
    return views


def view_of(store: CertificateStore, services: Services) -> StoreView:
    """One store's content, with the certificate described. Raises `StoreReadError`."""
    state = store.read(deadline=services.deadline)
    label = label_of(store)
    if isinstance(state, Absent):
        return StoreView(label)
    if isinstance(state, Unusable):
        return StoreView(label, problem=f"nothing usable ({state.reason})")
    assert isinstance(state, Present)
    if state.metadata is not None:  # it is of this certificate: nothing to parse, and cryptography stays unloaded
        return StoreView(label, state.metadata.facts(), state.metadata, version=state.version, lacks=state.lacks)
    from ci_acme.ca.inspect import describe

    try:
        return StoreView(label, describe(state.certificate or b""), version=state.version)
    except ValueError as error:
        return StoreView(label, problem=f"nothing usable ({error})")


def _consult_ca(
    job: Job, facts: CertificateFacts, metadata: Metadata, services: Services, outcome: Outcome
) -> RenewalMemory | None:
    """ARI, if the policy wants it, the CA has it, and its Retry-After has passed; else what is remembered."""
    memory = metadata.renewal
    now = services.clock.now()
    if memory is None or not job.spec.renew.auto or services.force:
        return memory
    if not renewal.may_ask(memory, now, facts.not_after):
        return memory
    scope = services.scope(job.spec.name)
    authority = job.spec.source_of(metadata.authority).authority
    try:
        window = services.connections.renewal_window(authority, memory.url, scope)
    except Interrupted:
        raise
    except (CaError, RateLimited) as error:  # the certificate is good whatever the CA says now
        services.notify(Warned(job.spec.name, f"no renewal information from the CA: {error.message}"))
        return renewal.failed(memory, now, temporary=error.retryable, retry_at=_retry_at(error))
    finally:
        outcome.acme_requests += scope.requests.total
    fresh = renewal.answered(memory, window, now, random.random())  # noqa: S311 - spreads load, guards nothing
    if fresh.explanation_url != memory.explanation_url:
        _explain(job, fresh, services)
    return fresh


def _retry_at(error: CiAcmeError) -> datetime | None:
    """When the CA said that it may be asked again."""
    said = error.details.get("retry_at")
    return parse_time(said) if isinstance(said, str) else None


def _explain(job: Job, memory: RenewalMemory | None, services: Services) -> None:
    """Where the CA says why (RFC 9773 section 4.2): when that is new, and when it makes us renew; once in a run."""
    if memory is None or not memory.explanation_url:
        return
    text = f"the CA explains its renewal window at {memory.explanation_url}"
    if text not in services.warnings.get(job.spec.name, []):
        services.notify(Warned(job.spec.name, text))


def _order_kind(job: Job, look: _Look, services: Services) -> OrderKind:
    """What the order is to the first CA. `replaced` may be older than what a fallback has issued meanwhile."""
    limits, selection = services.authority(job.spec.authority).limits, look.selection
    if selection.predecessor is None:
        return OrderKind.NEW
    replaced = look.views[selection.predecessor]
    memory = look.memory if selection.predecessor == selection.best else None
    if memory is None and replaced.metadata is not None:
        memory = replaced.metadata.renewal
    return order_kind(job.spec.names, replaced.facts, memory, services.clock.now(), limits)


def _remember(job: Job, views: list[StoreView], selection: Selection, fresh: Metadata, services: Services) -> None:
    """Write what the CA said about renewal beside the certificate, where it changed."""
    for index, (store, view) in enumerate(_pairs(job, views)):
        if index in selection.missing or view.metadata is None or view.metadata == fresh:
            continue
        try:
            store.annotate(fresh, deadline=services.deadline)
        except DeliveryError as error:
            services.notify(Warned(job.spec.name, f"could not note the renewal time: {error.message}"))


def _would(job: Job, look: _Look, outcome: Outcome) -> None:
    """The result of a dry run: the action, and what it would cost of the CA's limits."""
    decision, ordering = look.decision, look.ordering
    outcome.action = _WOULD[decision.action]
    touched = range(len(job.stores)) if ordering else decision.missing
    outcome.stores = [
        StoreOutcome(store.provider, store.target, "would-write" if i in touched else "kept", view.version)
        for i, (store, view) in enumerate(_pairs(job, look.views))
    ]
    outcome.cost = {
        "orders": int(ordering),
        "names": len(job.spec.names) if ordering else 0,
        "counts_as": outcome.kind.value if outcome.kind else "nothing",
    }


def _pairs(job: Job, views: list[StoreView]) -> list[tuple[CertificateStore, StoreView]]:
    return list(zip(job.stores, views, strict=True))
