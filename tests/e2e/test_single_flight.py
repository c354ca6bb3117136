"""Many runs at once are one order; a leader that dies has one successor; whoever lost its lease stores nothing."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from ci_acme.clock import SystemClock
from ci_acme.core.lease import taken
from ci_acme.state.engine import Engine, open_state
from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, Ran, check_store, finish
from tests.servers.buckets import Buckets
from tests.servers.postgres import Postgres
from tests.state.object_support import FACES, url_of

pytestmark = pytest.mark.servers
NAME = f"www.{ZONE}"
ENGINES = ["sqlite", "postgres"]


@pytest.fixture(params=ENGINES)
def use_state(request: pytest.FixtureRequest) -> Iterator[Callable[[Lab], Lab]]:
    """Gives a lab the state of one engine, empty."""
    with ExitStack() as stack:

        def use(lab: Lab) -> Lab:
            if request.param == "postgres":
                server: Postgres = request.getfixturevalue("postgres")
                lab.config["state"] = server.create_database(f"e{uuid4().hex}")
            elif request.param != "sqlite":
                buckets = stack.enter_context(Buckets(request.param))
                lab.config["state"] = url_of(buckets)
                lab.variables |= buckets.environment()
            return lab

        yield use


@contextmanager
def state_of(lab: Lab) -> Iterator[Engine]:
    url = lab.config.get("state") or f"sqlite:{lab.directory / '.ci-acme/state.db'}"
    with closing(open_state(url, clock=SystemClock())) as engine:
        yield engine


def start(lab: Lab, count: int, *arguments: str) -> list[subprocess.Popen[str]]:
    return [lab.start("issue", "--output", "json", *arguments) for _ in range(count)]


def finish_all(processes: list[subprocess.Popen[str]], timeout: float = 100) -> list[Ran]:
    deadline = time.monotonic() + timeout
    return [finish(process, max(1.0, deadline - time.monotonic())) for process in processes]


def actions(runs: list[Ran]) -> Counter[str]:
    assert [run.status for run in runs] == [0] * len(runs), [run.stderr for run in runs if run.status]
    return Counter(run.certificate["action"] for run in runs)


def pause(lab: Lab, process: subprocess.Popen[str]) -> None:
    """Stop a run, yet not while it holds the write lock of the state: then nobody else could do anything."""
    for _ in range(100):
        process.send_signal(signal.SIGSTOP)
        if "state" in lab.config:
            return
        time.sleep(0.05)  # it stops at its next return from the kernel
        if not is_locked(lab):
            return
        process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
    raise AssertionError("the run always holds the lock")


def is_locked(lab: Lab) -> bool:
    with closing(sqlite3.connect(lab.directory / ".ci-acme" / "state.db", timeout=0.2)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


def accounts(lab: Lab) -> int:
    return lab.pebble.request_counts()["/sign-me-up"]


# --- many at once ------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
@pytest.mark.parametrize("use_state", [*ENGINES, *FACES], indirect=True)
@pytest.mark.parametrize("count", [16, 40])
def test_many_at_once_are_one_order(
    lab: Lab, use_state: Callable[[Lab], Lab], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_state(lab)
    runs = finish_all(start(lab, count), 250)
    assert actions(runs) == {"issued": 1, "kept": count - 1}
    assert [run.stderr for run in runs if "warning" in run.stderr] == []
    assert lab.orders() == 1
    serial = check_store(lab.store, [NAME]).serial_number
    assert {int(run.certificate["serial"], 16) for run in runs} == {serial}
    assert lab.bind.leftovers() == []
    assert accounts(lab) <= 2, "one run registers; if another one made the key, it asks first whether it is known"
    assert "There are now 2 accounts" not in lab.pebble.log()
    for name, value in lab.variables.items():
        monkeypatch.setenv(name, value)
    with state_of(lab) as engine:
        assert list(engine.streams("journal/")) == []
        assert list(engine.list("run/")) == []


def test_a_forced_renewal_of_many_is_one_order(lab: Lab) -> None:
    assert lab.issue().status == 0
    old = check_store(lab.store, [NAME]).serial_number
    first = lab.start("issue", "--output", "json", "--force")
    lab.pebble.wait_for_requests("/order-plz", 2)
    pause(lab, first)  # whoever comes after its end renews again: it was told to
    followers = start(lab, 4, "--force")
    wait_until_announced(lab, 5)
    first.send_signal(signal.SIGCONT)
    assert actions(finish_all([first, *followers])) == {"renewed": 1, "kept": 4}
    assert lab.orders() == 2
    assert check_store(lab.store, [NAME]).serial_number != old


def test_two_certificates_of_one_run_that_are_the_same_share_an_order_only_in_turn(lab: Lab) -> None:
    """The same names for two stores: each has a certificate of its own, one after the other."""
    lab.config["certificates"]["twin"] = {**lab.web, "stores": [{"provider": "file", "directory": "elsewhere"}]}
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert lab.orders() == 2
    check_store(lab.directory / "elsewhere" / "twin", [NAME])


def test_a_kept_certificate_takes_no_lease(lab: Lab) -> None:
    assert lab.issue().status == 0
    assert (
        lab.issue().certificate["action"] == "kept"
    )  # it asked for the renewal window, and remembers when to ask again
    before = lab.seen()
    lab.config["state"] = "sqlite:other.db"
    assert lab.issue().certificate["action"] == "kept"
    assert lab.seen() == before
    assert not (lab.directory / "other.db").exists()


def test_who_waits_says_for_whom_and_gives_up_in_time(make_lab: MakeLab, use_state: Callable[[Lab], Lab]) -> None:
    lab = use_state(make_lab())
    leader = lab.start("issue", "--output", "json")
    lab.pebble.wait_for_requests("/order-plz")
    pause(lab, leader)
    try:
        ran = lab.issue("--timeout", "4")
        assert ran.status == 7, ran.stderr
        error = ran.certificate["error"]
        assert error["code"] == "lease.held"
        assert error["details"]["pid"] == leader.pid
        assert "waiting for run" in ran.stderr
        assert "--timeout" in error["fix"]
    finally:
        leader.send_signal(signal.SIGCONT)
    assert finish(leader).status == 0
    assert lab.orders() == 1


# --- the leader dies ---------------------------------------------------------------------------------------------


def at_the_account(lab: Lab) -> None:
    lab.pebble.wait_for_requests("/sign-me-up")


def at_the_order(lab: Lab) -> None:
    lab.pebble.wait_for_requests("/order-plz")


def with_the_record_in_place(lab: Lab) -> None:
    lab.bind.wait_for_txt(f"_acme-challenge.{NAME}")


def while_the_ca_validates(lab: Lab) -> None:
    lab.pebble.wait_for_requests("/chalZ/")


def at_finalize(lab: Lab) -> None:
    lab.pebble.wait_for_requests("/finalize-order/")


def at_the_download(lab: Lab) -> None:
    lab.pebble.wait_for_requests("/certZ/")


MOMENTS = [
    at_the_account,
    at_the_order,
    with_the_record_in_place,
    while_the_ca_validates,
    at_finalize,
    at_the_download,
]


def test_who_waits_can_be_stopped(lab: Lab) -> None:
    leader = lab.start("issue", "--output", "json")
    lab.pebble.wait_for_requests("/order-plz")
    pause(lab, leader)
    follower = lab.start("issue", "--output", "json")
    wait_until_announced(lab, 2)
    follower.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert finish(follower).status == 143
    assert time.monotonic() - begun < 7
    leader.send_signal(signal.SIGCONT)
    assert finish(leader).status == 0


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_dead_leader_has_one_successor(make_lab: MakeLab, moment: Callable[[Lab], None]) -> None:
    """On one host the others see that its process is gone, and do not wait for the lease to expire."""
    lab = make_lab(['_acme-challenge.www TXT "foreign"'])
    leader = lab.start("issue")
    moment(lab)
    leader.kill()
    followers = start(lab, 3)
    leader.communicate()
    runs = finish_all(followers)
    done = actions(runs)
    assert done["kept"] >= 2
    assert done["issued"] <= 1
    assert lab.orders() <= 2
    check_store(lab.store, [NAME])
    assert lab.run("cleanup").status == 0
    assert lab.bind.txt(f"_acme-challenge.{NAME}") == ["foreign"]


def test_those_who_wait_already_have_one_that_follows(make_lab: MakeLab, use_state: Callable[[Lab], Lab]) -> None:
    lab = use_state(make_lab())
    leader = lab.start("issue")
    lab.pebble.wait_for_requests("/order-plz")
    pause(lab, leader)
    followers = start(lab, 5)
    wait_until_announced(lab, 6)
    leader.kill()
    leader.communicate()
    assert actions(finish_all(followers)) == {"issued": 1, "kept": 4}
    assert lab.orders() <= 2  # that of the dead leader is gone on with, unless it died before it had heard of it
    assert lab.bind.leftovers() == []


def wait_until_announced(lab: Lab, count: int) -> None:
    deadline = time.monotonic() + 30
    with state_of(lab) as engine:
        while len(engine.list("run/")) < count:
            assert time.monotonic() < deadline
            time.sleep(0.05)


# --- the lease is lost -------------------------------------------------------------------------------------------


def steal(lab: Lab) -> None:
    """Another run elsewhere takes every lease, as after an end of theirs that the holder did not notice."""
    with state_of(lab) as engine:
        for key in engine.list("lease/"):
            entry = engine.read(key)
            assert entry is not None
            document: dict[str, Any] = json.loads(entry.value)
            thief = taken(None, "run thief", now=engine.time(), ttl=3.0)
            document["lease"].update(
                owner="run thief", fence=document["lease"]["fence"] + 1, expires=thief.expires, ttl=3
            )
            document["process"] = {"host": "elsewhere", "pid": 1}
            engine.write(key, json.dumps(document).encode(), expect=entry.version)


def once_its_key_is_kept(lab: Lab) -> None:
    deadline = time.monotonic() + 30
    while not (lab.store.parent / ".web.pending").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("moment", [at_the_order, once_its_key_is_kept, at_finalize])
def test_who_lost_its_lease_neither_finalizes_nor_publishes(
    make_lab: MakeLab, use_state: Callable[[Lab], Lab], moment: Callable[[Lab], None]
) -> None:
    lab = use_state(make_lab(validation_delay=3 if moment is once_its_key_is_kept else 0))
    process = lab.start("issue", "--output", "json")
    moment(lab)
    pause(lab, process)
    kept = {".web.pending", ".web.lock"}
    publishing = lab.store.parent.exists() and any(path.name not in kept for path in lab.store.parent.iterdir())
    finalized = lab.pebble.request_counts()["/finalize-order/"]
    steal(lab)
    process.send_signal(signal.SIGCONT)
    ran = finish(process)
    if publishing:  # it had looked at its lease for the last time before it was stopped
        assert moment is not at_the_order
        return
    assert ran.status == 7, ran.stderr
    assert ran.certificate["error"]["code"] == "lease.lost"
    assert "run thief on elsewhere" in ran.certificate["error"]["message"]
    assert not (lab.store / "cert.pem").exists()
    assert lab.pebble.request_counts()["/finalize-order/"] == finalized
    assert lab.bind.leftovers() == []
    assert lab.issue().status == 0
    check_store(lab.store, [NAME])


# --- many names, one challenge name ------------------------------------------------------------------------------


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [40])
def test_many_names_share_one_challenge_name(make_lab: MakeLab, count: int) -> None:
    """CNAMEs of many names lead to one name, which has a neighbour's value: as many processes, all at once."""
    names = [f"n{number}" for number in range(count)]
    lab = make_lab([f"_acme-challenge.{name} CNAME shared.second.test." for name in names])
    lab.bind.update("second.test", add=['shared 77 TXT "neighbour"'], key="other")
    store = {"provider": "file", "directory": "certs"}
    lab.config["certificates"] = {name: {"names": [f"{name}.{ZONE}"], "stores": [store]} for name in names}
    processes = [lab.start("issue", "--output", "json", name) for name in names]
    runs = finish_all(processes, 280)
    assert actions(runs) == {"issued": count}
    assert lab.orders() == count
    assert len({int(run.certificate["serial"], 16) for run in runs}) == count
    for name in names:
        check_store(lab.directory / "certs" / name, [f"{name}.{ZONE}"])
    answer = lab.bind.query("shared.second.test")
    assert [rdata.to_text() for rrset in answer.answer for rdata in rrset] == ['"neighbour"']
    assert answer.answer[0].ttl == 77


