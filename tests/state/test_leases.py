"""One holder at a time, exactly one successor, and nobody who lost a lease believes to have it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_acme.clock import SystemClock
from ci_acme.core.lease import Presence
from ci_acme.errors import Interrupted, LeaseHeld, LeaseLost, StateError, StateUnavailable
from ci_acme.ports import Deadline
from ci_acme.state.engine import ANY, Engine, Entry, Expect, Version
from ci_acme.state.holders import Process, this_process
from ci_acme.state.leases import TTL, Grant, Held, Leases
from ci_acme.state.memory import MemoryEngine
from tests.ca.support import FakeClock
from tests.servers.postgres import Postgres
from tests.state.support import sqlite_engine

ELSEWHERE = Process("runner-7", 4711)


class World:
    """Hosts that share a state; each has a clock of its own, two of them hours off."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.engine = MemoryEngine(self.clock)

    def leases(self, process: Process = ELSEWHERE) -> Leases:
        return Leases(self.engine, self.clock, process=process)

    def take(self, owner: str, seconds: float = 0.0, process: Process = ELSEWHERE, **options: Any) -> Grant:
        grant = self.leases(process).acquire(
            "key", owner, what="web", deadline=Deadline(self.clock, seconds), **options
        )
        assert grant is not None
        return grant

    def lost(self, grant: Grant) -> bool:
        try:
            grant.check()
        except LeaseLost:
            return True
        return False


@pytest.fixture
def world() -> World:
    return World()


def test_the_second_waits_and_learns_for_whom(world: World) -> None:
    first = world.take("run 1")
    seen: list[str] = []
    with pytest.raises(LeaseHeld) as caught:
        world.take("run 2", 10, waiting=lambda held: seen.append(str(held)))
    assert "web is held by run 1 on runner-7, since 08:00:00 UTC" in caught.value.message
    assert "10 s" in caught.value.message
    assert caught.value.details == {"owner": "run 1", "host": "runner-7", "pid": 4711}
    assert caught.value.exit_status == 7
    assert set(seen) == {"run 1 on runner-7, since 08:00:00 UTC"}
    first.release()
    assert world.take("run 2").fence > first.fence


def test_a_lease_is_stolen_after_its_end_and_not_before(world: World) -> None:
    first = world.take("run 1")
    world.clock.time += TTL - 1
    with pytest.raises(LeaseHeld):
        world.take("run 2")
    first.renew()
    world.clock.time += TTL - 1
    with pytest.raises(LeaseHeld):
        world.take("run 2")
    world.clock.time += 1
    second = world.take("run 2")
    assert second.fence > first.fence
    for act in (first.check, first.renew, first.check):
        with pytest.raises(LeaseLost, match="web was taken over by run 2 on runner-7") as caught:
            act()
        assert caught.value.exit_status == 7
    first.release()
    second.check()


def test_a_holder_that_slept_and_lost_nothing_goes_on(world: World) -> None:
    first = world.take("run 1")
    world.clock.time += 10 * TTL
    first.check()
    with pytest.raises(LeaseHeld):
        world.take("run 2")


def test_a_check_leaves_time_to_act(world: World) -> None:
    first = world.take("run 1")
    world.clock.time += TTL * 0.9
    first.check()
    world.clock.time += TTL / 2 - 1
    with pytest.raises(LeaseHeld):
        world.take("run 2")


def test_whoever_waited_may_find_that_there_is_nothing_left_to_do(world: World) -> None:
    first = world.take("run 1")
    asked: list[bool] = []

    def done() -> bool:
        asked.append(True)
        return True

    def end_of_the_first(_held: Held) -> None:
        first.release()

    leases = world.leases()
    got = leases.acquire(
        "key", "run 2", what="web", deadline=Deadline(world.clock, 9), unless=done, waiting=end_of_the_first
    )
    assert got is None
    assert asked == [True]
    assert leases.acquire("key", "run 3", what="web", deadline=Deadline(world.clock, 9), unless=done) is not None
    assert asked == [True], "who did not wait has just looked"


def test_leases_of_other_keys_are_free(world: World) -> None:
    world.take("run 1")
    assert world.leases().acquire("other", "run 2", what="web", deadline=Deadline(world.clock, 0)) is not None


def test_a_wait_can_be_interrupted(world: World) -> None:
    world.take("run 1")
    world.clock.stop_after = 3
    with pytest.raises(Interrupted):
        world.take("run 2", 1000)


# --- the state fails ---------------------------------------------------------------------------------------------


