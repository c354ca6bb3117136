"""What goes wrong on the way to a bucket: throttling, lost replies, races, outages; nothing twice, nothing lost."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing

import pytest

from ci_acme.clock import SystemClock
from ci_acme.errors import StateError, StateUnavailable
from ci_acme.state.engine import ABSENT, ANY, Conflict, Engine, usable_state
from ci_acme.state.memory import MemoryEngine
from ci_acme.state.objects import ObjectEngine, open_objects
from tests.servers.buckets import (
    Buckets,
    Call,
    Fault,
    answer,
    failed_after,
    failed_before,
    lost_reply,
    meanwhile,
    then_lost,
    unseen,
)
from tests.state.object_support import FACES, QuickClock, object_engine, serving, url_of


@pytest.fixture(params=FACES)
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[Buckets]:
    with serving(request.param, monkeypatch) as made:
        yield made


@pytest.fixture
def engine(server: Buckets, stack: ExitStack) -> ObjectEngine:
    return stack.enter_context(closing(object_engine(server, part_size=300)))


@pytest.fixture
def other(server: Buckets, stack: ExitStack) -> ObjectEngine:
    return stack.enter_context(closing(object_engine(server, part_size=300)))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def writing(call: Call) -> bool:
    return call.method in {"PUT", "DELETE"}


throttled = answer(503, b"<Error><Code>SlowDown</Code></Error>")

FAULTS: dict[str, tuple[Fault, int]] = {
    "throttled": (throttled, 4),
    "429": (answer(429), 2),
    "crowded": (answer(429), 25),
    "500 before": (failed_before, 2),
    "502 after": (failed_after, 1),
    "closed before": (unseen, 2),
    "closed after": (lost_reply, 1),
}
faulty = pytest.mark.parametrize("fault", FAULTS)


def inject(server: Buckets, name: str, when: Callable[[Call], bool] = writing) -> None:
    fault, times = FAULTS[name]
    server.inject(fault, times=times, when=when)


@faulty
def test_keys_are_written_once(server: Buckets, engine: Engine, fault: str) -> None:
    inject(server, fault)
    first = engine.write("k", b"1", expect=ABSENT)
    inject(server, fault)
    second = engine.write("k", b"2", expect=first)
    entry = engine.read("k")
    assert entry is not None
    assert (entry.value, entry.version) == (b"2", second)
    inject(server, fault)
    engine.write("k", b"3", expect=ANY)
    with pytest.raises(Conflict):
        engine.write("k", b"4", expect=second)
    entry = engine.read("k")
    assert entry is not None
    inject(server, fault)
    engine.delete("k", expect=entry.version)
    inject(server, fault)
    engine.delete("k", expect=ANY)
    assert not server.store.objects
    assert not server.faults


@faulty
def test_records_are_appended_once(server: Buckets, engine: Engine, other: Engine, fault: str) -> None:
    """Also the first one, those after which a part is sealed, and those that begin a part."""
    last = 0
    for index in range(12):
        inject(server, fault)
        last = engine.append("s", str(index).encode(), expect_last=last)
        server.faults.clear()
    assert [int(record.value) for record in other.records("s")] == list(range(12))
    inject(server, fault)
    engine.drop("s", expect_last=last)
    server.faults.clear()
    assert list(other.streams("")) == []
    assert list(other.records("s")) == []
    short = other.append("t", b"1")
    inject(server, fault)
    other.drop("t", expect_last=short)
    assert list(engine.streams("")) == []


@faulty
def test_reading_outlasts_it(server: Buckets, engine: Engine, fault: str) -> None:
    engine.write("k", b"1", expect=ABSENT)
    numbers = [engine.append("s", b"x" * 100) for _ in range(6)]
    inject(server, fault, lambda call: True)
    assert engine.read("k") is not None
    inject(server, fault, lambda call: call.method == "LIST")
    assert list(engine.list("")) == ["k"]
    inject(server, fault, lambda call: call.method == "GET")
    assert [record.number for record in engine.records("s")] == numbers
    inject(server, fault, lambda call: True)
    assert engine.time() > 0


def test_two_writes_of_one_object_at_once_on_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 may answer 409 to both the one that wins in the end and the one that does not."""
    with serving("s3", monkeypatch) as server, closing(object_engine(server)) as engine:
        server.inject(answer(409, b"<Error><Code>ConditionalRequestConflict</Code></Error>"), times=3)
        version = engine.write("k", b"1", expect=ABSENT)
        server.inject(answer(409, b"<Error><Code>OperationAborted</Code></Error>"), times=3)
        engine.write("k", b"2", expect=version)


