"""Expiry, failed renewals and drift of certificates, judged from what stores hold and records tell. Pure.

Every threshold is relative to the life of the certificate that it is about: nothing alerts before a renewal is due,
whether it lives for six days or for a year.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from ci_acme.core.alerts import Alert
from ci_acme.core.inventory import Row
from ci_acme.core.plan import StoreView, problems
from ci_acme.dataclass import dataclass
from ci_acme.model.records import format_time
from ci_acme.model.spec import CertificateSpec

FORGET: Final = timedelta(days=14)
"""Failures that are older are no longer an alert: if they still mattered, the certificate would be overdue."""
BACKDATED: Final = timedelta(hours=1)
"""Certificates begin up to an hour before they are issued."""
_ISSUED: Final = ("certificate", "renewal")
_FAILED: Final = ("failure", "refusal")
_BACK: Final = "`ci-acme issue {name}` brings the stores into line; if nobody of yours changed this, find out who did"


class LedgerEvent(Protocol):
    """An event of the ledger (`ci_acme.state.ledger.Event`)."""

    @property
    def at(self) -> datetime: ...
    @property
    def certificate(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def facts(self) -> Mapping[str, Any]: ...
    @property
    def by(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """When to alert. `expiry` or `expiry_fraction` says how much life left is critical."""

    overdue: timedelta = timedelta(hours=48)
    expiry: timedelta | None = None
    expiry_fraction: float | None = 0.1
    failures: int = 2
    key_age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Watched:
    """A certificate of the config: its row of the inventory, and what each readable store holds.

    `known` is what the records in state have of it, None if nothing.
    """

    spec: CertificateSpec
    row: Row
    views: tuple[StoreView, ...] = ()
    known: Row | None = None

    @property
    def held(self) -> StoreView | None:
        """The first view of the certificate that the row is about."""
        return next((v for v in self.views if v.facts is not None and v.facts.sha256 == self.row.sha256), None)


# --- expiry ---


def overdue_from(not_after: datetime, renew_after: datetime, rules: Rules) -> datetime:
    """From when on a certificate waits for its renewal for too long."""
    return renew_after + min(rules.overdue, (not_after - renew_after) / 4)


def critical_from(not_before: datetime | None, not_after: datetime, renew_after: datetime, rules: Rules) -> datetime:
    """From when on so little life is left that somebody has to act."""
    left = (not_after - renew_after) / 2
    if rules.expiry is not None:
        left = min(left, rules.expiry)
    elif rules.expiry_fraction is not None and not_before is not None:
        left = min(left, (not_after - not_before) * rules.expiry_fraction)
    return not_after - left


def expiry(row: Row, rules: Rules, now: datetime) -> Alert | None:
    """The alert about the end of a certificate, or about its renewal that does not come."""
    end, due = row.not_after, row.renew_after
    if end is None:
        return None
    due = min(due, end) if due is not None else end
    critical = critical_from(row.not_before, end, due, rules)
    if now >= end:
        said = ("expiry.expired", "critical", end, f"it ended at {format_time(end)}")
    elif due < end and now >= critical:
        said = ("expiry.soon", "critical", critical, f"it ends in {span(end - now)}, at {format_time(end)}")
    elif due < end and now >= overdue_from(end, due, rules):
        text = f"it is due since {format_time(due)} and was not renewed; it ends in {span(end - now)}"
        said = ("expiry.overdue", "warning", due, text)
    else:
        return None
    code, severity, since, text = said
    left = max(0, round((end - now).total_seconds()))
    details = {"not_after": format_time(end), "renew_after": format_time(due), "seconds_left": left}
    return Alert(code, severity, _first(row), text, _renew(row), row.name, row.owner, since, details)


def _renew(row: Row) -> str:
    if row.source == "ledger":
        return "renew it where it is configured, or end it with `ci-acme retire`"
    return f"see why no run renews it (`ci-acme plan {row.name}`), then run `ci-acme issue {row.name}`"


def _first(row: Row) -> str:
    return row.names[0] if row.names else row.name


def span(time: timedelta) -> str:
    """`3 d 4 h`, `5 h`, `12 min`."""
    minutes = int(time.total_seconds() // 60)
    if minutes >= 48 * 60:
        days, hours = divmod(minutes // 60, 24)
        return f"{days} d {hours} h" if hours else f"{days} d"
    return f"{minutes // 60} h" if minutes >= 120 else f"{minutes} min"


# --- failed renewals ---


@dataclass(frozen=True, slots=True)
class Failing:
    """Failed orders in a row, the last one first."""

    count: int
    since: datetime
    last: datetime
    code: str
    message: str


def made_at(row: Row, events: Iterable[LedgerEvent]) -> datetime | None:
    """When the certificate was issued: what the records say, else about an hour after its begin at most."""
    known = [e.at for e in events if e.what in _ISSUED and row.sha256 and e.facts.get("sha256") == row.sha256]
    return min(known) if known else row.not_before and row.not_before + BACKDATED


def failing(events: Iterable[LedgerEvent], spec: CertificateSpec, issued: datetime | None) -> Failing | None:
    """The orders that failed since the last success; `issued` is when the certificate that is held was made."""
    names, found = sorted(spec.names), None
    for event in sorted(events, key=lambda one: one.at):
        if event.certificate != spec.name or sorted(map(str, event.facts.get("names") or ())) != names:
            continue
        if event.what in _ISSUED:
            found = None
        elif event.what in _FAILED and (issued is None or event.at > issued):
            code, message = str(event.facts.get("code", "")), str(event.facts.get("message", ""))
            count, since = (found.count + 1, found.since) if found else (1, event.at)
            found = Failing(count, since, event.at, code, message)
    return found


def renewal_failed(watched: Watched, events: Sequence[LedgerEvent], rules: Rules, now: datetime) -> Iterator[Alert]:
    """The alerts about orders that fail, and about certificates that did not reach a store."""
    row, name = watched.row, watched.spec.name
    found = failing(events, watched.spec, made_at(row, events))
    if found is not None and now - found.last <= FORGET:
        late = expiry(row, rules, now)
        worst = "critical" if row.not_after is None or (late and late.severity == "critical") else "warning"
        times = "once" if found.count == 1 else f"{found.count} times in a row"
        left = "" if row.not_after is None else f"; the certificate ends in {span(row.not_after - now)}"
        text = f"the order failed {times} since {format_time(found.since)}: {found.message} ({found.code}){left}"
        details = {"count": found.count, "error": found.code, "last": format_time(found.last)}
        severity = worst if found.count >= rules.failures else "notice"
        fix = f"`ci-acme check {name}` says what is wrong now; docs/errors.md has {found.code}"
        yield Alert("renewal.failed", severity, _first(row), text, fix, name, row.owner, found.since, details)
    yield from _undelivered(watched, events, now)


def _undelivered(watched: Watched, events: Sequence[LedgerEvent], now: datetime) -> Iterator[Alert]:
    """Stores whose last delivery failed, and which do not have that certificate, or a newer one, by now."""
    row, name = watched.row, watched.spec.name
    made = made_at(row, events)
    serials = {place.label: place.serial for place in row.stores}
    last: dict[str, tuple[LedgerEvent, datetime]] = {}
    for event in sorted(events, key=lambda one: one.at):
        label = f"{event.facts.get('provider')}:{event.facts.get('target')}"
        if event.what != "deployment" or event.certificate != name or label not in serials:
            continue
        if event.facts.get("error"):
            last[label] = (event, last[label][1] if label in last else event.at)
        else:
            last.pop(label, None)
    for label, (event, since) in last.items():
        code = str(event.facts["error"])
        newer = made is not None and made > event.at
        if newer or serials[label] == event.facts.get("serial") or now - event.at > FORGET:
            continue
        text = f"the certificate {event.facts.get('serial')} did not reach {label} ({code})"
        fix = f"`ci-acme issue {name}` delivers it without a new order"
        yield Alert("renewal.undelivered", "warning", label, text, fix, name, row.owner, since, {"error": code})


# --- drift ---


def drift(watched: Watched, events: Sequence[LedgerEvent], rules: Rules, now: datetime) -> Iterator[Alert]:
    """The alerts about stores that do not hold what they should."""
    spec, row = watched.spec, watched.row
    revoked = {v.metadata.sha256: v.metadata.revoked for v in watched.views if v.metadata and v.metadata.revoked}
    best = watched.held
    nowhere = best is None and all(place.state != "unreadable" for place in row.stores)
    for view in watched.views:
        for code, severity, text, since in _of_view(spec, view, best, revoked, now):
            worst = "critical" if nowhere and code in {"missing", "unusable"} else severity
            details = {} if view.facts is None else {"serial": view.facts.serial}
            fix = _BACK.format(name=spec.name)
            yield Alert(f"drift.{code}", worst, view.label, text, fix, spec.name, row.owner, since, details)
    yield from _older(watched)
    yield from _key_age(watched, events, rules, now)


def _of_view(
    spec: CertificateSpec,
    view: StoreView,
    best: StoreView | None,
    revoked: Mapping[str, datetime],
    now: datetime,
) -> Iterator[tuple[str, str, str, datetime | None]]:
    if view.facts is None:
        code = "unusable" if view.problem else "missing"
        text = view.problem or "there is no certificate"
        yield code, "warning", text, None
        return
    found = [(code, text) for code, text in problems(spec, view, now, revoked) if code != "expired"]
    for code, text in found:
        yield code, "critical" if code == "revoked" else "warning", f"the certificate {text}", view.facts.not_before
    if found:
        return
    assert best is not None
    assert best.facts is not None
    if view.facts.sha256 != best.facts.sha256:
        ends = format_time(view.facts.not_after)
        text = f"it holds {view.facts.serial}, which ends at {ends}; {best.label} holds {best.facts.serial}"
        yield "other", "warning", text, best.facts.not_before
    elif view.lacks:
        yield "incomplete", "warning", view.lacks, None


def _older(watched: Watched) -> Iterator[Alert]:
    row, known = watched.row, watched.known
    if known is None or known.state == "retired" or row.not_before is None or known.not_before is None:
        return
    if known.sha256 == row.sha256 or known.not_before < row.not_before:
        return
    text = (
        f"the stores hold {row.serial}, issued at {format_time(row.not_before)}; the last one that was delivered is "
        f"{known.serial}, of {format_time(known.not_before)}"
    )
    fix = (
        f"if nobody of yours brought the old one back, find out who did; `ci-acme issue --force {row.name}` makes a "
        "new one, whose key nobody else has"
    )
    yield Alert("drift.older", "warning", _first(row), text, fix, row.name, row.owner, known.not_before)


def _key_age(watched: Watched, events: Sequence[LedgerEvent], rules: Rules, now: datetime) -> Iterator[Alert]:
    held, row = watched.held, watched.row
    if rules.key_age is None or held is None or held.facts is None:
        return
    key = held.facts.spki_sha256
    seen = [event.at for event in events if event.what in _ISSUED and event.facts.get("spki_sha256") == key]
    made = min([held.facts.not_before, *seen])
    if now - made <= rules.key_age:
        return
    text = f"its key is {span(now - made)} old, and may be {span(rules.key_age)}"
    fix = f"make a new one with `ci-acme issue --force {row.name}`"
    since = made + rules.key_age
    yield Alert("drift.key_age", "warning", held.label, text, fix, row.name, row.owner, since, {"spki_sha256": key})
