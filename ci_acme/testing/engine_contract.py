"""The contract suite of state engines: what `ci_acme.state.engine.Engine` promises, as tests.

In the tests of an engine, with pytest:

    class TestMyEngine(EngineContract):
        def open_engine(self) -> Engine: ...  # another object for the same state, empty when the test begins

Each test has a state of its own, so `open_engine` takes it from a fixture of the test, which closes what it made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from ci_acme.state.engine import ABSENT, ANY, Conflict, Engine, Entry
from ci_acme.state.memory import MemoryEngine


class EngineContract:
    """Subclass it for an engine; every test method must pass."""

    def open_engine(self) -> Engine:
        """A new object for the state of this test, which is empty at first."""
        raise NotImplementedError

    # --- keys --------------------------------------------------------------------------------------------------------

    def test_nothing_is_there_at_first(self) -> None:
        engine = self.open_engine()
        assert engine.read("k") is None
        assert list(engine.list("")) == []
        assert list(engine.records("s")) == []
        assert list(engine.streams("")) == []

    def test_a_write_needs_the_version_that_is_there(self) -> None:
        engine = self.open_engine()
        first = engine.write("k", b"1", expect=ABSENT)
        assert engine.read("k") == Entry(b"1", first)
        assert conflict(lambda: engine.write("k", b"2", expect=ABSENT)) == first
        second = engine.write("k", b"2", expect=first)
        assert conflict(lambda: engine.write("k", b"3", expect=first)) == second
        assert conflict(lambda: engine.write("other", b"3", expect=first)) is None
        assert engine.read("k") == Entry(b"2", second)
        third = engine.write("k", b"\x00\xff", expect=ANY)
        assert engine.read("k") == Entry(b"\x00\xff", third)
        assert engine.read("other") is None

    def test_a_version_never_comes_back(self) -> None:
        engine = self.open_engine()
        first = engine.write("k", b"1", expect=ABSENT)
        engine.delete("k", expect=first)
        again = engine.write("k", b"1", expect=ABSENT)
        assert again != first
        assert conflict(lambda: engine.delete("k", expect=first)) == again
        assert conflict(lambda: engine.delete("k", expect=ABSENT)) == again
        engine.delete("k", expect=ANY)
        engine.delete("k", expect=ANY)
        engine.delete("k", expect=ABSENT)
        assert conflict(lambda: engine.delete("k", expect=again)) is None

    def test_keys_are_listed_by_prefix(self) -> None:
        engine = self.open_engine()
        for key in ("a/2", "a/1", "a", "b/%", "b/_", "b/\\", "a/\U0001f600", "A/1", "bx"):
            engine.write(key, b"", expect=ABSENT)
        assert list(engine.list("a/")) == ["a/1", "a/2", "a/\U0001f600"]
        assert list(engine.list("b/_")) == ["b/_"]
        assert list(engine.list("b/\\")) == ["b/\\"]
        assert list(engine.list("b/%")) == ["b/%"]
        assert list(engine.list("")) == sorted(engine.list(""))
        assert len(engine.list("")) == 9

    def test_large_values_are_kept(self) -> None:
        engine = self.open_engine()
        value = Random(1).randbytes(1_000_000)  # noqa: S311 - any bytes will do
        engine.write("k", value, expect=ABSENT)
        engine.append("s", value)
        entry = self.open_engine().read("k")
        assert entry is not None
        assert entry.value == value
        assert [record.value for record in self.open_engine().records("s")] == [value]

    # --- streams -----------------------------------------------------------------------------------------------------

    def test_records_are_numbered_and_ordered(self) -> None:
        engine = self.open_engine()
        numbers = [engine.append("s", str(i).encode()) for i in range(3)]
        engine.append("t", b"other")
        assert numbers == sorted(set(numbers))
        assert min(numbers) > 0
        found = [(record.number, record.value) for record in engine.records("s")]
        assert found == list(zip(numbers, [b"0", b"1", b"2"], strict=True))
        assert [record.value for record in engine.records("s", after=numbers[0])] == [b"1", b"2"]
        assert list(engine.streams("")) == ["s", "t"]
        assert list(engine.streams("t")) == ["t"]

    def test_an_append_may_expect_the_last_record(self) -> None:
        engine = self.open_engine()
        first = engine.append("s", b"1", expect_last=0)
        assert conflict(lambda: engine.append("s", b"x", expect_last=0)) == first
        second = engine.append("s", b"2", expect_last=first)
        assert conflict(lambda: engine.drop("s", expect_last=first)) == second
        assert [record.value for record in engine.records("s")] == [b"1", b"2"]
        engine.drop("s", expect_last=second)
        assert list(engine.streams("")) == []
        engine.drop("s", expect_last=0)
        assert engine.append("s", b"3", expect_last=0) > second

    def test_a_check_shows_nowhere(self) -> None:
        engine = self.open_engine()
        engine.check()
        assert list(engine.streams("")) == []
        assert list(engine.list("")) == []

    # --- sharing -----------------------------------------------------------------------------------------------------

    def test_what_one_wrote_another_reads(self) -> None:
        one, other = self.open_engine(), self.open_engine()
        version = one.write("k", b"1", expect=ABSENT)
        number = one.append("s", b"2")
        assert other.read("k") == Entry(b"1", version)
        assert [record.number for record in other.records("s")] == [number]
        other.write("k", b"3", expect=version)
        assert conflict(lambda: one.write("k", b"4", expect=version)) is not None

    def test_it_can_be_used_after_close(self) -> None:
        engine = self.open_engine()
        engine.append("s", b"1")
        engine.close()
        engine.close()
        engine.append("s", b"2")
        assert [record.value for record in engine.records("s")] == [b"1", b"2"]

    def test_the_time_is_the_same_for_all(self) -> None:
        one, other = self.open_engine(), self.open_engine()
        times = [one.time(), other.time(), one.time()]
        assert times == sorted(times)

    def test_no_increment_is_lost(self) -> None:
        """Two threads share an object, two have one of their own."""
        shared = self.open_engine()
        in_threads([partial(_increment, engine, 15) for engine in self._four(shared)])
        entry = shared.read("n")
        assert entry is not None
        assert entry.value == b"60"

    def test_no_record_appears_before_an_earlier_one(self) -> None:
        """A reader that goes on after the last number it saw misses nothing."""
        shared = self.open_engine()
        seen: list[int] = []
        done = threading.Event()

        def follow() -> None:
            reader = self.open_engine()
            while True:
                ended = done.is_set()
                seen.extend(record.number for record in reader.records("s", after=seen[-1] if seen else 0))
                if ended:
                    return

        follower = threading.Thread(target=follow)
        follower.start()
        try:
            in_threads([partial(_append, engine, 25) for engine in self._four(shared)])
        finally:
            done.set()
            follower.join()
        assert seen == [record.number for record in shared.records("s")]
        assert len(seen) == 100

    def test_one_of_many_is_first(self) -> None:
        winners: list[int] = []

        def race(number: int) -> None:
            engine = self.open_engine()
            if _won(lambda: engine.append("s", b"", expect_last=0)) and _won(
                lambda: engine.write("k", b"", expect=ABSENT)
            ):
                winners.append(number)

        in_threads([partial(race, number) for number in range(8)])
        assert len(winners) == 1

    # --- all together ------------------------------------------------------------------------------------------------

    def test_it_does_what_the_simplest_engine_does(self) -> None:
        """Random calls, with right and wrong expectations, beside `MemoryEngine`."""
        engine, model, random = self.open_engine(), MemoryEngine(), Random(7)  # noqa: S311 - repeatable
        for _ in range(300):
            what = random.choice(("write", "delete", "append", "drop"))
            key = random.choice(("a", "ab", "b"))
            value = random.randbytes(random.randrange(4))
            expectation = random.choice(("absent", "any", "right", "right", "wrong"))
            step = (what, key, value, expectation)
            assert outcome(engine, *step) == outcome(model, *step), step
            for prefix in ("", "a", "ab"):
                assert list(engine.list(prefix)) == list(model.list(prefix))
                assert list(engine.streams(prefix)) == list(model.streams(prefix))

    def _four(self, shared: Engine) -> list[Engine]:
        return [shared, shared, self.open_engine(), self.open_engine()]


def conflict(act: Callable[[], object]) -> str | int | None:
    """What a `Conflict` found; it is a failure if there is none."""
    try:
        act()
    except Conflict as error:
        return error.found
    raise AssertionError("no conflict")


def outcome(engine: Engine, what: str, key: str, value: bytes, expectation: str) -> object:
    """What one call does, apart from the versions and numbers that an engine chooses."""
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


def in_threads(works: Sequence[Callable[[], None]]) -> None:
    """All at once; the first failure is raised."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _increment(engine: Engine, times: int) -> None:
    for _ in range(times):
        while True:
            entry = engine.read("n")
            value = str(int(entry.value) + 1 if entry else 1).encode()
            if _won(partial(engine.write, "n", value, expect=entry.version if entry else ABSENT)):
                break


def _append(engine: Engine, times: int) -> None:
    for _ in range(times):
        engine.append("s", b"")


def _won(act: Callable[[], object]) -> bool:
    try:
        act()
    except Conflict:
        return False
    return True