class Failing(MemoryEngine):
    """One client's way to a state, which may be cut off, or lose replies."""

    broken = False
    loses_replies = False

    def __init__(self, clock: FakeClock, shared: MemoryEngine | None = None) -> None:
        super().__init__(clock)
        self._shared = shared or MemoryEngine(clock)

    def time(self) -> float:
        self._reach()
        return self._shared.time()

    def read(self, key: str) -> Entry | None:
        self._reach()
        return self._shared.read(key)

    def write(self, key: str, value: bytes, *, expect: Version | Expect) -> Version:
        self._reach()
        version = self._shared.write(key, value, expect=expect)
        if self.loses_replies:
            raise StateUnavailable("no reply", fix="x")
        return version

    def _reach(self) -> None:
        if self.broken:
            raise StateUnavailable("gone", fix="x")


def test_a_lease_is_sure_while_the_state_is_away_until_it_may_have_ended(world: World) -> None:
    world.engine = engine = Failing(world.clock)
    grant = world.take("run 1")
    engine.broken = True
    for _ in range(3):
        world.clock.time += TTL / 3 - 0.1
        grant.check()
        with pytest.raises(StateUnavailable):
            grant.renew()
    world.clock.time += 1
    with pytest.raises(LeaseLost, match="gone"):
        grant.check()
    grant.release()
    engine.broken = False
    grant.check()


def test_a_renewal_whose_reply_was_lost_is_still_ours(world: World) -> None:
    world.engine = engine = Failing(world.clock)
    grant = world.take("run 1")
    engine.loses_replies = True
    with pytest.raises(StateUnavailable):
        grant.renew()
    engine.loses_replies = False
    grant.renew()
    grant.check()


def test_garbage_is_an_error(world: World) -> None:
    world.take("run 1").release()
    (key,) = world.engine.list("lease/")
    for garbage in (b"{", b"[]", b'{"lease": {"fence": 1, "color": "red"}, "process": {}}'):
        world.engine.write(key, garbage, expect=ANY)
        with pytest.raises(StateError, match="understood"):
            world.take("run 2")


# --- mutual exclusion --------------------------------------------------------------------------------------------

ACTORS = st.integers(0, 2)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["take", "take", "renew", "release", "forget", "cut off", "reach"]), ACTORS),
        st.tuples(st.just("sleep"), st.sampled_from([1, 14, 16, 27, 31])),
    ),
    max_size=25,
)


class Host:
    """One of several that want the same lease; its way to the state may be cut off."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.owner = f"run {number}"
        self.engine = Failing(world.clock, world.engine)
        self.grant: Grant | None = None

    def do(self, what: str) -> None:
        if what in {"cut off", "reach"}:
            self.engine.broken = what == "cut off"
        elif what == "take":
            leases = Leases(self.engine, self.world.clock, process=ELSEWHERE)
            deadline = Deadline(self.world.clock, 0)
            self.grant = leases.acquire("key", self.owner, what="web", deadline=deadline)
        elif self.grant is not None and what == "renew":
            self.grant.renew()
        elif self.grant is not None:
            grant, self.grant = self.grant, None
            if what == "release":
                grant.release()

    def is_sure(self) -> bool:
        try:
            if self.grant is not None:
                self.grant.check()
        except LeaseLost:
            return False
        return self.grant is not None


@settings(deadline=None, max_examples=500)
@given(STEPS)
def test_never_two_that_are_sure(steps: list[tuple[str, int]]) -> None:
    """Three hosts, deaths, silences, and each cut off now and then: at most one is sure, and it is the last one."""
    world = World()
    hosts = [Host(world, number) for number in range(3)]
    fences: list[int] = []
    for what, number in steps:
        if what == "sleep":
            world.clock.time += number
        else:
            with suppress(LeaseHeld, LeaseLost, StateUnavailable):
                hosts[number].do(what)
        sure = [host.grant.fence for host in hosts if host.is_sure() and host.grant]
        assert len(sure) <= 1
        if sure and sure[0] not in fences:
            fences.append(sure[0])
    assert fences == sorted(set(fences))


# --- processes ---------------------------------------------------------------------------------------------------


def test_this_process_is_there() -> None:
    me = this_process()
    expected = Presence.ALIVE if sys.platform == "linux" else Presence.UNKNOWN
    assert me.presence() is expected
    assert Process.from_dict(me.as_dict()) == me


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says where a process id means something")
def test_the_dead_are_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = Path(f"/proc/{child.pid}/stat").read_text().rpartition(") ")[2].split()[19]
    process = replace(this_process(), pid=child.pid, start=start)
    assert process.presence() is Presence.ALIVE
    assert replace(process, start="1").presence() is Presence.GONE, "its id was given to another one"
    assert replace(process, place="another boot").presence() is Presence.UNKNOWN
    assert replace(process, place=None).presence() is Presence.UNKNOWN, "containers may share a host name"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.presence() is Presence.GONE, "not waited for by its parent yet"
    child.communicate()
    assert process.presence() is Presence.GONE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says where a process id means something")
def test_the_clock_of_one_host_may_jump(world: World) -> None:
    grant = world.take("run 1", process=this_process())
    for jump in (7200, -14400):
        world.engine._clock = Ahead(world.clock, jump)
        with pytest.raises(LeaseHeld):
            world.take("run 2", process=this_process())
        grant.check()
    dead = replace(this_process(), start="1")
    grant.release()
    world.take("run 2", process=dead)
    assert world.take("run 3", process=this_process()).owner == "run 3"


class Ahead(FakeClock):
    """A wall clock that is off."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self.time = clock.time + seconds


