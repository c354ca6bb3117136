"""The SQLite engine as a file on a disk, beside other processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from ci_acme.clock import SystemClock
from ci_acme.errors import StateError, StateUnavailable
from ci_acme.state.engine import ABSENT, ANY, usable_state
from ci_acme.state.memory import MemoryEngine
from ci_acme.state.sqlite import SqliteEngine
from tests.state.support import ROOT, sqlite_engine, start_driver


def test_nothing_is_made_until_something_is_written(tmp_path: Path) -> None:
    with closing(sqlite_engine(tmp_path / "s" / "state.db")) as engine:
        assert engine.read("k") is None
        assert not (tmp_path / "s").exists()
        engine.write("k", b"v", expect=ABSENT)
        assert (tmp_path / "s" / "state.db").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="modes")
@pytest.mark.parametrize("umask", [0, 0o077])
def test_the_files_are_private(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with closing(sqlite_engine(tmp_path / "s" / "state.db")) as engine:
            engine.write("k", b"v", expect=ABSENT)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "s").iterdir()}
    finally:
        os.umask(before)
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}


def test_commits_wait_for_the_disk(tmp_path: Path) -> None:
    with closing(sqlite_engine(tmp_path / "state.db")) as engine:
        engine.check()
        assert engine._connection is not None
        assert engine._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert engine._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_it_outlives_the_process(tmp_path: Path) -> None:
    for number in range(3):
        with closing(sqlite_engine(tmp_path / "state.db")) as engine:
            assert len(engine.records("s")) == number
            engine.append("s", b"x")
            engine.close()
            engine.append("t", b"opened again")


def test_processes_lose_no_increment(tmp_path: Path) -> None:
    """Eight at once, beginning with a file that does not exist."""
    path = str(tmp_path / "new" / "state.db")
    drivers = [start_driver("increment", path, "25") for _ in range(8)]
    outputs = [driver.communicate(timeout=90)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0] * 8
    with closing(sqlite_engine(Path(path))) as engine:
        entry = engine.read("counter")
        assert entry is not None
        assert entry.value == b"200"
        assert sorted(int(record.value) for record in engine.records("log")) == list(range(1, 201))
    assert sum(map(int, outputs)) > 0, "nobody was ever second: the test proved nothing"


def test_a_newer_schema_names_both_versions_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite_engine(path)) as engine:
        engine.write("k", b"v", expect=ABSENT)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE ci_acme_schema SET version = 7")
    before = path.read_bytes()
    with closing(sqlite_engine(path)) as engine, pytest.raises(StateError, match=r"version 7.*version 1") as caught:
        engine.read("k")
    assert "newer" in caught.value.fix
    assert caught.value.details == {"found": 7, "known": 1}
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE theirs (x)")
    with closing(sqlite_engine(path)) as engine, pytest.raises(StateError, match="another program"):
        engine.write("k", b"v", expect=ANY)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_damaged_file_is_said_and_never_deleted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with closing(sqlite_engine(path)) as engine:
        for act in (engine.check, lambda: engine.read("k"), lambda: engine.append("s", b"")):
            with pytest.raises(StateError, match=r"state\.db") as caught:
                act()
            assert "damaged" in caught.value.fix
    assert path.read_bytes() == content


def test_damage_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite_engine(path)) as engine:
        for number in range(300):
            engine.write(f"k{number}", b"v" * 200, expect=ABSENT)
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)
    with closing(sqlite_engine(path)) as engine, pytest.raises(StateError) as caught:
        [engine.read(f"k{number}") for number in range(300)]
    assert "damaged" in caught.value.fix


def test_a_directory_or_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "state.db", tmp_path / "file" / "state.db"):
        with closing(sqlite_engine(path)) as engine, pytest.raises(StateError, match="cannot be used") as caught:
            engine.check()
        assert "another state" in caught.value.fix


def test_a_busy_file_is_an_error_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite_engine(path)) as holder, closing(sqlite_engine(path, busy_seconds=0.1)) as engine:
        engine.check()
        with holder._writing(), pytest.raises(StateError, match="locked") as caught:
            engine.append("s", b"")
        assert "another process" in caught.value.fix
        engine.append("s", b"after")


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits")
def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    import resource

    with closing(sqlite_engine(tmp_path / "state.db")) as engine:
        engine.append("s", b"before")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            with pytest.raises(StateError) as caught:
                engine.append("s", b"x" * 100_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert caught.value.fix
        engine.append("s", b"after")
        assert [record.value for record in engine.records("s")] == [b"before", b"after"]


def test_a_run_goes_on_without_state_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    engine, warning = usable_state(f"sqlite:{tmp_path / 'file' / 'state.db'}", clock=SystemClock())
    assert isinstance(engine, MemoryEngine)
    assert warning is not None
    assert "File exists" in warning
    engine, warning = usable_state(f"sqlite:{tmp_path / 'state.db'}", clock=SystemClock())
    with closing(engine):
        assert warning is None
        assert isinstance(engine, SqliteEngine)


def test_a_run_does_not_go_on_beside_a_damaged_state(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StateError) as caught:
        usable_state(f"sqlite:{tmp_path / 'state.db'}", clock=SystemClock())
    assert not isinstance(caught.value, StateUnavailable)


@pytest.mark.skipif(sys.platform == "win32", reason="users and modes")
def test_a_read_only_checkout_is_unavailable(tmp_path: Path) -> None:
    driver = start_driver("read-only", str(tmp_path))
    assert driver.communicate(timeout=30)[0] == "Permission denied\n"


def test_sqlite_is_loaded_only_when_used() -> None:
    code = (
        "import sys; from ci_acme.clock import SystemClock; from ci_acme.state.engine import open_state; "
        "open_state('sqlite:/nonexistent/x.db', clock=SystemClock()); sys.exit('sqlite3' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_failed_block_is_rolled_back(tmp_path: Path) -> None:
    with closing(sqlite_engine(tmp_path / "state.db")) as engine:
        with pytest.raises(KeyboardInterrupt):
            interrupted_append(engine)
        assert list(engine.records("s")) == []
        done = threading.Thread(target=engine.check)
        done.start()
        done.join(10)
        assert not done.is_alive()


def interrupted_append(engine: SqliteEngine) -> None:
    with engine._writing() as database:
        database.execute("INSERT INTO records (stream, value) VALUES ('s', x'')")
        raise KeyboardInterrupt


def test_opening_waits_where_sqlite_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight processes that make one file at once: in 1 of 480 openings the change to WAL failed without waiting."""
    prepare = SqliteEngine._prepare
    refusals = iter([sqlite3.OperationalError("database is locked")] * 2)

    def hindered(engine: SqliteEngine, database: sqlite3.Connection) -> None:
        for refusal in refusals:
            raise refusal
        prepare(engine, database)

    monkeypatch.setattr(SqliteEngine, "_prepare", hindered)
    with closing(sqlite_engine(tmp_path / "state.db")) as engine:
        engine.check()


def test_two_that_make_the_tables_at_once_agree(tmp_path: Path) -> None:
    """Another process makes them after this one saw that there are none."""
    path = tmp_path / "state.db"
    with closing(sqlite_engine(path)) as first, closing(sqlite3.connect(path, isolation_level=None)) as database:
        late = Late(database, first)
        sqlite_engine(path)._prepare(late)
        assert late.overtaken
        assert [record.value for record in first.records("s")] == [b"kept"]


class Late:
    def __init__(self, database: sqlite3.Connection, other: SqliteEngine) -> None:
        self.database, self.other, self.overtaken = database, other, False

    def execute(self, statement: str) -> object:
        if statement == "BEGIN IMMEDIATE":
            self.other.append("s", b"kept")
            self.overtaken = True
        return self.database.execute(statement)
