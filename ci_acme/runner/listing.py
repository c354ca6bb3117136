"""`inventory`: what the stores of the config hold, joined with the ledger. Changes nothing, asks no CA."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ci_acme.core import renewal
from ci_acme.core.inventory import Place, Row, join, life
from ci_acme.core.plan import StoreView, select
from ci_acme.dataclass import replace
from ci_acme.errors import CiAcmeError, StoreReadError
from ci_acme.model.events import Warned
from ci_acme.ports import CertificateStore
from ci_acme.runner.certificate import view_of
from ci_acme.runner.jobs import Job, label_of

if TYPE_CHECKING:
    from ci_acme.runner.services import Services


def inventory(jobs: Sequence[Job], services: Services) -> list[Row]:
    """Every certificate of the config, and those that only the ledger knows. Stores alone are enough."""
    now = services.clock.now()
    return join([_row(job, services, now) for job in jobs], _entries(services), now)


def _entries(services: Services) -> Sequence[Mapping[str, Any]]:
    from ci_acme.state.ledger import Ledger

    try:
        return Ledger(services.peek()).entries()
    except CiAcmeError as error:
        services.notify(Warned("", f"certificates outside of this config are not listed: {error.message}"))
        return []


def _row(job: Job, services: Services, now: datetime) -> Row:
    views: list[StoreView] = []
    unreadable: set[int] = set()
    for index, store in enumerate(job.stores):
        try:
            views.append(view_of(store, services))
        except StoreReadError as error:
            services.notify(Warned(job.spec.name, error.message))
            unreadable.add(index)
            views.append(StoreView(label_of(store), problem="unreadable"))
    return row_of(job, views, unreadable, now)


def row_of(job: Job, views: Sequence[StoreView], unreadable: Collection[int], now: datetime) -> Row:
    """A certificate of the config by what its stores hold; `unreadable` has the indices of those that did not say."""
    spec = job.spec
    selection = select(spec, views, now)
    there = [index for index, view in enumerate(views) if view.facts is not None]
    chosen = selection.best if selection.best is not None else max(there, key=lambda i: _end(views[i]), default=None)
    shown = None if chosen is None else views[chosen]
    places = tuple(
        _place(store, view, shown, readable=index not in unreadable)
        for index, (store, view) in enumerate(zip(job.stores, views, strict=True))
    )
    base = Row(
        name=spec.name,
        names=spec.names,
        state="unreadable" if len(unreadable) == len(views) else "missing",
        source="stores",
        directory=spec.directory,
        authority=spec.authority,
        owner=spec.owner,
        key=spec.key.value,
        profile=spec.profile,
        stores=places,
    )
    if shown is None:
        return base
    row = _filled(job, base, shown, now)
    known = any(view.metadata and view.metadata.revoked and view.metadata.sha256 == row.sha256 for view in views)
    return replace(row, state="revoked") if known and row.state != "expired" else row


def _filled(job: Job, base: Row, view: StoreView, now: datetime) -> Row:
    """With the facts of the certificate that is there."""
    facts, metadata = view.facts, view.metadata
    assert facts is not None
    memory = metadata.renewal if metadata else None
    due = renewal.renewal_time(facts.not_before, facts.not_after, job.spec.renew, memory)
    state = life(facts.not_after, due, now)
    if state == "valid" and any(place.state != "held" for place in base.stores):
        state = "partial"
    return Row(
        name=base.name,
        names=facts.names,
        state=state,
        source=base.source,
        directory=metadata.authority if metadata else base.directory,
        authority=job.spec.source_of(metadata.authority).authority if metadata else base.authority,
        owner=base.owner or (metadata.owner if metadata else None),
        issuer=facts.issuer,
        serial=facts.serial,
        sha256=facts.sha256,
        key=facts.key_type.value if facts.key_type else None,
        profile=metadata.profile if metadata else None,
        not_before=facts.not_before,
        not_after=facts.not_after,
        renew_after=due,
        run=metadata.run if metadata else None,
        stores=base.stores,
    )


def _place(store: CertificateStore, view: StoreView, shown: StoreView | None, *, readable: bool) -> Place:
    if view.facts is None:
        state = "unreadable" if not readable else "unusable" if view.problem else "absent"
        return Place(store.provider, store.target, state)
    same = shown is not None and shown.facts is not None and shown.facts.sha256 == view.facts.sha256
    return Place(store.provider, store.target, "held" if same else "other", view.facts.serial, view.version)


def _end(view: StoreView) -> datetime:
    assert view.facts is not None
    return view.facts.not_after
