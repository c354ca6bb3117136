"""`monitor`: stores, records, CT logs and servers looked at, and alerts about what is found. Changes nothing anywhere.

Each source is read by itself: one that cannot be read is an alert, and the others are judged all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ci_acme.config.monitoring import Endpoint, Monitor, Transparency, parse_moment
from ci_acme.core.alerts import Alert, Looked, Report, Served, ordered
from ci_acme.core.inventory import Row, from_entry, join
from ci_acme.core.plan import StoreView
from ci_acme.core.spikes import spikes
from ci_acme.core.transparency import Issuance, Known, known_certificates, unknown
from ci_acme.core.watch import Watched, drift, expiry, failing, made_at, renewal_failed
from ci_acme.dataclass import dataclass, field
from ci_acme.errors import CiAcmeError, Interrupted
from ci_acme.model.material import CertificateFacts
from ci_acme.model.records import format_time
from ci_acme.monitor.source import SourceDown
from ci_acme.runner.certificate import view_of
from ci_acme.runner.jobs import Job, label_of
from ci_acme.runner.listing import row_of

if TYPE_CHECKING:
    from ci_acme.runner.services import Services
    from ci_acme.state.ledger import Event

HISTORY: Final = timedelta(days=400)
"""How far back records are read: a certificate that ended before has no alert."""
_ROW_ONLY: Final = ("valid", "due", "expired")


@dataclass(slots=True)
class Glance:
    """What the stores of one certificate said, and alerts about those that said nothing."""

    job: Job
    views: list[StoreView] = field(default_factory=list[StoreView])
    unreadable: set[int] = field(default_factory=set[int])
    alerts: list[Alert] = field(default_factory=list[Alert])


def glance(job: Job, services: Services) -> Glance:
    """Read the stores of a certificate. Raises only `Interrupted`."""
    seen = Glance(job)
    for index, store in enumerate(job.stores):
        services.clock.check()
        try:
            seen.views.append(view_of(store, services))
        except Interrupted:
            raise
        except CiAcmeError as error:
            seen.unreadable.add(index)
            label, spec = label_of(store), job.spec
            seen.views.append(StoreView(label, problem="unreadable"))
            seen.alerts.append(
                Alert(
                    "source.store",
                    "warning",
                    label,
                    error.message,
                    error.fix,
                    spec.name,
                    spec.owner,
                    details={"error": error.code},
                )
            )
    return seen


def judge(seen: Sequence[Glance], services: Services, settings: Monitor, *, everything: bool) -> Report:
    """The alerts about certificates that were looked at, and about all else that the config wants to be watched.

    Not `everything`: of some certificates alone, without those that only the records know, and without spikes.
    """
    now = services.clock.now()
    records = _Records.read(services, now)
    held = [row_of(one.job, one.views, one.unreadable, now) for one in seen]
    rows = join(held, records.entries, now)
    mine, others = rows[: len(held)], [row for row in rows[len(held) :] if row.state in _ROW_ONLY]
    shown = [*mine, *others] if settings.others and everything else mine
    known = _by_name(found for entry in records.entries if (found := from_entry(entry, now)))
    pairs = [(one, row) for one, row in zip(seen, mine, strict=True) if row.state != "retired"]
    watched = [_watched(one, row, known.get(row.name, ()), now) for one, row in pairs]
    alerts = [*records.alerts, *(alert for one in seen for alert in one.alerts)]
    rules, events = settings.rules, records.events
    alerts += [alert for row in shown if row.state != "retired" and (alert := expiry(row, rules, now))]
    own = _by_certificate(events)
    for one in watched:
        about = own.get(one.spec.name, ())
        alerts += [*renewal_failed(one, about, rules, now), *drift(one, about, rules, now)]
    if everything:
        alerts += spikes(events, settings.spike.rules, now, _domains)
    views = [view for one in seen for view in one.views if view.facts is not None]
    ours = _known(settings.ct, rows, records, views, now) if settings.ct and everything else None
    ct = _ct(settings.ct, services, watched, ours) if settings.ct and ours else None
    served = _endpoints(settings.endpoints, services, watched, records, now) if settings.endpoints else None
    alerts += [*(ct.alerts if ct else ()), *(served.alerts if served else ())]
    counts = {one.spec.name: _failing(one, own.get(one.spec.name, ())) for one in watched}
    return Report(
        at=now,
        alerts=ordered(alerts, settings.ignore),
        rows=tuple(shown),
        looked=Looked(
            certificates=len(shown),
            stores=sum(len(one.views) - len(one.unreadable) for one in seen),
            records=len(events),
            ct=ct.looked if ct else None,
            endpoints=len(served.served) if served else None,
        ),
        endpoints=tuple(served.served) if served else (),
        failing=counts,
    )


def _by_name(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.name, []).append(row)
    return found


def _by_certificate(events: Iterable[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.certificate, []).append(event)
    return found


def _failing(watched: Watched, events: Sequence[Event]) -> int:
    found = failing(events, watched.spec, made_at(watched.row, events))
    return found.count if found else 0


def _watched(seen: Glance, row: Row, known: Iterable[Row], now: datetime) -> Watched:
    spec = seen.job.spec
    same = [found for found in known if set(found.names) == set(spec.names) and found.not_before is not None]
    latest = max(same, key=lambda found: found.not_before or now, default=None)
    views = tuple(view for index, view in enumerate(seen.views) if index not in seen.unreadable)
    return Watched(spec, row, views, latest)


def _domains(names: Iterable[str]) -> list[str]:
    from ci_acme.dns.registered import registered_domains

    return registered_domains(names)


# --- records ---


@dataclass(slots=True)
class _Records:
    events: list[Event] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    alerts: list[Alert] = field(default_factory=list[Alert])

    @classmethod
    def read(cls, services: Services, now: datetime) -> _Records:
        """What the ledger has, as far as it can be read; nothing is written, and no file is made."""
        from ci_acme.state.engine import open_state
        from ci_acme.state.ledger import Ledger

        found = cls()
        where = services.config.state.partition("?")[0]
        try:
            with closing(open_state(services.config.state, clock=services.clock)) as engine:
                where = engine.where
                ledger = Ledger(engine)
                found.entries = ledger.entries()
                for event in ledger.events(now - HISTORY):
                    found.events.append(event)
        except Interrupted:
            raise
        except CiAcmeError as error:
            details = {"error": error.code}
            found.alerts.append(Alert("source.state", "warning", where, error.message, error.fix, details=details))
        else:
            if not found.events:
                text = "there are no records of runs, so that failed renewals and spikes are not seen"
                fix = "let `state` name what the runs use that issue certificates (a bucket, a database)"
                found.alerts.append(Alert("source.empty", "notice", where, text, fix))
        return found


# --- CT ---


@dataclass(slots=True)
class _Ct:
    looked: int = 0
    alerts: list[Alert] = field(default_factory=list[Alert])


@dataclass(frozen=True, slots=True)
class _Ours:
    """Certificates that are known, and since when all that are issued have been."""

    known: Known
    since: datetime


def _known(
    settings: Transparency, rows: Sequence[Row], records: _Records, views: Sequence[StoreView], now: datetime
) -> _Ours:
    """What is older than the records was issued before anybody kept any: of it nothing can be said."""
    keys = [view.facts.spki_sha256 for view in views if view.facts is not None]
    known = known_certificates(rows, records.events, keys, " ".join(settings.known))
    if settings.since is not None:
        return _Ours(known, parse_moment(settings.since))
    begun = [event.at for event in records.events] or [row.not_before for row in rows if row.not_before is not None]
    return _Ours(known, min(begun, default=now))


def _ct(settings: Transparency, services: Services, watched: Sequence[Watched], ours: _Ours) -> _Ct:
    """Certificates in the CT logs that are not ours, domain by domain; one that cannot be asked for is an alert."""
    from ci_acme.monitor.ct import CtIndex

    names = sorted({name for one in watched for name in one.spec.names})
    found, issuances = _Ct(), list[Issuance]()
    try:
        token = services.read_secret(settings.token) if settings.token else None
        bundle = Path(settings.ca_bundle) if settings.ca_bundle else None
        with closing(CtIndex(settings.api, settings.speaks, token, bundle)) as index:
            for domain in settings.domains or _domains(names):
                try:
                    issuances += index.certificates(domain, services.deadline)
                except SourceDown as down:
                    found.alerts.append(Alert("source.ct", "warning", domain, down.message, down.fix))
    except Interrupted:
        raise
    except CiAcmeError as error:
        found.alerts.append(Alert("source.ct", "warning", settings.api, error.message, error.fix))
    found.looked = len(issuances)
    found.alerts += unknown(issuances, ours.known, names, settings.domains, ours.since)
    return found


# --- servers ---


@dataclass(slots=True)
class _Probed:
    served: list[Served] = field(default_factory=list[Served])
    alerts: list[Alert] = field(default_factory=list[Alert])


def _endpoints(
    endpoints: Sequence[Endpoint], services: Services, watched: Sequence[Watched], records: _Records, now: datetime
) -> _Probed:
    """What the servers serve, compared with what the stores hold for their names."""
    from ci_acme.ca.inspect import describe
    from ci_acme.core.serving import judge_served
    from ci_acme.monitor.probe import Target, look

    targets = [Target(*one.host_port, one.server_name) for one in endpoints]
    probed = _Probed()
    for target, seen in zip(targets, look(targets, services.deadline), strict=True):
        facts: CertificateFacts | str = seen if isinstance(seen, str) else "a certificate that cannot be read"
        if isinstance(seen, bytes):
            try:
                facts = describe(seen)
            except ValueError as error:
                facts = f"it serves something unusable: {error}"
        result, alert = judge_served(target.label, target.name, facts, watched, records.events, now)
        probed.served.append(result)
        probed.alerts += [alert] if alert else []
    return probed


def summary_line(report: Report) -> str:
    """What was looked at, in a line for people."""
    looked = report.looked
    parts = [f"{looked.certificates} certificates", f"{looked.stores} stores", f"{looked.records} records"]
    parts += [f"{looked.ct} of the CT logs"] if looked.ct is not None else []
    parts += [f"{looked.endpoints} servers"] if looked.endpoints is not None else []
    verdict = "no alert" if not report.firing else f"{report.firing} alert{'s' if report.firing > 1 else ''}"
    return f"{verdict}: looked at {', '.join(parts)} at {format_time(report.at)}"