# --- the state fails in the middle -------------------------------------------------------------------------------


def test_a_database_that_is_gone_costs_no_second_order(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab(validation_delay=3)
    folder = tmp_path / "own-postgres"
    folder.mkdir()
    with Postgres(folder) as server:
        lab.config["state"] = server.url
        process = lab.start("issue", "--output", "json")
        lab.pebble.wait_for_requests("/chalZ/")
        server.stop()
        ran = finish(process)
        if ran.status == 0:
            check_store(lab.store, [NAME])
        else:
            assert ran.certificate["error"]["code"] in {"state.unavailable", "lease.lost"}
            assert f"127.0.0.1:{server.port}" in ran.certificate["error"]["message"]
        server.start()
        lab.config["state"] = server.url
        assert lab.issue().status == 0
        check_store(lab.store, [NAME])
        assert lab.run("cleanup").status == 0
        assert lab.bind.leftovers() == []
    assert lab.orders() == 1


def test_a_database_that_drops_every_connection_costs_nothing(lab: Lab, postgres: Postgres) -> None:
    lab.config["state"] = postgres.create_database(f"e{uuid4().hex}")
    process = lab.start("issue", "--output", "json")
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'ci-acme' AND datname = current_database()"
    )
    dropped = 0
    with psycopg.connect(lab.config["state"], autocommit=True) as admin:
        while process.poll() is None and dropped < 5:
            dropped += len(admin.execute(query).fetchall())
            time.sleep(0.2 if dropped else 0.01)
    ran = finish(process)
    assert dropped
    if ran.status:  # cut off while COMMIT was under way, twice in a row or while reading the answer
        assert ran.certificate["error"]["code"].startswith("state."), ran.stderr
        assert lab.issue().status == 0
    assert lab.orders() <= 2
    assert lab.run("cleanup").status == 0
    assert lab.bind.leftovers() == []


