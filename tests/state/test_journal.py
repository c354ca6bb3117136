"""The journal of TXT values: written ahead, durable, and empty when everything is gone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.errors import StateError
from ci_acme.ports import DnsJournal, Zone
from ci_acme.state.engine import Engine
from ci_acme.state.journal import Journal, open_items
from ci_acme.state.memory import MemoryEngine
from tests.state.support import NAME, ZONE, placed, sqlite_engine, start_driver, txt

ENTRY = "example.com"


@pytest.fixture
def engine(tmp_path: Path) -> Generator[Engine]:
    with closing(sqlite_engine(tmp_path / "state.db")) as made:
        yield made


def values(engine: Engine) -> dict[str, bool | None]:
    return {item.value: item.created for item in open_items(engine)}


def test_a_value_is_open_from_intent_to_release(engine: Engine) -> None:
    journal: DnsJournal = Journal(engine, "run-1")
    journal.intend(ENTRY, ZONE, txt("a", "b", "c"))
    assert values(engine) == {"a": None, "b": None, "c": None}
    journal.placed(ENTRY, [placed("a", ref="17"), placed("b", created=False), placed("c")])
    assert values(engine) == {"a": True, "c": True}
    journal.released(ENTRY, ZONE, [(NAME, "c")])
    (item,) = open_items(engine)
    assert (item.run, item.entry, item.zone, item.name, item.value) == ("run-1", ENTRY, ZONE, NAME, "a")
    assert item.placement == placed("a", ref="17")
    journal.released(ENTRY, ZONE, [(NAME, "a")])
    assert open_items(engine) == []
    assert list(engine.streams("")) == []


def test_an_intent_alone_is_released_as_if_it_were_ours(engine: Engine) -> None:
    """The run died before it knew: the provider is asked to remove the value, which is this run's own."""
    Journal(engine, "run-1").intend(ENTRY, ZONE, txt("a"))
    (item,) = open_items(engine)
    assert item.placement == placed("a")


def test_every_call_is_one_write() -> None:
    engine = Counting()
    journal = Journal(engine, "run-1")
    many = [f"v{number}" for number in range(100)]
    journal.intend(ENTRY, ZONE, txt(*many))
    journal.placed(ENTRY, [placed(value) for value in many])
    journal.released(ENTRY, ZONE, [(NAME, value) for value in many[:50]])
    journal.released(ENTRY, ZONE, [(NAME, value) for value in many[50:]])
    assert engine.writes == 4
    journal.intend(ENTRY, ZONE, [])
    journal.placed(ENTRY, [])
    assert engine.writes == 4


class Counting(MemoryEngine):
    writes = 0

    def append(self, stream: str, value: bytes, *, expect_last: int | None = None) -> int:
        self.writes += 1
        return super().append(stream, value, expect_last=expect_last)

    def drop(self, stream: str, *, expect_last: int) -> None:
        self.writes += 1
        super().drop(stream, expect_last=expect_last)


def test_a_later_run_closes_what_an_earlier_one_left(engine: Engine) -> None:
    Journal(engine, "run-1").intend(ENTRY, ZONE, txt("a"))
    Journal(engine, "run-2").intend(ENTRY, ZONE, txt("b"))
    for item in open_items(engine):
        if item.run == "run-1":
            Journal(engine, item.run).released(item.entry, item.zone, [(item.name, item.value)])
    assert values(engine) == {"b": None}
    Journal(engine, "run-1").released(ENTRY, ZONE, [(NAME, "a")])
    assert values(engine) == {"b": None}


def test_the_same_value_in_another_zone_or_entry_is_another_one(engine: Engine) -> None:
    journal = Journal(engine, "run-1")
    other = Zone("Z2", "sub.example.com")
    journal.intend(ENTRY, ZONE, txt("a"))
    journal.intend(ENTRY, other, txt("a"))
    journal.intend("other entry", ZONE, txt("a"))
    journal.released(ENTRY, ZONE, [(NAME, "a")])
    assert {(item.entry, item.zone) for item in open_items(engine)} == {(ENTRY, other), ("other entry", ZONE)}


def test_a_value_of_ours_that_is_found_again_stays_ours(engine: Engine) -> None:
    journal = Journal(engine, "run-1")
    journal.intend(ENTRY, ZONE, txt("a"))
    journal.placed(ENTRY, [placed("a")])
    journal.intend(ENTRY, ZONE, txt("a"))
    journal.placed(ENTRY, [placed("a", created=False)])
    assert values(engine) == {"a": True}


def test_threads_share_a_journal(engine: Engine) -> None:
    journal = Journal(engine, "run-1")

    def work(number: int) -> None:
        for turn in range(8):
            value = f"{number}-{turn}"
            journal.intend(ENTRY, ZONE, txt(value, f"{value}-left"))
            journal.placed(ENTRY, [placed(value), placed(f"{value}-left")])
            journal.released(ENTRY, ZONE, [(NAME, value)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(engine) == {f"{number}-{turn}-left": True for number in range(6) for turn in range(8)}


def test_a_concurrent_intent_is_not_dropped_with_the_stream() -> None:
    """The last value is released while another thread announces a new one."""

    class Racing(MemoryEngine):
        raced = False

        def drop(self, stream: str, *, expect_last: int) -> None:
            if not self.raced:
                self.raced = True
                journal.intend(ENTRY, ZONE, txt("new"))
            super().drop(stream, expect_last=expect_last)

    engine = Racing()
    journal = Journal(engine, "run-1")
    journal.intend(ENTRY, ZONE, txt("old"))
    journal.released(ENTRY, ZONE, [(NAME, "old")])
    assert values(engine) == {"new": None}


@pytest.mark.parametrize("lines", [1, 2, 7, 20])
def test_it_survives_sigkill(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "state.db"
    driver = start_driver("journal", str(path))
    assert driver.stdout is not None
    said = [driver.stdout.readline().split() for _ in range(lines)]
    driver.send_signal(signal.SIGKILL)
    said += [line.split() for line in driver.stdout.read().splitlines()]
    driver.wait()
    driver.stdout.close()
    with closing(sqlite_engine(path)) as engine:
        found = values(engine)
    for what, number in said:
        assert f"a{number}" in found
        if what == "placed":
            assert found[f"a{number}"] is True
            assert f"b{number}" not in found
    announced = {f"a{number}" for _, number in said}
    assert len({value for value in found if value.startswith("a")} - announced) <= 1


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"{}", b'{"what": "intend", "items": [{}]}', b'{"items": 1}'])
def test_records_that_nobody_understands_are_an_error(garbage: bytes) -> None:
    engine = MemoryEngine()
    engine.append("journal/run-1", garbage)
    with pytest.raises(StateError, match="run-1"):
        open_items(engine)


@given(st.lists(st.tuples(st.sampled_from(["intend", "created", "found", "release"]), st.sampled_from("abc"))))
def test_open_is_what_was_announced_and_not_closed(calls: list[tuple[str, str]]) -> None:
    engine = MemoryEngine()
    journal = Journal(engine, "run-1")
    model: dict[str, bool | None] = {}
    for what, value in calls:
        if what == "intend":
            journal.intend(ENTRY, ZONE, txt(value))
            model.setdefault(value, None)
        elif what == "release":
            journal.released(ENTRY, ZONE, [(NAME, value)])
            model.pop(value, None)
        else:
            journal.placed(ENTRY, [placed(value, created=what == "created")])
            if what == "created":
                model[value] = True
            elif model.get(value) is None:
                model.pop(value, None)
        assert values(engine) == model
    if calls and calls[-1][0] == "release" and not model:
        assert list(engine.streams("")) == []
