"""What a run did to a certificate, into the ledger and the inventory. A kept certificate costs no write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ci_acme.core.budget import OrderKind
from ci_acme.core.report import Outcome
from ci_acme.errors import CiAcmeError, Interrupted, RateLimited, StateError
from ci_acme.model.events import Warned
from ci_acme.model.records import format_time
from ci_acme.runner.jobs import Job
from ci_acme.runner.quota import failed_names
from ci_acme.state.ledger import Ledger

if TYPE_CHECKING:
    from ci_acme.runner.services import Services


def record(job: Job, outcome: Outcome, services: Services) -> None:
    """Write down what happened, if something did. Never raises: the certificate is more important than its record."""
    if isinstance(outcome.error, (Interrupted, StateError)):
        return
    events = list(_events(job, outcome))
    if not events:
        return
    now = services.clock.now()
    try:
        ledger = Ledger(services.state())
        ledger.record(now, services.run_id, job.spec.name, events, services.who_asked())
        if outcome.serial is not None and _delivered(outcome):
            ledger.put(_entry(job, outcome, services))
    except CiAcmeError as error:
        services.notify(Warned(job.spec.name, f"this is missing in the ledger: {error.message}"))


def _events(job: Job, outcome: Outcome) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    about = {"directory": _directory(job, outcome), "names": list(job.spec.names)}
    ordered = outcome.kind is not None
    if ordered and outcome.order is not None:
        kind = outcome.kind.value if outcome.kind else ""
        events.append({"what": "order", **about, "url": outcome.order, "counts_as": kind, "reason": outcome.reason})
    if ordered and outcome.serial is not None:
        new = outcome.kind is OrderKind.NEW
        events.append({"what": "certificate" if new else "renewal", **about, **_facts(outcome)})
    for store in outcome.stores if ordered or outcome.action == "delivered" else ():
        if store.action != "kept":
            code = {"error": store.error.code} if store.error else {}
            place = {"provider": store.provider, "target": store.target, "version": store.version}
            events.append({"what": "deployment", **place, "action": store.action, "serial": outcome.serial, **code})
    if ordered and outcome.error is not None and outcome.serial is None:
        events.append({**about, **_failure(outcome.error)})
    return events


def _directory(job: Job, outcome: Outcome) -> str:
    """Of the CA that served, or of the first one."""
    return next(source.directory for source in job.spec.sources if source.authority == outcome.authority)


def _failure(error: CiAcmeError) -> dict[str, Any]:
    if isinstance(error, RateLimited):
        known: dict[str, Any] = {
            key: error.details[key] for key in ("retry_at", "limit", "key") if key in error.details
        }
        return {"what": "refusal", "code": error.code, "message": error.message, **known}
    failed = {"failed": found} if (found := failed_names(error)) else {}
    return {"what": "failure", "code": error.code, "message": error.message, **failed}


def _facts(outcome: Outcome) -> dict[str, Any]:
    times = {"not_before": outcome.not_before, "not_after": outcome.not_after, "renew_after": outcome.renew_after}
    return {
        "serial": outcome.serial,
        "sha256": outcome.sha256,
        "spki_sha256": outcome.spki_sha256,
        **({"tbs_sha256": outcome.tbs_sha256} if outcome.tbs_sha256 else {}),
        "issuer": outcome.issuer,
        "profile": outcome.profile,
        "key": outcome.key,
        "order": outcome.order,
        **{name: format_time(time) for name, time in times.items() if time is not None},
    }


def _delivered(outcome: Outcome) -> bool:
    return any(store.action in {"written", "delivered"} for store in outcome.stores)


def _entry(job: Job, outcome: Outcome, services: Services) -> dict[str, Any]:
    """The certificate for the inventory."""
    stores = [
        {"provider": store.provider, "target": store.target, "version": store.version}
        for store in outcome.stores
        if store.error is None
    ]
    return {
        "name": job.spec.name,
        "names": list(job.spec.names),
        "authority": outcome.authority,
        "directory": _directory(job, outcome),
        "owner": job.spec.owner,
        **_facts(outcome),
        "stores": stores,
        "run": services.run_id,
        "by": services.who_asked(),
        "updated": format_time(services.clock.now()),
    }