def test_a_run_elsewhere_whose_clock_was_ahead_is_followed(world: World) -> None:
    """It died, and the shared clock was set back by two hours: silence tells."""
    world.engine._clock = Ahead(world.clock, 7200)
    world.take("run 1")
    world.engine._clock = world.clock
    with pytest.raises(LeaseHeld):
        world.take("run 2", TTL / 2)
    assert world.take("run 2", TTL + 5).owner == "run 2"


# --- real engines, real threads ----------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers)])
def open_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Engine]]:
    from ci_acme.state.postgres import PostgresEngine

    made: list[Engine] = []
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.create_database(f"lease{os.getpid()}{time.monotonic_ns()}")

    def make() -> Engine:
        engine: Engine = (
            sqlite_engine(tmp_path / "state.db")
            if request.param == "sqlite"
            else PostgresEngine(url, clock=SystemClock())
        )
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


def test_one_at_a_time(open_engine: Callable[[], Engine]) -> None:
    inside: list[str] = []
    most: list[int] = []
    fences: list[int] = []

    def work(name: str) -> None:
        leases = Leases(open_engine(), SystemClock())
        grant = leases.acquire("key", name, what="web", deadline=Deadline(SystemClock(), 60))
        assert grant is not None
        with grant.kept():
            inside.append(name)
            most.append(len(inside))
            fences.append(grant.fence)
            grant.check()
            inside.remove(name)

    threads = [threading.Thread(target=work, args=(f"run {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6
    assert fences == sorted(set(fences))


def test_work_that_lasts_keeps_its_lease(open_engine: Callable[[], Engine]) -> None:
    clock = SystemClock()
    ttl = 1.0
    grant = Leases(open_engine(), clock, process=ELSEWHERE).acquire(
        "key", "run 1", what="web", deadline=Deadline(clock, 5), ttl=ttl
    )
    assert grant is not None
    others = Leases(open_engine(), clock)
    with grant.kept():
        with pytest.raises(LeaseHeld):
            others.acquire("key", "run 2", what="web", deadline=Deadline(clock, 3 * ttl))
        grant.check()
    assert others.acquire("key", "run 2", what="web", deadline=Deadline(clock, 5)) is not None


def test_exactly_one_follows_the_dead(open_engine: Callable[[], Engine]) -> None:
    clock = SystemClock()
    dead = Leases(open_engine(), clock, process=ELSEWHERE)
    assert dead.acquire("key", "dead", what="web", deadline=Deadline(clock, 5), ttl=0.5) is not None
    winners: list[str] = []

    def follow(name: str) -> None:
        leases = Leases(open_engine(), clock)
        try:
            grant = leases.acquire("key", name, what="web", deadline=Deadline(clock, 3))
        except LeaseHeld:
            return
        if grant is not None:
            winners.append(name)

    threads = [threading.Thread(target=follow, args=(f"run {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1


def test_the_heartbeat_notices_a_theft(tmp_path: Path) -> None:
    clock = SystemClock()
    with closing(sqlite_engine(tmp_path / "state.db")) as engine:
        leases = Leases(engine, clock)
        grant = leases.acquire("key", "run 1", what="web", deadline=Deadline(clock, 5), ttl=0.4)
        assert grant is not None
        with grant.kept():
            (key,) = engine.list("lease/")
            entry = engine.read(key)
            assert entry is not None
            engine.write(key, entry.value.replace(b"run 1", b"run 2"), expect=entry.version)
            deadline = Deadline(clock, 10)
            while grant._lost is None and not deadline.expired:
                clock.sleep(0.05)
            assert grant._lost is not None
            with pytest.raises(LeaseLost, match="run 2"):
                grant.check()
