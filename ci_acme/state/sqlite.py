"""State in one SQLite file: the embedded default, for one machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ci_acme import __version__
from ci_acme.errors import StateBusy, StateError, StateUnavailable
from ci_acme.ports import Clock, Deadline
from ci_acme.state.engine import ABSENT, ANY, Conflict, Entry, Expect, Record, Version

if TYPE_CHECKING:
    import sqlite3

_T = TypeVar("_T")

SCHEMA: Final = 1
"""The version of the tables that this program knows."""

_BUSY_SECONDS: Final = 10.0
_SLICE: Final = 0.1
"""The longest time that SQLite waits for a lock by itself, and that an interrupt goes unheard."""
_RETRY_SECONDS: Final = 0.02
_LAST: Final = "\U0010ffff"
"""Sorts after every continuation of a prefix."""

_TABLES: Final = """
CREATE TABLE ci_acme_schema (version INTEGER NOT NULL);
INSERT INTO ci_acme_schema VALUES (1);
CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, version TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE records (number INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, value BLOB NOT NULL);
CREATE INDEX records_by_stream ON records (stream, number);
"""


class SqliteEngine:
    """An `Engine` in one file, made with mode 0600, and its parents, when it is first used.

    One connection with a lock serves all threads: every write waits for the disk anyway (WAL, `synchronous=FULL`).
    """

    def __init__(self, path: Path, *, clock: Clock, busy_seconds: float = _BUSY_SECONDS) -> None:
        self._path = path
        self._clock = clock
        self._busy_seconds = busy_seconds
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    @property
    def where(self) -> str:
        """`sqlite:.ci-acme/state.db`."""
        return f"sqlite:{self._path.as_posix()}"

    def check(self) -> None:
        """Take the write lock and write a row, and undo it."""
        with suppress(_Undo), self._writing() as database:
            database.execute("INSERT INTO records (stream, value) VALUES ('check', x'')")
            raise _Undo

    def time(self) -> float:
        return self._clock.now().timestamp()

    def read(self, key: str) -> Entry | None:
        rows = self._rows("SELECT value, version FROM entries WHERE key = ?", key)
        return Entry(*rows[0]) if rows else None

    def write(self, key: str, value: bytes, *, expect: Version | Expect) -> Version:
        version = os.urandom(8).hex()
        with self._writing() as database:
            _require(database, key, expect)
            database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (key, value, version))
        return version

    def delete(self, key: str, *, expect: Version | Expect) -> None:
        with self._writing() as database:
            _require(database, key, expect)
            database.execute("DELETE FROM entries WHERE key = ?", (key,))

    def list(self, prefix: str) -> Sequence[str]:
        rows = self._rows("SELECT key FROM entries WHERE key >= ? AND key < ? ORDER BY key", prefix, prefix + _LAST)
        return [key for (key,) in rows]

    def append(self, stream: str, value: bytes, *, expect_last: int | None = None) -> int:
        with self._writing() as database:
            if expect_last is not None:
                _require_last(database, stream, expect_last)
            cursor = database.execute("INSERT INTO records (stream, value) VALUES (?, ?)", (stream, value))
            number = cursor.lastrowid
        assert number is not None
        return number

    def records(self, stream: str, *, after: int = 0) -> Sequence[Record]:
        query = "SELECT number, value FROM records WHERE stream = ? AND number > ? ORDER BY number"
        return [Record(*row) for row in self._rows(query, stream, after)]

    def streams(self, prefix: str) -> Sequence[str]:
        query = "SELECT DISTINCT stream FROM records WHERE stream >= ? AND stream < ? ORDER BY stream"
        return [stream for (stream,) in self._rows(query, prefix, prefix + _LAST)]

    def drop(self, stream: str, *, expect_last: int) -> None:
        with self._writing() as database:
            _require_last(database, stream, expect_last)
            database.execute("DELETE FROM records WHERE stream = ?", (stream,))

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # --- connection --------------------------------------------------------------------------------------------------

    def _rows(self, query: str, *values: object) -> Sequence[Any]:
        with self._lock, self._errors():
            if self._connection is None and not os.path.lexists(self._path):
                return []  # looking makes no file: `plan` changes nothing
            database = self._open()
            return self._patiently(lambda: database.execute(query, values).fetchall())

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        """One transaction, durable when the block ends; the write lock is held from its begin."""
        with self._lock, self._errors():
            database = self._open()
            self._patiently(lambda: database.execute("BEGIN IMMEDIATE"))
            try:
                yield database
                self._patiently(lambda: database.execute("COMMIT"))
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._create_file()
            database: sqlite3.Connection = _sqlite3().connect(
                self._path, timeout=min(_SLICE, self._busy_seconds), isolation_level=None, check_same_thread=False
            )
            try:
                self._patiently(lambda: self._prepare(database))
            except BaseException:
                database.close()
                raise
            self._connection = database
        return self._connection

    def _create_file(self) -> None:
        """SQLite would give a new file the mode of the umask; its -wal and -shm files take that of the file."""
        if not self._path.parent.is_dir():
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA synchronous = FULL")
        if database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            database.execute("PRAGMA journal_mode = WAL")  # where the file system cannot, the rollback journal stays
        if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
            database.execute("BEGIN IMMEDIATE")
            if not database.execute("SELECT 1 FROM sqlite_master").fetchone():  # nobody was first
                for statement in filter(str.strip, _TABLES.split(";")):
                    database.execute(statement)
            database.execute("COMMIT")
        self._check_schema(database)

    def _check_schema(self, database: sqlite3.Connection) -> None:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "ci_acme_schema" not in tables:
            raise StateError(
                f"{self._path} is a database of another program",
                fix="configure another file as state: sqlite:PATH",
            )
        (version,) = database.execute("SELECT max(version) FROM ci_acme_schema").fetchone()
        if version != SCHEMA:
            raise StateError(
                f"{self._path} has schema version {version}; ci-acme {__version__} knows version {SCHEMA}",
                fix="run the ci-acme that wrote it, or a newer one; or configure another file as state: sqlite:PATH",
                details={"found": version, "known": SCHEMA},
            )

    def _patiently(self, act: Callable[[], _T]) -> _T:
        """Repeat `act` while another process has the file locked. Raises `Interrupted`."""
        deadline = Deadline(self._clock, self._busy_seconds)
        while True:
            try:
                return act()
            except _sqlite3().OperationalError as error:
                if deadline.expired or "locked" not in str(error):
                    raise
            self._clock.sleep(_RETRY_SECONDS)

    @contextmanager
    def _errors(self) -> Generator[None]:
        sqlite3 = _sqlite3()
        try:
            yield
        except OSError as error:
            raise StateUnavailable(
                f"the state {self._path} cannot be used: {error.strerror}",
                fix=f"let this user read and write {self._path} and its directory, or configure another state",
            ) from error
        except sqlite3.Error as error:
            self.close()  # a damaged or replaced file is looked at anew by the next call
            raise self._error(str(error)) from error

    def _error(self, words: str) -> StateError:
        message = f"the state {self._path} cannot be used: {words}"
        if "malformed" in words or "not a database" in words:
            fix = (
                f"the file is damaged: restore it, or move it and {self._path.name}-wal away and run again; "
                "certificates and orders under way are in their stores"
            )
            return StateError(message, fix=fix)
        if "locked" in words:
            return StateBusy(message, fix=f"another process uses {self._path}; run again when it has finished")
        if "full" in words:
            fix = f"free some space on the file system of {self._path.parent}"
        else:
            fix = f"let this user read and write {self._path} and its directory, or configure another state"
        return StateUnavailable(message, fix=fix)


def _sqlite3() -> Any:
    """The module, 3 ms that only a run with state pays."""
    try:
        import sqlite3
    except ImportError:
        raise StateUnavailable(
            "this Python was built without SQLite", fix="use a Python that has the module sqlite3"
        ) from None
    return sqlite3


class _Undo(Exception):
    """Roll back."""


def _require(database: sqlite3.Connection, key: str, expect: Version | Expect) -> None:
    row = database.execute("SELECT version FROM entries WHERE key = ?", (key,)).fetchone()
    found = row[0] if row else None
    if expect is not ANY and found != (None if expect is ABSENT else expect):
        raise Conflict(key, found)


def _require_last(database: sqlite3.Connection, stream: str, expect_last: int) -> None:
    (last,) = database.execute("SELECT coalesce(max(number), 0) FROM records WHERE stream = ?", (stream,)).fetchone()
    if last != expect_last:
        raise Conflict(stream, last)