def test_a_connection_that_the_service_closed_while_idle_leaves_no_doubt(
    server: Buckets, engine: Engine, other: Engine
) -> None:
    first = engine.write("k", b"1", expect=ABSENT)
    other.write("k", b"2", expect=first)
    server.hang_up()
    with pytest.raises(Conflict):
        engine.write("k", b"3", expect=first)


# --- races -----------------------------------------------------------------------------------------------------------


def test_whoever_comes_second_is_told(server: Buckets, engine: Engine, other: Engine) -> None:
    server.inject(meanwhile(lambda: other.write("k", b"other", expect=ABSENT)), when=writing)
    with pytest.raises(Conflict) as caught:
        engine.write("k", b"1", expect=ABSENT)
    entry = engine.read("k")
    assert entry is not None
    assert entry.value == b"other"
    assert caught.value.found == entry.version
    server.inject(meanwhile(lambda: other.write("k", b"again", expect=ANY)), when=writing)
    with pytest.raises(Conflict):
        engine.delete("k", expect=entry.version)


def test_appends_that_meet_are_both_there(server: Buckets, engine: Engine, other: Engine) -> None:
    for index in range(8):
        server.inject(meanwhile(lambda index=index: other.append("s", b"o%d" % index)), when=writing)
        engine.append("s", b"e%d" % index)
    values = [record.value.decode() for record in engine.records("s")]
    assert values == [f"{who}{index}" for index in range(8) for who in "oe"]


def test_an_append_after_an_expected_record_that_is_not_the_last(
    server: Buckets, engine: Engine, other: Engine
) -> None:
    first = engine.append("s", b"1")
    server.inject(meanwhile(lambda: other.append("s", b"2")), when=writing)
    with pytest.raises(Conflict):
        engine.append("s", b"3", expect_last=first)
    server.inject(meanwhile(lambda: other.append("s", b"4")), when=writing)
    with pytest.raises(Conflict):
        engine.drop("s", expect_last=other.records("s")[-1].number)
    assert [record.value for record in engine.records("s")] == [b"1", b"2", b"4"]


def test_a_drop_that_meets_a_drop(server: Buckets, engine: Engine, other: Engine) -> None:
    last = engine.append("s", b"1")
    server.inject(meanwhile(lambda: other.drop("s", expect_last=last)), when=writing)
    with pytest.raises(Conflict) as caught:
        engine.drop("s", expect_last=last)
    assert caught.value.found == 0


def test_an_append_that_meets_a_drop_begins_anew(server: Buckets, engine: Engine, other: Engine) -> None:
    last = engine.append("s", b"1")
    server.inject(meanwhile(lambda: other.drop("s", expect_last=last)), when=writing)
    second = engine.append("s", b"2")
    assert second > last
    assert [record.value for record in engine.records("s")] == [b"2"]


def test_a_lost_reply_before_somebody_elses_write_is_not_guessed(
    server: Buckets, engine: Engine, other: Engine
) -> None:
    first = engine.write("k", b"1", expect=ABSENT)

    def overwrite() -> None:
        entry = other.read("k")
        assert entry is not None
        assert entry.value == b"2"
        other.write("k", b"3", expect=entry.version)

    server.inject(then_lost(overwrite), when=writing)
    with pytest.raises(StateUnavailable):
        engine.write("k", b"2", expect=first)


def test_a_lost_append_that_somebody_dropped_is_not_made_again(server: Buckets, engine: Engine, other: Engine) -> None:
    engine.append("s", b"1")
    server.inject(then_lost(lambda: other.drop("s", expect_last=other.records("s")[-1].number)), when=writing)
    with pytest.raises(StateUnavailable):
        engine.append("s", b"2")
    assert list(engine.records("s")) == []


