"""Every engine keeps the same promises."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_acme.clock import SystemClock
from ci_acme.errors import ConfigError, NotAvailable
from ci_acme.state.engine import ABSENT, ANY, Conflict, Engine, Entry, open_state
from ci_acme.state.memory import MemoryEngine
from ci_acme.state.sqlite import SqliteEngine
from tests.state.support import sqlite_engine


@pytest.fixture(params=["memory", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Engine]:
    made: Engine = MemoryEngine() if request.param == "memory" else sqlite_engine(tmp_path / "a" / "b" / "state.db")
    with closing(made):
        yield made


def test_an_unknown_key_is_none(engine: Engine) -> None:
    assert engine.read("k") is None
    assert list(engine.list("")) == []
    assert list(engine.records("s")) == []
    assert list(engine.streams("")) == []


def test_a_write_needs_the_version_that_is_there(engine: Engine) -> None:
    first = engine.write("k", b"1", expect=ABSENT)
    assert engine.read("k") == Entry(b"1", first)
    with pytest.raises(Conflict) as caught:
        engine.write("k", b"2", expect=ABSENT)
    assert caught.value.found == first
    second = engine.write("k", b"2", expect=first)
    with pytest.raises(Conflict):
        engine.write("k", b"3", expect=first)
    with pytest.raises(Conflict):
        engine.write("other", b"3", expect=first)
    assert engine.read("k") == Entry(b"2", second)
    engine.write("k", b"\x00\xff", expect=ANY)
    assert engine.read("k") is not None
    assert engine.read("other") is None


def test_a_version_never_comes_back(engine: Engine) -> None:
    first = engine.write("k", b"1", expect=ABSENT)
    engine.delete("k", expect=first)
    again = engine.write("k", b"1", expect=ABSENT)
    assert again != first
    with pytest.raises(Conflict):
        engine.delete("k", expect=first)
    engine.delete("k", expect=ANY)
    engine.delete("k", expect=ANY)
    engine.delete("k", expect=ABSENT)
    with pytest.raises(Conflict):
        engine.delete("k", expect=again)


def test_keys_are_listed_by_prefix(engine: Engine) -> None:
    for key in ("a/2", "a/1", "a", "b/%", "b/_", "a/\U0001f600", "A/1"):
        engine.write(key, b"", expect=ABSENT)
    assert list(engine.list("a/")) == ["a/1", "a/2", "a/\U0001f600"]
    assert list(engine.list("b/_")) == ["b/_"]
    assert len(engine.list("")) == 7


def test_records_are_numbered_and_ordered(engine: Engine) -> None:
    numbers = [engine.append("s", str(i).encode()) for i in range(3)]
    engine.append("t", b"other")
    assert numbers == sorted(set(numbers))
    assert min(numbers) > 0
    assert [(record.number, record.value) for record in engine.records("s")] == list(
        zip(numbers, [b"0", b"1", b"2"], strict=True)
    )
    assert [record.value for record in engine.records("s", after=numbers[0])] == [b"1", b"2"]
    assert list(engine.streams("")) == ["s", "t"]
    assert list(engine.streams("t")) == ["t"]


def test_an_append_may_expect_the_last_record(engine: Engine) -> None:
    first = engine.append("s", b"1", expect_last=0)
    with pytest.raises(Conflict) as caught:
        engine.append("s", b"x", expect_last=0)
    assert caught.value.found == first
    second = engine.append("s", b"2", expect_last=first)
    with pytest.raises(Conflict):
        engine.drop("s", expect_last=first)
    assert [record.value for record in engine.records("s")] == [b"1", b"2"]
    engine.drop("s", expect_last=second)
    assert list(engine.streams("")) == []
    engine.drop("s", expect_last=0)
    assert engine.append("s", b"3", expect_last=0) > second


def test_a_check_shows_nowhere(engine: Engine) -> None:
    engine.check()
    assert list(engine.streams("")) == []


def test_threads_share_an_engine(engine: Engine) -> None:
    def add() -> None:
        for _ in range(20):
            while True:
                entry = engine.read("n")
                try:
                    engine.write(
                        "n",
                        str(int(entry.value) + 1 if entry else 1).encode(),
                        expect=entry.version if entry else ABSENT,
                    )
                    break
                except Conflict:
                    continue

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entry = engine.read("n")
    assert entry is not None
    assert entry.value == b"80"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "delete", "append", "drop"]),
        st.sampled_from(["a", "ab", "b"]),
        st.binary(max_size=3),
        st.sampled_from(["absent", "any", "right", "wrong"]),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_engines_agree(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, bytes, str]]) -> None:
    path = tmp_path_factory.mktemp("agree") / "state.db"
    with closing(sqlite_engine(path)) as one:
        other = MemoryEngine()
        for step in steps:
            assert outcome(one, *step) == outcome(other, *step)
        for prefix in ("", "a", "ab"):
            assert list(one.list(prefix)) == list(other.list(prefix))
            assert list(one.streams(prefix)) == list(other.streams(prefix))


def outcome(engine: Engine, what: str, key: str, value: bytes, expectation: str) -> object:
    entry = engine.read(key)
    expect = {"absent": ABSENT, "any": ANY, "right": entry.version if entry else ABSENT, "wrong": "never"}[expectation]
    last = max((record.number for record in engine.records(key)), default=0)
    expect_last = {"absent": 0, "any": None, "right": last, "wrong": 10**9}[expectation]
    try:
        if what == "write":
            engine.write(key, value, expect=expect)
        elif what == "delete":
            engine.delete(key, expect=expect)
        elif what == "append":
            engine.append(key, value, expect_last=expect_last)
        else:
            engine.drop(key, expect_last=last if expect_last is None else expect_last)
    except Conflict:
        return "conflict"
    after = engine.read(key)
    return after.value if after else None, [record.value for record in engine.records(key)]


def test_a_url_names_the_engine(tmp_path: Path) -> None:
    engine = open_state(f"sqlite:{tmp_path}/x/state.db", clock=SystemClock())
    assert isinstance(engine, SqliteEngine)
    assert engine.where == f"sqlite:{tmp_path.as_posix()}/x/state.db"
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("url", ["postgresql://u:hunter2@db/x"])
def test_later_engines_are_a_clear_error(url: str) -> None:
    with pytest.raises(NotAvailable) as caught:
        open_state(url, clock=SystemClock())
    assert "hunter2" not in str(caught.value.as_dict())


@pytest.mark.parametrize("url", ["", "sqlite:", "hunter2", "mysql://hunter2", "postgresql"])
def test_other_urls_are_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_state(url, clock=SystemClock())
    assert "hunter2" not in str(caught.value.as_dict())
    assert "sqlite:" in caught.value.fix
