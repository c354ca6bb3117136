"""The ledger: what happened can be read again, and the inventory has the newest of each certificate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from ci_acme.errors import StateError
from ci_acme.state.engine import Engine
from ci_acme.state.ledger import Ledger
from ci_acme.state.memory import MemoryEngine
from tests.state.support import sqlite_engine

OCTOBER = datetime(2026, 10, 31, 23, 59, tzinfo=timezone.utc)
NOVEMBER = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
ENTRY: dict[str, Any] = {
    "name": "web",
    "names": ["a.example.com", "b.example.com"],
    "directory": "https://ca.test/dir",
    "sha256": "aa",
    "not_before": "2026-11-01T00:00:00Z",
    "stores": [{"provider": "file", "target": "certs/web", "version": None}],
}


@pytest.fixture(params=["sqlite", "memory"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "memory":
        yield MemoryEngine()
        return
    with closing(sqlite_engine(tmp_path / "state.db")) as opened:
        yield opened


def test_events_come_back_in_order_with_who_asked(engine: Engine) -> None:
    ledger = Ledger(engine)
    ledger.record(NOVEMBER, "r2", "web", [{"what": "order", "url": "u"}, {"what": "certificate"}], {"ci": "github"})
    ledger.record(OCTOBER, "r1", "web", [{"what": "failure", "code": "dns.challenge"}], {"ci": "none"})
    events = list(ledger.events())
    assert [(event.run, event.what) for event in events] == [
        ("r1", "failure"),
        ("r2", "order"),
        ("r2", "certificate"),
    ]
    assert events[1].facts["url"] == "u"
    assert (events[1].at, events[1].by, events[1].certificate) == (NOVEMBER, {"ci": "github"}, "web")
    assert [event.run for event in ledger.events(since=NOVEMBER)] == ["r2", "r2"]
    assert engine.streams("ledger/") == ["ledger/2026-10", "ledger/2026-11"]


def test_a_record_of_somebody_else_is_an_error(engine: Engine) -> None:
    engine.append("ledger/2026-11", b"{}")
    with pytest.raises(StateError, match="cannot be understood"):
        list(Ledger(engine).events())


def test_the_inventory_joins_stores_and_keeps_the_later_certificate(engine: Engine) -> None:
    ledger = Ledger(engine)
    ledger.put(ENTRY)
    ledger.put({**ENTRY, "stores": [{"provider": "vault", "target": "x", "version": "2"}]})
    (entry,) = ledger.entries()
    assert [store["provider"] for store in entry["stores"]] == ["file", "vault"]
    newer = {**ENTRY, "sha256": "bb", "not_before": "2026-11-20T00:00:00Z"}
    ledger.put(newer)
    assert ledger.entries() == [newer]
    ledger.put(ENTRY)
    assert ledger.entries() == [newer], "a slow run of an older certificate does not win"
    ledger.put({**ENTRY, "names": ["c.example.com"]})
    assert len(ledger.entries()) == 2


def test_an_entry_that_cannot_be_understood_is_passed_over(engine: Engine) -> None:
    from ci_acme.state.engine import ANY

    engine.write("inventory/x", b"\xff", expect=ANY)
    assert Ledger(engine).entries() == []