def test_a_lost_append_before_somebody_elses_is_found(server: Buckets, engine: Engine, other: Engine) -> None:
    """Also when the part was sealed meanwhile."""
    engine.append("s", b"1")

    def more() -> None:
        for _ in range(4):
            other.append("s", b"x" * 60)

    server.inject(then_lost(more), when=writing)
    number = engine.append("s", b"2")
    records = engine.records("s")
    assert [record.value[:1] for record in records] == [b"1", b"2", b"x", b"x", b"x", b"x"]
    assert records[1].number == number


# --- what cannot be outlasted ----------------------------------------------------------------------------------------


def test_an_outage_ends_in_a_clear_error(server: Buckets, engine: Engine) -> None:
    server.inject(unseen, times=500)
    with pytest.raises(StateUnavailable) as caught:
        engine.write("k", b"1", expect=ABSENT)
    assert f"{server.scheme}://bucket1" in caught.value.message
    assert "hunter" not in str(caught.value.as_dict())
    assert 5 < len(server.calls) < 100, "tries are bounded, and have pauses between them"


def test_nobody_listens(server: Buckets, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.face.environment("http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)
    clock = QuickClock()
    with closing(open_objects(url_of(server), clock=clock)) as closed, pytest.raises(StateUnavailable, match="refused"):
        closed.read("k")
    instead, warning = usable_state(url_of(server), clock=clock)
    assert isinstance(instead, MemoryEngine)
    assert warning is not None
    assert "bucket1" in warning


def test_a_run_that_shall_stop_does_not_wait_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    clock.stop()
    with serving("s3", monkeypatch) as server, closing(object_engine(server, clock=clock)) as stopping:
        server.inject(throttled, times=3)
        stopping.write("k", b"1", expect=ABSENT)
        server.inject(throttled, times=500)
        before = clock.monotonic()
        with pytest.raises(StateUnavailable):
            stopping.append("s", b"1")
        assert clock.monotonic() - before < 20


def test_a_bucket_that_is_not_there(server: Buckets, stack: ExitStack) -> None:
    missing = stack.enter_context(closing(open_objects(f"{server.scheme}://missing1/x", clock=QuickClock())))
    acts: list[Callable[[], object]] = [
        missing.check,
        lambda: missing.read("k"),
        lambda: missing.list(""),
        lambda: missing.append("s", b""),
        lambda: missing.delete("k", expect=ANY),
        lambda: missing.delete("k", expect='"1"' if server.scheme != "gs" else "1"),
        missing.time,
    ]
    for act in acts:
        with pytest.raises(StateError, match="no such bucket") as caught:
            act()
        assert not isinstance(caught.value, StateUnavailable), "the run must not go on without its state"


@pytest.mark.parametrize("status", [403, 400, 405])
def test_a_refusal_says_what_is_needed(server: Buckets, engine: Engine, status: int) -> None:
    server.inject(answer(status, b"hunter2"))
    with pytest.raises(StateError) as caught:
        engine.write("k", b"1", expect=ABSENT)
    assert str(status) in caught.value.message
    assert "hunter" not in str(caught.value.as_dict())
    assert caught.value.fix
    if status == 403:
        assert "list" in caught.value.fix.lower()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda body: body[:-1], "damaged"),
        (lambda body: body.replace(b"value", b"velue"), "damaged"),
        (lambda body: b"", "damaged"),
        (lambda body: b"{}", "damaged"),
        (lambda body: body.replace(b"state/1 ", b"state/2 "), "knows format 1"),
    ],
)
def test_an_object_that_was_damaged_or_is_newer(
    server: Buckets, engine: Engine, change: Callable[[bytes], bytes], words: str
) -> None:
    engine.write("k", b"value", expect=ABSENT)
    engine.append("s", b"value")
    for name, (body, tag) in server.store.objects.items():
        server.store.objects[name] = (change(body), tag)
    for act in (lambda: engine.read("k"), lambda: engine.records("s"), lambda: engine.drop("s", expect_last=1)):
        with pytest.raises(StateError, match=words) as caught:
            act()
        assert not isinstance(caught.value, StateUnavailable)
        assert "team/ci/" in caught.value.message
    with pytest.raises(StateError, match=words):
        engine.write("k", b"", expect=ABSENT)
