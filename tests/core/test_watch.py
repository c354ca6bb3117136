"""Expiry, failed renewals and drift: relative to the life of a certificate, and to what the records say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.alerts import CODES, KINDS, MONITOR_SCHEMA, SEVERITIES, Alert, Looked, Report, ordered
from ci_acme.core.inventory import Place, Row
from ci_acme.core.plan import StoreView
from ci_acme.core.renewal import without_ari
from ci_acme.core.watch import FORGET, Rules, Watched, drift, expiry, failing, renewal_failed, span
from ci_acme.dataclass import dataclass, field, replace
from ci_acme.model.material import CertificateFacts, KeyType
from ci_acme.model.records import Metadata
from ci_acme.model.spec import CertificateSpec, RenewPolicy

NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
DIRECTORY = "https://ca.test/dir"
NAMES = ("www.example.com",)


@dataclass(frozen=True, slots=True)
class Event:
    at: datetime
    what: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    certificate: str = "web"
    by: Mapping[str, str] = field(default_factory=dict)
    run: str = "r"


def event(at: datetime, what: str, **facts: Any) -> Event:
    return Event(at, what, {"names": list(NAMES), **facts})


def spec(**changes: Any) -> CertificateSpec:
    known = {"name": "web", "names": NAMES, "authority": "ca", "directory": DIRECTORY, "profile": None}
    return CertificateSpec(**{**known, "key": KeyType.EC_P256, "owner": "team", "renew": RenewPolicy(), **changes})


def facts(sha256: str = "aa", **changes: Any) -> CertificateFacts:
    times = {"not_before": NOW - 10 * DAY, "not_after": NOW + 80 * DAY}
    known = {"names": NAMES, "serial": sha256, "sha256": sha256, "spki_sha256": f"key {sha256}", "issuer": "CN=R3"}
    return CertificateFacts(**{**known, **times, "key_type": KeyType.EC_P256, "ari_id": None, **changes})


def metadata(found: CertificateFacts, **changes: Any) -> Metadata:
    own = {"name": "web", "spec_digest": "d", "authority": DIRECTORY, "profile": None, "key": "ec-p256", "owner": None}
    shared = {k: getattr(found, k) for k in ("names", "serial", "sha256", "spki_sha256", "issuer")}
    times = {"not_before": found.not_before, "not_after": found.not_after, "renew_after": NOW + 50 * DAY}
    return Metadata(**{**own, **shared, **times, "order": None, "run": "r", **changes})


def view(label: str = "file:a", sha256: str = "aa", **changes: Any) -> StoreView:
    found = facts(sha256)
    return StoreView(label, found, metadata(found), **changes)


def row(begin: datetime = NOW - 10 * DAY, life: timedelta = 90 * DAY, due: datetime | None = None, **more: Any) -> Row:
    times = {"not_before": begin, "not_after": begin + life, "renew_after": due or begin + life * 2 / 3}
    places = (Place("file", "a", "held", "aa"),)
    known = {"name": "web", "names": NAMES, "state": "valid", "source": "both", "directory": DIRECTORY}
    return Row(**{**known, "owner": "team", "serial": "aa", "sha256": "aa", "stores": places, **times, **more})


def codes(alerts: Any) -> list[str]:
    return [alert.code for alert in alerts]


# --- expiry ---

lives = st.timedeltas(min_value=HOUR, max_value=400 * DAY)
policies = st.one_of(
    st.just(RenewPolicy()),
    st.builds(
        RenewPolicy, auto=st.just(False), before=st.timedeltas(min_value=timedelta(minutes=1), max_value=90 * DAY)
    ),
    st.builds(RenewPolicy, auto=st.just(False), fraction=st.floats(0.01, 0.99)),
)
rules = st.builds(
    Rules,
    overdue=st.timedeltas(min_value=timedelta(minutes=1), max_value=60 * DAY),
    expiry=st.none() | st.timedeltas(min_value=timedelta(minutes=1), max_value=60 * DAY),
    expiry_fraction=st.just(0.1) | st.floats(0.001, 0.999),
)
ORDER = {None: 0, "expiry.overdue": 1, "expiry.soon": 2, "expiry.expired": 3}


def state(found: Alert | None) -> int:
    return ORDER[found and found.code]


@given(lives, policies, rules, st.lists(st.floats(0, 1.5), min_size=2, max_size=8).map(sorted))
def test_nothing_alerts_before_it_is_due_and_it_only_gets_worse(
    life: timedelta, policy: RenewPolicy, rule: Rules, moments: list[float]
) -> None:
    due = without_ari(NOW, NOW + life, policy)
    held = row(NOW, life, due)
    seen = []
    for moment in moments:
        now = NOW + life * moment
        found = expiry(held, rule, now)
        seen.append(state(found))
        if now < due:
            assert found is None
        if now >= NOW + life:
            assert found is not None
            assert found.code == "expiry.expired"
        if found is not None:
            assert found.since is not None
            assert found.since <= now
            assert found.fires
    assert seen == sorted(seen)


@given(lives, policies, rules)
def test_before_the_end_there_is_a_warning_and_time_to_act(life: timedelta, policy: RenewPolicy, rule: Rules) -> None:
    due = without_ari(NOW, NOW + life, policy)
    held = row(NOW, life, due)
    left = NOW + life - due
    almost = expiry(held, rule, NOW + life - timedelta(microseconds=1))
    assert almost is not None
    assert expiry(held, rule, due + left * 0.26), "at the latest after a quarter of what is left when it is due"
    assert state(expiry(held, rule, due + left * 0.49)) < ORDER["expiry.soon"], "critical is the second half at most"


def test_six_days_and_ninety_days_by_the_default() -> None:
    def when(life: timedelta) -> list[float]:
        due = without_ari(NOW, NOW + life, RenewPolicy())
        states = [
            state(expiry(row(NOW, life, due), Rules(), NOW + HOUR * hour)) for hour in range(int(life / HOUR) + 2)
        ]
        return [states.index(number) for number in (1, 2, 3)]

    assert when(160 * HOUR) == [100, 144, 160], "due after 80 hours, 20 hours of patience"
    assert when(90 * DAY) == [62 * 24, 81 * 24, 90 * 24], "due after 60 days"


def test_what_has_no_end_has_no_expiry() -> None:
    assert expiry(row(not_after=None, renew_after=None), Rules(), NOW) is None
    unknown = row(NOW - 90 * DAY, 91 * DAY, not_before=None)
    assert codes([expiry(unknown, Rules(), NOW)]) == ["expiry.soon"]
    theirs = expiry(replace(unknown, source="ledger"), Rules(), NOW)
    assert theirs
    assert "retire" in theirs.fix


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (3 * DAY + 4 * HOUR, "3 d 4 h"),
        (2 * DAY, "2 d"),
        (47 * HOUR, "47 h"),
        (2 * HOUR, "2 h"),
        (90 * HOUR / 60, "90 min"),
    ],
)
def test_spans_for_people(time: timedelta, text: str) -> None:
    assert span(time) == text


# --- failed renewals ---


def failed(at: datetime, **facts: Any) -> Event:
    return event(at, "failure", **{"code": "dns.propagation", "message": "it did not appear", **facts})


def told(events: list[Event], held: Row | None = None, rule: Rules | None = None) -> list[Alert]:
    one = Watched(spec(), held or row(), (view(),))
    return list(renewal_failed(one, events, rule or Rules(), NOW))


def test_a_single_failure_is_a_notice_and_two_are_an_alert() -> None:
    (once,) = told([failed(NOW - HOUR)])
    assert (once.severity, once.fires) == ("notice", False)
    (twice,) = told([failed(NOW - HOUR), failed(NOW - 5 * HOUR)])
    assert (twice.severity, twice.since, twice.owner) == ("warning", NOW - 5 * HOUR, "team")
    assert twice.details == {"count": 2, "error": "dns.propagation", "last": "2026-11-25T11:00:00Z"}
    assert "dns.propagation" in twice.message
    assert "80 d" in twice.message
    late = row(NOW - 89 * DAY)
    assert told([failed(NOW - HOUR), failed(NOW - 5 * HOUR)], late)[0].severity == "critical"
    nowhere = row(not_after=None, not_before=None, sha256=None)
    assert told([failed(NOW - HOUR), failed(NOW - 5 * HOUR)], nowhere)[0].severity == "critical"


def test_what_is_over_is_no_alert() -> None:
    failures = [failed(NOW - 3 * HOUR), failed(NOW - 2 * HOUR)]
    assert told([*failures, event(NOW - HOUR, "renewal", sha256="bb")]) == []
    assert told([failed(NOW - FORGET - HOUR), failed(NOW - FORGET - 2 * HOUR)]) == []
    assert told(failures, row(NOW - HOUR)) == [], "somebody renewed it without our records"
    assert told([replace(one, certificate="api") for one in failures]) == []
    assert told([replace(one, facts={**one.facts, "names": ["old.example.com"]}) for one in failures]) == []
    recorded = [event(NOW - 4 * HOUR, "renewal", sha256="aa"), *failures]
    assert len(told(recorded, row(NOW - 4 * HOUR))) == 1, "the records know better than the begin of validity"


attempts = st.lists(
    st.sampled_from(["failure", "refusal", "renewal", "certificate", "order", "deployment"]), max_size=12
)


@given(attempts, st.randoms())
def test_failures_are_those_since_the_last_success(whats: list[str], random: Any) -> None:
    events = [event(NOW - HOUR * (len(whats) - n), what, code="x", message="y") for n, what in enumerate(whats)]
    successes = [n for n, what in enumerate(whats) if what in {"renewal", "certificate"}]
    rest = whats[successes[-1] + 1 if successes else 0 :]
    count = sum(what in {"failure", "refusal"} for what in rest)
    random.shuffle(events)
    found = failing(events, spec(), None)
    assert (found.count if found else 0) == count


def deployed(at: datetime, serial: str, error: str | None = None) -> Event:
    place = {"provider": "file", "target": "a", "serial": serial, "action": "failed" if error else "written"}
    return Event(at, "deployment", {**place, **({"error": error} if error else {})})


def test_a_certificate_that_did_not_arrive() -> None:
    old = [event(NOW - 10 * DAY, "certificate", sha256="aa")]
    events = [*old, event(NOW - 5 * HOUR, "renewal", sha256="bb"), deployed(NOW - 5 * HOUR, "bb", "store.write")]
    events.append(deployed(NOW - HOUR, "bb", "store.write"))
    (alert,) = told(events)
    assert (alert.code, alert.subject, alert.since) == ("renewal.undelivered", "file:a", NOW - 5 * HOUR)
    assert told([*events, deployed(NOW, "bb")]) == []
    arrived = row(sha256="bb", serial="bb", stores=(Place("file", "a", "held", "bb"),))
    assert told(events, arrived) == [], "the store has it, whatever the records say"
    assert told(events, row(stores=(Place("file", "elsewhere", "held", "aa"),))) == []


# --- drift ---


def drifted(
    *views: StoreView, held: Row | None = None, known: Row | None = None, rule: Rules | None = None, **more: Any
) -> list[Alert]:
    return list(drift(Watched(spec(**more), held or row(), views, known), [], rule or Rules(), NOW))


def test_what_is_as_it_should_be() -> None:
    assert drifted(view(), view("file:b"), known=row()) == []
    assert drifted(view(), known=row(NOW - 40 * DAY, sha256="old")) == [], "renewed without our records"
    assert drifted(view(), known=row(NOW, sha256="new", state="retired")) == []


def test_every_difference_has_its_code() -> None:
    found = facts()
    foreign = StoreView("file:a", found, None)
    assert codes(drifted(foreign)) == ["drift.foreign"]
    assert codes(drifted(view(), names=("a.example.com",), key=KeyType.RSA_2048)) == ["drift.names", "drift.key"]
    assert codes(drifted(view(), directory="https://other.test/dir", profile="p")) == [
        "drift.authority",
        "drift.profile",
    ]
    gone = StoreView("file:a", found, metadata(found, revoked=NOW - HOUR))
    (alert,) = drifted(gone)
    assert (alert.code, alert.severity) == ("drift.revoked", "critical")
    assert codes(drifted(view(lacks="bundle.p12 missing"))) == ["drift.incomplete"]
    assert codes(drifted(view(), known=row(NOW - DAY, sha256="bb"))) == ["drift.older"]


def test_stores_that_differ() -> None:
    absent, broken = StoreView("file:b"), StoreView("file:b", problem="nothing usable")
    assert [(a.code, a.severity) for a in drifted(view(), absent)] == [("drift.missing", "warning")]
    assert [(a.code, a.severity) for a in drifted(view(), broken)] == [("drift.unusable", "warning")]
    (other,) = drifted(view(), view("file:b", "bb"))
    assert (other.code, other.subject, other.details) == ("drift.other", "file:b", {"serial": "bb"})
    empty = row(not_before=None, not_after=None, sha256=None, stores=(Place("file", "b", "absent"),))
    assert [(a.code, a.severity) for a in drifted(absent, held=empty)] == [("drift.missing", "critical")]
    dark = replace(empty, stores=(*empty.stores, Place("file", "c", "unreadable")))
    assert drifted(absent, held=dark)[0].severity == "warning", "another store may have it"


def test_a_key_that_is_kept_for_too_long() -> None:
    rule = Rules(key_age=30 * DAY)
    assert drifted(view(), rule=rule) == []
    used = [event(NOW - 31 * DAY, "certificate", spki_sha256="key aa")]
    (alert,) = drift(Watched(spec(), row(), (view(),)), used, rule, NOW)
    assert (alert.code, alert.since) == ("drift.key_age", NOW - DAY)


# --- the document ---


def test_codes_are_of_their_kinds_and_complete() -> None:
    assert {kind for kind, _ in CODES.values()} == set(KINDS)
    assert all(text and not text.endswith(".") for _, text in CODES.values())


alerts = st.builds(
    Alert,
    code=st.sampled_from(sorted(CODES)),
    severity=st.sampled_from(SEVERITIES),
    subject=st.sampled_from(["a", "b"]),
    message=st.text(),
    fix=st.text(),
    certificate=st.none() | st.sampled_from(["web", "api"]),
)


@given(st.lists(alerts), st.lists(st.sampled_from([*KINDS, *CODES]), max_size=3))
def test_the_worst_is_first_and_each_is_there_once(found: list[Alert], ignored: list[str]) -> None:
    shown = ordered(found, ignored)
    assert [SEVERITIES.index(a.severity) for a in shown] == sorted(SEVERITIES.index(a.severity) for a in shown)
    prints = [a.fingerprint for a in shown]
    assert len(set(prints)) == len(prints)
    wanted = {a.fingerprint for a in found if a.kind not in ignored and a.code not in ignored}
    assert set(prints) == wanted


def test_the_document() -> None:
    alert = Alert("expiry.soon", "critical", "www.example.com", "m", "f", "web", "team", NOW, {"seconds_left": 7})
    report = Report(NOW, (alert, Alert("source.empty", "notice", "s", "m", "f")), (row(),), Looked(1, 1, 0))
    assert report.firing == 1
    document = report.as_dict(9)
    assert document["schema"] == MONITOR_SCHEMA == "ci-acme/monitor/1"
    assert document["alerts"][0] == {
        "alert": "expiry",
        "code": "expiry.soon",
        "severity": "critical",
        "certificate": "web",
        "subject": "www.example.com",
        "owner": "team",
        "message": "m",
        "fix": "f",
        "since": "2026-11-25T12:00:00Z",
        "details": {"seconds_left": 7},
        "fingerprint": alert.fingerprint,
    }
    assert set(document) == {
        "schema", "command", "exit_code", "changed", "generated", "firing", "alerts", "looked_at", "certificates",
        "endpoints",
    }  # fmt: skip
    again = replace(alert, severity="warning", message="other words", since=NOW + DAY)
    assert again.fingerprint == alert.fingerprint != replace(alert, certificate="api").fingerprint