def test_a_database_that_cannot_be_reached_is_a_warning(lab: Lab) -> None:
    lab.config["state"] = "postgresql://nobody@127.0.0.1:9/nothing"
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert ran.stderr.count("does not wait for others") == 1
    assert "127.0.0.1:9" in ran.stderr
    assert lab.orders() == 1


def test_a_state_file_that_is_busy_is_waited_for(lab: Lab) -> None:
    process = lab.start("issue", "--output", "json")
    lab.pebble.wait_for_requests("/order-plz")
    with busy(lab):
        time.sleep(3)
    ran = finish(process)
    assert ran.status == 0, ran.stderr
    assert lab.orders() == 1


def test_a_state_file_that_stays_busy_is_an_error_before_anything_is_ordered(lab: Lab) -> None:
    """Somebody works there: to go on alone could be a second order."""
    assert lab.issue().status == 0
    with busy(lab):
        ran = lab.issue("--force")
    assert ran.status == 2, ran.stderr
    assert ran.certificate["error"]["code"] == "state.busy"
    assert lab.orders() == 1
    check_store(lab.store, [NAME])


@contextmanager
def busy(lab: Lab) -> Iterator[None]:
    """Somebody holds the write lock of the state file."""
    with closing(sqlite3.connect(lab.directory / ".ci-acme" / "state.db", isolation_level=None, timeout=9)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


def test_a_damaged_state_file_is_an_error_before_anything_is_ordered(lab: Lab) -> None:
    path = lab.directory / ".ci-acme" / "state.db"
    path.parent.mkdir()
    path.write_bytes(b"garbage" * 1000)
    ran = lab.issue()
    assert ran.status == 2, ran.stderr
    assert "damaged" in ran.certificate["error"]["fix"]
    assert lab.orders() == 0
    path.unlink()
    assert lab.issue().status == 0
