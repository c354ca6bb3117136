"""OpenMetrics that a parser of others reads back, whatever names and owners say; a file that is never half there."""

from __future__ import annotations

import os
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("prometheus_client", reason="part of the test group of uv.lock; `make test` has it")

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as old_format

from ci_acme.core.alerts import CODES, SEVERITIES, Alert, Looked, Report, Served
from ci_acme.core.inventory import STATES, Place, Row
from ci_acme.monitor.metrics import FAMILIES, as_openmetrics, write

NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
ROW = Row(
    name="web",
    names=("www.example.com",),
    state="due",
    source="both",
    directory="https://ca.test/dir",
    owner="team",
    serial="0a",
    not_before=NOW - timedelta(days=60),
    not_after=NOW + timedelta(days=30),
    renew_after=NOW,
    stores=(Place("file", "a", "held"), Place("file", "b", "held"), Place("file", "c", "absent")),
)
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation == FAMILIES[family.name]
        assert family.unit == ("seconds" if family.name.endswith("_seconds") else "")
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def report(*rows: Row, alerts: tuple[Alert, ...] = (), **more: Any) -> Report:
    return Report(NOW, alerts, rows, Looked(len(rows)), **more)


def test_what_is_said_of_a_certificate() -> None:
    late = Alert("expiry.overdue", "warning", "www.example.com", "m", "f", "web", "team", NOW)
    down = Alert("source.store", "warning", "file:a", "m", "f")
    told = Alert("source.empty", "notice", "sqlite:x", "m", "f")
    served = Served("www.example.com:443", "web", matches=True, serial="0a", not_after=NOW)
    found = samples(as_openmetrics(report(ROW, alerts=(late, down, told), endpoints=(served,), failing={"web": 2})))
    who = {"certificate": "web", "domain": "www.example.com", "owner": "team"}

    def value(name: str, **labels: str) -> float:
        return found[f"ci_acme_{name}", frozenset(labels.items())]

    assert value("certificate_not_after_timestamp_seconds", **who) == (NOW + timedelta(days=30)).timestamp()
    assert value("certificate_renewal_timestamp_seconds", **who) == NOW.timestamp()
    assert [value("certificate_state", **who, state=state) for state in STATES] == [float(s == "due") for s in STATES]
    assert value("certificate_stores", **who, state="held") == 2
    assert value("certificate_failed_orders", certificate="web") == 2
    assert value("alerts", alert="expiry", severity="warning") == 1
    assert value("alerts", alert="drift", severity="critical") == 0, "a series that is over goes to 0"
    about = {"alert": "expiry", "code": "expiry.overdue", "severity": "warning", "owner": "team"}
    since = value("alert_since_timestamp_seconds", **about, certificate="web", subject="www.example.com")
    assert since == NOW.timestamp()
    assert value("source_errors", source="store") == 1
    assert value("source_errors", source="ct") == 0
    assert value("endpoint_match", address="www.example.com:443") == 1
    assert value("monitor_last_run_timestamp_seconds") == NOW.timestamp()
    assert not any("source.empty" in str(labels) for _, labels in found), "a notice does not fire"


texts = st.text(max_size=12)
times = st.none() | st.integers(1, 7_000_000_000).map(lambda n: datetime.fromtimestamp(n, timezone.utc))
places = st.builds(Place, texts, texts, st.sampled_from(["held", "other", "absent"]))
rows = st.builds(
    Row,
    name=texts,
    names=st.lists(texts, max_size=2).map(tuple),
    state=st.sampled_from(STATES),
    source=st.just("both"),
    directory=texts,
    owner=st.none() | texts,
    issuer=texts,
    serial=texts,
    not_before=times,
    not_after=times,
    renew_after=times,
    stores=st.lists(places, max_size=2).map(tuple),
)
alerts = st.builds(
    Alert,
    st.sampled_from(sorted(CODES)),
    st.sampled_from(SEVERITIES),
    texts,
    texts,
    texts,
    st.none() | texts,
    since=times,
)


@given(st.lists(rows, max_size=4), st.lists(alerts, max_size=4), st.dictionaries(texts, st.integers(0, 9), max_size=2))
def test_whatever_is_said_can_be_parsed(known: list[Row], found: list[Alert], failing: dict[str, int]) -> None:
    text = as_openmetrics(report(*known, alerts=tuple(found), failing=failing))
    text.encode()
    assert text.endswith("# EOF\n")
    parsed = samples(text)
    older = {(s.name, frozenset(s.labels.items())): s.value for f in old_format(text) for s in f.samples}
    assert older == parsed, "node_exporter reads the older format"
    assert sum(value for (name, _), value in parsed.items() if name == "ci_acme_alerts") == len(found)
    assert len({name for name, _ in parsed}) <= len(FAMILIES)


def test_quotes_and_backslashes_come_back_as_they_were() -> None:
    said = 'a "b" \\n \\ \n c'
    text = as_openmetrics(report(failing={said: 1}))
    assert samples(text)["ci_acme_certificate_failed_orders", frozenset({("certificate", said)})] == 1


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "ci-acme.prom"
    done = threading.Event()
    seen: list[str] = []

    def read() -> None:
        while not done.is_set():
            if path.exists():
                seen.append(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        write(path, f"{number}\n" * 5000 + "# EOF\n")
    done.set()
    reader.join()
    assert seen
    assert all(text.endswith("# EOF\n") and len(set(text.splitlines())) == 2 for text in seen)
    assert [one.name for one in tmp_path.iterdir()] == ["ci-acme.prom"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ci-acme.prom"
    write(path, "old\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(path, "new\n")
    assert [one.name for one in tmp_path.iterdir()] == ["ci-acme.prom"]
    assert path.read_text() == "old\n"
