"""What only a server can do to us: it goes, comes back, is newer, refuses; and nothing says the password."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from ci_acme.clock import SystemClock
from ci_acme.errors import NotAvailable, StateError, StateUnavailable
from ci_acme.state import pglink
from ci_acme.state import postgres as module
from ci_acme.state.engine import ABSENT, ANY, open_state
from ci_acme.state.postgres import PostgresEngine
from tests.ca.support import FakeClock
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.state.support import ROOT, start_driver

pytestmark = pytest.mark.servers


def engine_of(url: str) -> PostgresEngine:
    return PostgresEngine(url, clock=SystemClock())


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.create_database(f"t{uuid4().hex}")


@pytest.fixture
def engine(url: str) -> Iterator[PostgresEngine]:
    with closing(engine_of(url)) as made:
        yield made


@pytest.fixture
def admin(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def end_sessions(admin: psycopg.Connection[Any]) -> int:
    """End every session of the product on the server; how many there were."""
    rows = admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'ci-acme' AND datname = current_database()"
    ).fetchall()
    return len(rows)


def test_looking_makes_no_tables(engine: PostgresEngine, admin: psycopg.Connection[Any]) -> None:
    assert engine.read("k") is None
    assert list(engine.streams("")) == []
    assert engine.time() > 1e9
    assert admin.execute("SELECT to_regnamespace('ci_acme')").fetchone() == (None,)
    engine.write("k", b"v", expect=ABSENT)
    assert engine.read("k") is not None
    tables = admin.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'ci_acme'").fetchone()
    assert tables == (3,)


def test_the_time_is_that_of_the_server(url: str) -> None:
    """Whatever the clock here says."""
    clock = FakeClock()
    clock.time -= 2 * 3600 + 10**8
    with closing(PostgresEngine(url, clock=clock)) as engine:
        assert engine.time() > clock.time + 7000


def test_a_commit_is_durable_whatever_the_default(engine: PostgresEngine, admin: psycopg.Connection[Any]) -> None:
    """The server of the tests has synchronous_commit off, as a careless role may have."""
    assert admin.execute("SHOW synchronous_commit").fetchone() == ("off",)
    seen: list[Any] = []

    def look(database: Any) -> None:
        seen.append(database.execute("SHOW synchronous_commit").fetchone())

    engine._link.transact(look)
    assert seen == [("on",)]


def test_processes_lose_no_increment(url: str, engine: PostgresEngine) -> None:
    """Six at once, beginning with a database that has no tables."""
    drivers = [start_driver("increment", url, "40") for _ in range(6)]
    outputs = [driver.communicate(timeout=90)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0] * 6
    entry = engine.read("counter")
    assert entry is not None
    assert entry.value == b"240"
    assert sorted(int(record.value) for record in engine.records("log")) == list(range(1, 241))
    assert sum(map(int, outputs)) > 0, "nobody was ever second: the test proved nothing"


CALLS: dict[str, Callable[[PostgresEngine], object]] = {
    "read": lambda engine: engine.read("k"),
    "write": lambda engine: engine.write("new", b"", expect=ABSENT),
    "delete": lambda engine: engine.delete("k", expect=ANY),
    "append": lambda engine: engine.append("s", b""),
    "records": lambda engine: engine.records("s"),
    "time": lambda engine: engine.time(),
    "check": lambda engine: engine.check(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_dropped_connection_is_made_again(
    engine: PostgresEngine, admin: psycopg.Connection[Any], call: Callable[[PostgresEngine], object]
) -> None:
    engine.write("k", b"v", expect=ABSENT)
    assert end_sessions(admin) == 1
    call(engine)
    if call is CALLS["append"]:
        assert len(engine.records("s")) == 1


@pytest.mark.parametrize(("moment", "rows"), [("before", 1), ("commit", 0)])
def test_nothing_happens_twice(
    engine: PostgresEngine, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, moment: str, rows: int
) -> None:
    """A connection lost inside a transaction: it is repeated, unless COMMIT was sent and nobody knows what it did."""
    engine.check()
    execute = psycopg.Connection.execute
    cut: list[str] = []

    def hindered(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        begun = "COMMIT" if moment == "commit" else "INSERT"
        if query.strip().startswith(begun) and not cut:
            cut.append(query)
            end_sessions(admin)
        return execute(self, query, *arguments, **options)

    monkeypatch.setattr(psycopg.Connection, "execute", hindered)
    if rows:
        engine.append("s", b"")
    else:
        with pytest.raises(StateUnavailable, match="cannot be used"):
            engine.append("s", b"")
    assert cut
    assert len(engine.records("s")) == rows


def test_a_server_that_is_gone_is_named_and_its_return_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pglink, "_PATIENCE", 0.3)
    with Postgres(tmp_path) as server, closing(engine_of(server.url.replace("@", ":hunter2@"))) as engine:
        engine.write("k", b"v", expect=ABSENT)
        server.stop()
        for call in CALLS.values():
            with pytest.raises(StateUnavailable) as caught:
                call(engine)
            assert f"127.0.0.1:{server.port}" in caught.value.message
            assert "hunter2" not in str(caught.value.as_dict())
        monkeypatch.setattr("tests.servers.postgres.free_port", lambda _host: server.port)
        server.start()
        assert engine.read("k") is not None


def test_a_server_that_restarts_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pglink, "_PATIENCE", 30.0)
    with Postgres(tmp_path) as server, closing(engine_of(server.url)) as engine:
        engine.append("s", b"1")
        server.stop()
        monkeypatch.setattr("tests.servers.postgres.free_port", lambda _host: server.port)
        starter = threading.Timer(0.5, server.start)
        starter.start()
        engine.append("s", b"2")
        starter.join()
        assert [record.value for record in engine.records("s")] == [b"1", b"2"]


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pglink._OPTIONS, "connect_timeout", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with closing(engine_of(f"postgresql://u@127.0.0.1:{port}/x")) as engine, pytest.raises(StateUnavailable):
            engine.read("k")


def test_a_newer_schema_names_both_versions_and_is_left_alone(
    engine: PostgresEngine, admin: psycopg.Connection[Any], url: str
) -> None:
    engine.write("k", b"v", expect=ABSENT)
    admin.execute("INSERT INTO ci_acme.migrations VALUES (7)")
    for act in (lambda e: e.read("k"), lambda e: e.append("s", b""), lambda e: e.check()):
        with closing(engine_of(url)) as later, pytest.raises(StateError, match=r"version 7.*version 1") as caught:
            act(later)
        assert not isinstance(caught.value, StateUnavailable)
        assert "newer" in caught.value.fix
        assert caught.value.details == {"found": 7, "known": 1}
    assert admin.execute("SELECT count(*) FROM ci_acme.records").fetchone() == (0,)


def test_an_older_schema_is_migrated(
    engine: PostgresEngine, url: str, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.write("k", b"v", expect=ABSENT)
    monkeypatch.setattr(pglink, "_MIGRATIONS", (*pglink._MIGRATIONS, "CREATE TABLE ci_acme.more (x integer)"))
    monkeypatch.setattr(pglink, "SCHEMA", 2)
    with closing(engine_of(url)) as newer:
        assert newer.read("k") is not None, "the old tables can be looked at"
        newer.append("s", b"")
    assert admin.execute("SELECT array_agg(version) FROM ci_acme.migrations").fetchone() == ([1, 2],)
    assert admin.execute("SELECT count(*) FROM ci_acme.more").fetchone() == (0,)


def test_a_role_that_may_not_is_told_what_to_ask_for(url: str, admin: psycopg.Connection[Any]) -> None:
    role = f"r{uuid4().hex[:8]}"
    admin.execute(f"CREATE ROLE {role} LOGIN")
    with closing(engine_of(url.replace("postgres@", f"{role}@"))) as engine:
        with pytest.raises(StateUnavailable, match="permission denied") as caught:
            engine.check()
        assert "CREATE SCHEMA ci_acme AUTHORIZATION" in caught.value.fix
        admin.execute(f"CREATE SCHEMA ci_acme AUTHORIZATION {role}")
        engine.check()


def test_a_read_only_server_is_said(engine: PostgresEngine, url: str) -> None:
    engine.check()
    assert pglink._fix("25006") != pglink._fix(None)
    with closing(engine_of(f"{url}?options=-cdefault_transaction_read_only%3Don")) as careful:
        careful.append("s", b"the transaction says itself that it writes")


def test_a_url_that_libpq_does_not_know_is_not_repeated(postgres: Postgres) -> None:
    with closing(engine_of(f"{postgres.url}?hunter2=x")) as engine, pytest.raises(StateError) as caught:
        engine.read("k")
    assert "hunter2" not in str(caught.value.as_dict())


def test_a_refusal_is_not_asked_again(postgres: Postgres) -> None:
    clock = Patient()
    nobody = f"postgresql://u@127.0.0.1:{free_port('127.0.0.1')}/x"
    with closing(PostgresEngine(postgres.database_url("nowhere"), clock=clock)) as engine:
        with pytest.raises(StateUnavailable, match="does not exist"):
            engine.read("k")
        assert clock.sleeps == 0
    with closing(PostgresEngine(nobody, clock=clock)) as engine:
        with pytest.raises(StateUnavailable, match="refused"):
            engine.read("k")
        assert clock.sleeps > 0


class Patient(SystemClock):
    """Counts the pauses."""

    sleeps = 0

    def shielded(self) -> Patient:
        return self

    def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        super().sleep(seconds)


def test_a_missing_package_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(NotAvailable) as caught:
        open_state("postgresql://db/x", clock=SystemClock())
    assert "pip install 'ci-acme[postgresql]'" in caught.value.fix


def test_psycopg_is_loaded_only_when_used() -> None:
    code = (
        "import sys; from ci_acme.clock import SystemClock; from ci_acme.state.engine import open_state; "
        "open_state('postgresql://127.0.0.1:1/x', clock=SystemClock()); sys.exit('psycopg' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_transactions_need_no_session(engine: PostgresEngine, admin: psycopg.Connection[Any]) -> None:
    """A pooler gives every transaction another session: no prepared statement, lock or setting is left in it."""
    engine.write("k", b"v", expect=ABSENT)
    for number in range(8):
        engine.append("s", str(number).encode())
    database = engine._link._connection
    assert database is not None
    assert database.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
    assert database.execute("SHOW statement_timeout").fetchone() == ("0",)
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = %s"
    assert admin.execute(locks, (database.info.backend_pid,)).fetchone() == (0,)


def test_an_interrupted_call_leaves_nothing(engine: PostgresEngine) -> None:
    def work(database: Any) -> None:
        database.execute("INSERT INTO ci_acme.records (stream, value) VALUES ('s', '')")
        os.kill(os.getpid(), signal.SIGINT)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine._link.transact(work)
    assert list(engine.records("s")) == []
    done = threading.Thread(target=engine.check)
    done.start()
    done.join(10)
    assert not done.is_alive()
