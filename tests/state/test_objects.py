"""State in object storage keeps the promises of an engine, on each service's protocol, with few requests."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_acme.clock import SystemClock
from ci_acme.errors import ConfigError, StateError
from ci_acme.state.accounts import Accounts
from ci_acme.state.engine import ABSENT, ANY, Conflict, Engine, Entry, open_state
from ci_acme.state.journal import Journal, open_items
from ci_acme.state.memory import MemoryEngine
from ci_acme.state.objects import ObjectEngine
from tests.servers.buckets import Answer, Buckets, Call, meanwhile
from tests.state.object_support import FACES, object_engine, serving, start_increments, url_of
from tests.state.support import ROOT, ZONE, placed, txt
from tests.state.test_engine import STEPS, outcome


@pytest.fixture(params=FACES)
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[Buckets]:
    with serving(request.param, monkeypatch) as made:
        yield made


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def engine(server: Buckets, stack: ExitStack) -> ObjectEngine:
    return stack.enter_context(closing(object_engine(server)))


def conflict(act: Callable[[], object]) -> object:
    with pytest.raises(Conflict) as caught:
        act()
    return caught.value.found


# --- what every engine promises ---------------------------------------------------------------------------------------


def test_a_write_needs_the_version_that_is_there(engine: Engine) -> None:
    assert engine.read("k") is None
    first = engine.write("k", b"1", expect=ABSENT)
    assert engine.read("k") == Entry(b"1", first)
    assert conflict(lambda: engine.write("k", b"2", expect=ABSENT)) == first
    second = engine.write("k", b"2", expect=first)
    assert conflict(lambda: engine.write("k", b"3", expect=first)) == second
    assert conflict(lambda: engine.write("k", b"3", expect="never")) == second
    assert conflict(lambda: engine.write("other", b"3", expect=first)) is None
    third = engine.write("k", b"\x00\xff", expect=ANY)
    assert engine.read("k") == Entry(b"\x00\xff", third)
    assert engine.read("other") is None


def test_a_version_never_comes_back(engine: Engine) -> None:
    first = engine.write("k", b"1", expect=ABSENT)
    assert engine.write("k", b"1", expect=first) != first
    engine.delete("k", expect=ANY)
    again = engine.write("k", b"1", expect=ABSENT)
    assert again != first
    assert conflict(lambda: engine.delete("k", expect=first)) == again
    assert conflict(lambda: engine.delete("k", expect=ABSENT)) == again
    engine.delete("k", expect=again)
    engine.delete("k", expect=ANY)
    engine.delete("k", expect=ABSENT)
    assert conflict(lambda: engine.delete("k", expect=again)) is None


def test_keys_are_listed_by_prefix(engine: Engine) -> None:
    for key in ("a/2", "a/1", "a", "b/%", "b/_", "b/\\", "a/\U0001f600", "A/1", "bx", "a/&<é.. ="):
        engine.write(key, b"", expect=ABSENT)
    assert list(engine.list("a/")) == ["a/&<é.. =", "a/1", "a/2", "a/\U0001f600"]
    assert list(engine.list("b/_")) == ["b/_"]
    assert list(engine.list("b/\\")) == ["b/\\"]
    assert list(engine.list("b/%")) == ["b/%"]
    assert len(engine.list("")) == 10
    assert list(engine.list("")) == sorted(engine.list(""))
    assert list(engine.streams("")) == []


def test_large_values_are_kept(engine: Engine, server: Buckets) -> None:
    value = Random(1).randbytes(1_000_000)
    engine.write("k", value, expect=ABSENT)
    engine.append("s", value)
    engine.append("s", b"small")
    with closing(object_engine(server)) as other:
        entry = other.read("k")
        assert entry is not None
        assert entry.value == value
        assert [record.value for record in other.records("s")] == [value, b"small"]


def test_records_are_numbered_and_ordered(engine: Engine) -> None:
    numbers = [engine.append("s", str(i).encode()) for i in range(3)]
    engine.append("t/x.y", b"other")
    assert numbers == sorted(set(numbers))
    found = [(record.number, record.value) for record in engine.records("s")]
    assert found == list(zip(numbers, [b"0", b"1", b"2"], strict=True))
    assert [record.value for record in engine.records("s", after=numbers[0])] == [b"1", b"2"]
    assert list(engine.streams("")) == ["s", "t/x.y"]
    assert list(engine.streams("t")) == ["t/x.y"]
    assert list(engine.list("")) == []


def test_an_append_may_expect_the_last_record(engine: Engine, server: Buckets) -> None:
    first = engine.append("s", b"1", expect_last=0)
    assert conflict(lambda: engine.append("s", b"x", expect_last=0)) == first
    second = engine.append("s", b"2", expect_last=first)
    assert conflict(lambda: engine.drop("s", expect_last=first)) == second
    with closing(object_engine(server)) as other:
        assert conflict(lambda: other.append("s", b"x", expect_last=first)) == second
        third = other.append("s", b"3", expect_last=second)
    assert conflict(lambda: engine.append("s", b"x", expect_last=second)) == third
    assert [record.value for record in engine.records("s")] == [b"1", b"2", b"3"]
    engine.drop("s", expect_last=third)
    assert list(engine.streams("")) == []
    assert list(engine.records("s")) == []
    engine.drop("s", expect_last=0)
    assert engine.append("s", b"3", expect_last=0) > third


def test_what_one_wrote_another_reads(engine: Engine, server: Buckets) -> None:
    version = engine.write("k", b"1", expect=ABSENT)
    with closing(object_engine(server)) as other:
        assert other.read("k") == Entry(b"1", version)
        other.write("k", b"3", expect=version)
    conflict(lambda: engine.write("k", b"4", expect=version))
    engine.close()
    engine.close()
    assert engine.read("k") is not None


def test_the_time_is_that_of_the_service(engine: ObjectEngine, server: Buckets) -> None:
    before = engine.time()
    with closing(object_engine(server)) as other:
        assert before <= other.time() <= engine.time()
    assert abs(before - SystemClock().now().timestamp()) < 10


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.sampled_from(FACES))
def test_engines_agree(steps: list[tuple[str, str, bytes, str]], face: str) -> None:
    """With parts of a few records, so that streams are sealed, gone on with and dropped."""
    with pytest.MonkeyPatch.context() as patch, serving(face, patch) as server:
        engines = [object_engine(server, part_size=250) for _ in range(2)]
        other = MemoryEngine()
        for index, step in enumerate(steps):
            assert outcome(engines[index % 2], *step) == outcome(other, *step)
        for prefix in ("", "a", "ab"):
            assert list(engines[0].list(prefix)) == list(other.list(prefix))
            assert list(engines[0].streams(prefix)) == list(other.streams(prefix))
        for engine in engines:
            engine.close()


# --- many at once -----------------------------------------------------------------------------------------------------


def test_eight_processes_lose_nothing(server: Buckets, engine: Engine) -> None:
    begin = time.time() + 2  # all have started by then, also on a busy machine
    processes = [start_increments(url_of(server), 10, begin) for _ in range(8)]
    printed = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert sum(map(int, printed)), "they met"
    entry = engine.read("counter")
    assert entry is not None
    assert entry.value == b"80"
    records = engine.records("log")
    assert sorted(int(record.value) for record in records) == list(range(1, 81))
    numbers = [record.number for record in records]
    assert numbers == sorted(set(numbers))


def test_forty_writers_of_one_stream(server: Buckets, stack: ExitStack) -> None:
    """Each with connections and a memory of its own, over parts that fill up; a reader misses nothing."""
    engines = [
        stack.enter_context(closing(object_engine(server, clock=SystemClock(), part_size=1500))) for _ in range(40)
    ]
    given_numbers: list[int] = []
    seen: list[int] = []
    done = threading.Event()

    def write(index: int) -> None:
        given_numbers.extend([engines[index].append("s", f"{index} {i}".encode()) for i in range(3)])

    def follow() -> None:
        with closing(object_engine(server)) as reader:
            last_look = False
            while not last_look:
                last_look = done.is_set()
                seen.extend(one.number for one in reader.records("s", after=seen[-1] if seen else 0))

    threads = [threading.Thread(target=write, args=(index,)) for index in range(40)]
    follower = threading.Thread(target=follow)
    for thread in (*threads, follower):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    follower.join()
    records = engines[0].records("s")
    assert len({record.value for record in records}) == len(records) == 120
    assert [record.number for record in records] == sorted(given_numbers) == seen


def test_of_forty_exactly_one_takes_a_key(server: Buckets, stack: ExitStack) -> None:
    engines = [stack.enter_context(closing(object_engine(server))) for _ in range(40)]
    winners: list[int] = []

    def take(index: int) -> None:
        try:
            engines[index].write("lease", str(index).encode(), expect=ABSENT)
            winners.append(index)
        except Conflict:
            pass

    threads = [threading.Thread(target=take, args=(index,)) for index in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entry = engines[0].read("lease")
    assert entry is not None
    assert [int(entry.value)] == winners


# --- what is written above it -----------------------------------------------------------------------------------------


def test_the_journal_over_it(engine: ObjectEngine, server: Buckets) -> None:
    journal = Journal(engine, "run-1")
    server.calls.clear()
    journal.intend("example.com", ZONE, txt("a", "b"))
    assert len(server.calls) == 1, "a new stream is begun without a look"
    journal.placed("example.com", [placed("a"), placed("b", created=False)])
    assert len(server.calls) == 2
    with closing(object_engine(server)) as other:
        items = open_items(other)
        assert [(item.run, item.value, item.created) for item in items] == [("run-1", "a", True)]
        server.calls.clear()
        Journal(other, "run-1").released("example.com", ZONE, [(items[0].name, "a")])
        assert [call.method for call in server.calls] == ["GET", "DELETE"]
        assert open_items(other) == []
    assert not server.store.objects


def test_accounts_over_it(engine: ObjectEngine) -> None:
    accounts = Accounts(engine)
    accounts.remember("https://ca.example/dir", "thumb", "https://ca.example/acct/1")
    assert accounts.url("https://ca.example/dir", "thumb") == "https://ca.example/acct/1"
    accounts.forget("https://ca.example/dir", "thumb")
    assert accounts.url("https://ca.example/dir", "thumb") is None


# --- long streams -----------------------------------------------------------------------------------------------------


@pytest.fixture
def long(server: Buckets, stack: ExitStack) -> ObjectEngine:
    """With parts of three records or so."""
    return stack.enter_context(closing(object_engine(server, part_size=300)))


def parts(server: Buckets) -> list[str]:
    return sorted(name for name in server.store.objects if "/s/" in name)


def test_a_long_stream_is_read_whole_or_from_a_number_on(long: ObjectEngine, server: Buckets) -> None:
    numbers = [long.append("s", str(i).encode()) for i in range(20)]
    assert len(parts(server)) == 5
    assert [record.number for record in long.records("s")] == numbers
    for after in (*numbers, *(number - 1 for number in numbers), 0):
        assert [record.number for record in long.records("s", after=after)] == [one for one in numbers if one > after]
    server.calls.clear()
    assert list(long.records("s", after=numbers[-1])) == []
    assert [call.method for call in server.calls] == ["GET"], "who follows a stream reads its last part only"
    server.calls.clear()
    with closing(object_engine(server)) as other:
        assert [record.number for record in other.records("s", after=numbers[-2])] == numbers[-1:]
    assert [call.method for call in server.calls if call.method != "LIST"] == ["GET", "GET"]


def test_a_long_stream_is_dropped_as_one(long: ObjectEngine, server: Buckets) -> None:
    last = [long.append("s", str(i).encode()) for i in range(20)][-1]
    long.append("s2", b"another")
    with closing(object_engine(server)) as other:
        conflict(lambda: other.drop("s", expect_last=last - 1))
        other.drop("s", expect_last=last)
        assert list(other.records("s")) == []
    assert list(long.streams("")) == ["s2"]
    assert len(parts(server)) == 3, "the first and the last part of the one, and the other"
    assert all(len(server.store.objects[name][0]) < 100 for name in parts(server)[:2])
    assert conflict(lambda: long.append("s", b"x", expect_last=last)) == 0
    again = long.append("s", b"x", expect_last=0)
    assert again > last
    assert [record.number for record in long.records("s")] == [again]
    long.drop("s", expect_last=again)
    assert list(long.streams("")) == ["s2"]
    assert len(parts(server)) == 3


@pytest.mark.parametrize("part", [0, 1, 2])
def test_who_reads_while_it_is_dropped_sees_all_or_nothing(long: ObjectEngine, server: Buckets, part: int) -> None:
    numbers = [long.append("s", str(i).encode()) for i in range(14)]
    name = parts(server)[part]
    assert len(parts(server)) == 3
    with closing(object_engine(server)) as dropper, closing(object_engine(server)) as reader:
        drop = meanwhile(lambda: dropper.drop("s", expect_last=numbers[-1]))
        server.inject(drop, when=lambda call: call.method == "GET" and call.name == name)
        assert [record.number for record in reader.records("s", after=numbers[0])] == []


@pytest.mark.parametrize("act", ["append", "drop", "read"])
def test_who_died_after_sealing_a_part_leaves_nothing_undone(server: Buckets, long: ObjectEngine, act: str) -> None:
    first = long.append("s", b"x" * 150)
    server.inject(lambda call, do: Answer(403), when=lambda call: call.method == "PUT" and call.absent)
    with pytest.raises(StateError):
        long.append("s", b"y" * 150)
    assert len(parts(server)) == 1
    assert b"sealed" in server.store.objects[parts(server)[0]][0][:40]
    with closing(object_engine(server)) as other:
        assert [record.number for record in other.records("s")] == [first]
        assert list(other.streams("")) == ["s"]
        if act == "append":
            second = other.append("s", b"z", expect_last=first)
            assert [record.number for record in long.records("s")] == [first, second]
        elif act == "drop":
            other.drop("s", expect_last=first)
            assert list(long.records("s")) == []
            assert list(long.streams("")) == []
            assert long.append("s", b"z", expect_last=0) > first


def test_two_seal_at_once(server: Buckets, long: ObjectEngine) -> None:
    with closing(object_engine(server, part_size=300)) as other:
        long.append("s", b"x" * 100)
        server.inject(meanwhile(lambda: other.append("s", b"fits")), when=lambda call: b" sealed " in call.body)
        long.append("s", b"y" * 150)
        assert [record.value[:1] for record in other.records("s")] == [b"x", b"f", b"y"]
        server.inject(meanwhile(lambda: other.append("s", b"z" * 150)), when=lambda call: b" sealed " in call.body)
        long.append("s", b"w" * 150)
        assert [record.value[:1] for record in other.records("s")] == [b"x", b"f", b"y", b"z", b"w"]


def test_a_drop_that_meets_an_append_after_a_sealed_part(server: Buckets, long: ObjectEngine) -> None:
    first = long.append("s", b"x" * 150)
    server.inject(lambda call, do: Answer(403), when=lambda call: call.method == "PUT" and call.absent)
    with pytest.raises(StateError):
        long.append("s", b"y" * 150)
    with closing(object_engine(server)) as dropper, closing(object_engine(server)) as other:
        append = meanwhile(lambda: other.append("s", b"z", expect_last=first))
        server.inject(append, when=lambda call: call.method in {"PUT", "DELETE"})
        second = conflict(lambda: dropper.drop("s", expect_last=first))
        assert [record.number for record in long.records("s")] == [first, second]


def test_a_clock_that_runs_behind_keeps_the_order(server: Buckets, stack: ExitStack) -> None:
    class Behind(SystemClock):
        def now(self):  # type: ignore[no-untyped-def]  # of the base
            from datetime import timedelta

            return super().now() - timedelta(hours=2)

    right = stack.enter_context(closing(object_engine(server, part_size=300)))
    behind = stack.enter_context(closing(object_engine(server, part_size=300, clock=Behind())))
    numbers = [(right, behind)[i % 2].append("s", b"x" * 60) for i in range(8)]
    assert numbers == sorted(set(numbers))
    assert [record.number for record in right.records("s")] == numbers


# --- services that only look right -----------------------------------------------------------------------------------


def test_a_check_is_one_request_and_shows_nowhere(engine: ObjectEngine, server: Buckets) -> None:
    engine.check()
    assert list(engine.list("")) == list(engine.streams("")) == []
    server.calls.clear()
    engine.check()
    assert [(call.method, call.absent) for call in server.calls] == [("PUT", True)]


def ignoring(method: str, **condition: object) -> Callable[[Call, Callable[[Call], Answer]], Answer]:
    return lambda call, do: do(replace(call, **condition) if call.method == method else call)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("writes", ignoring("PUT", absent=False)),
        ("writes", ignoring("PUT", tag=None)),
        ("deletes", ignoring("DELETE", tag=None)),
    ],
)
def test_a_service_that_ignores_conditions_is_refused_every_time(
    server: Buckets,
    engine: ObjectEngine,
    what: str,
    fault: Callable[[Call, Callable[[Call], Answer]], Answer],
) -> None:
    for _ in range(2):
        server.inject(fault, times=20)
        with pytest.raises(StateError, match=f"does not keep conditional {what}"):
            engine.check()
        server.faults.clear()
        assert not server.store.objects


# --- from a URL ------------------------------------------------------------------------------------------------------


def test_a_url_names_the_engine(server: Buckets) -> None:
    made = open_state(f"{server.scheme}://bucket1/a/b/", clock=SystemClock())
    assert isinstance(made, ObjectEngine)
    assert made.where == f"{server.scheme}://bucket1/a/b"
    assert not server.calls
    root = open_state(f"{server.scheme}://bucket1", clock=SystemClock())
    root.write("k", b"1", expect=ABSENT)
    assert list(server.store.objects) == ["k/k"]
    root.close()
    made.close()


@pytest.mark.parametrize("rest", ["", "/", "a", "Hunter2", "hunter2@bucket/x", "bucket/x?hunter2=1", "bucket/\n"])
def test_a_url_that_names_no_bucket_is_a_config_error(server: Buckets, rest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_state(f"{server.scheme}://{rest}", clock=SystemClock())
    assert "hunter2" not in str(caught.value.as_dict()).lower()
    assert f"{server.scheme}://" in caught.value.fix


def test_it_costs_no_sdk_and_no_cryptography() -> None:
    program = (
        "import sys; from ci_acme.state import objects; from ci_acme.state.clouds import s3, gcs, azure\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {
        "boto3",
        "botocore",
        "google",
        "azure",
        "obstore",
        "requests",
        "urllib3",
        "cryptography",
        "pydantic",
        "xml",
    }
    assert not set(done.stdout.split()) & heavy
