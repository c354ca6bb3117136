"""State in PostgreSQL: for runners that share no disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from ci_acme.errors import NotAvailable
from ci_acme.ports import Clock
from ci_acme.state.engine import ABSENT, ANY, Conflict, Entry, Expect, Record, Version
from ci_acme.state.pglink import LOCKS, Link, Undo, first_value

if TYPE_CHECKING:
    from ci_acme.state.pglink import Database

_REPLACE: Final = """
UPDATE ci_acme.entries SET value = %(value)s, version = %(new)s WHERE key = %(key)s AND version = %(old)s
"""
_CREATE: Final = "INSERT INTO ci_acme.entries VALUES (%(key)s, %(value)s, %(new)s) ON CONFLICT (key) DO NOTHING"
_SET: Final = """
INSERT INTO ci_acme.entries VALUES (%(key)s, %(value)s, %(new)s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version
"""


class PostgresEngine:
    """An `Engine` in the schema `ci_acme` of a database, which is made when it is first written to.

    `url` is a connection URL of libpq; the password comes from PGPASSWORD, PGPASSFILE or a service file. One connection
    serves all threads in turn. Raises `NotAvailable` if psycopg is not installed.
    """

    def __init__(self, url: str, *, clock: Clock) -> None:
        if find_spec("psycopg") is None:
            raise NotAvailable("state in PostgreSQL needs the package psycopg", fix="pip install 'ci-acme[postgresql]'")
        self._link = Link(url, clock=clock)

    @property
    def where(self) -> str:
        """`postgresql://db.example.com:5432/ci`, without the user."""
        return self._link.where

    def check(self) -> None:
        """Write a row and undo it."""

        def work(database: Database) -> None:
            database.execute("INSERT INTO ci_acme.records (stream, value) VALUES ('check', '')")
            raise Undo

        with suppress(Undo):
            self._link.transact(work)

    def time(self) -> float:
        """The server's clock: those of its clients may differ by hours."""
        return float(self._link.read(lambda database: first_value(database, _TIME)))

    def read(self, key: str) -> Entry | None:
        rows = self._rows("SELECT value, version FROM ci_acme.entries WHERE key = %s", key)
        return Entry(*rows[0]) if rows else None

    def write(self, key: str, value: bytes, *, expect: Version | Expect) -> Version:
        version = os.urandom(8).hex()
        values = {"key": key, "value": value, "new": version, "old": None if isinstance(expect, Expect) else expect}
        query = _SET if expect is ANY else _CREATE if expect is ABSENT else _REPLACE

        def work(database: Database) -> None:
            if database.execute(query, values).rowcount != 1:
                raise Conflict(key, _version(database, key))

        self._link.transact(work)
        return version

    def delete(self, key: str, *, expect: Version | Expect) -> None:
        def work(database: Database) -> None:
            if expect is ANY:
                database.execute("DELETE FROM ci_acme.entries WHERE key = %s", (key,))
                return
            if expect is not ABSENT:
                query = "DELETE FROM ci_acme.entries WHERE key = %s AND version = %s"
                if database.execute(query, (key, expect)).rowcount == 1:
                    return
            found = _version(database, key)
            if expect is not ABSENT or found is not None:
                raise Conflict(key, found)

        self._link.transact(work)

    def list(self, prefix: str) -> Sequence[str]:
        rows = self._rows("SELECT key FROM ci_acme.entries WHERE key LIKE %s ORDER BY key", _pattern(prefix))
        return [key for (key,) in rows]

    def append(self, stream: str, value: bytes, *, expect_last: int | None = None) -> int:
        def work(database: Database) -> int:
            _lock(database, stream)  # before the number is drawn: whoever sees a number has seen all before it
            if expect_last is not None:
                _require_last(database, stream, expect_last)
            query = "INSERT INTO ci_acme.records (stream, value) VALUES (%s, %s) RETURNING number"
            return int(first_value(database, query, stream, value))

        return self._link.transact(work)

    def records(self, stream: str, *, after: int = 0) -> Sequence[Record]:
        query = "SELECT number, value FROM ci_acme.records WHERE stream = %s AND number > %s ORDER BY number"
        return [Record(*row) for row in self._rows(query, stream, after)]

    def streams(self, prefix: str) -> Sequence[str]:
        query = "SELECT DISTINCT stream FROM ci_acme.records WHERE stream LIKE %s ORDER BY stream"
        return [stream for (stream,) in self._rows(query, _pattern(prefix))]

    def drop(self, stream: str, *, expect_last: int) -> None:
        def work(database: Database) -> None:
            _lock(database, stream)
            _require_last(database, stream, expect_last)
            database.execute("DELETE FROM ci_acme.records WHERE stream = %s", (stream,))

        self._link.transact(work)

    def close(self) -> None:
        self._link.close()

    def _rows(self, query: Any, *values: object) -> Sequence[Any]:
        def look(database: Database) -> Sequence[Any]:
            return database.execute(query, values).fetchall()

        return self._link.read(look) if self._link.has_tables() else []  # looking makes no tables


_TIME: Final = "SELECT extract(epoch FROM clock_timestamp())"


def _pattern(prefix: str) -> str:
    escaped = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{escaped}%"


def _version(database: Database, key: str) -> Version | None:
    found: Version | None = first_value(database, "SELECT version FROM ci_acme.entries WHERE key = %s", key)
    return found


def _lock(database: Database, stream: str) -> None:
    """Until the transaction ends; two streams may share a lock."""
    database.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (LOCKS, stream))


def _require_last(database: Database, stream: str, expect_last: int) -> None:
    query = "SELECT coalesce(max(number), 0) FROM ci_acme.records WHERE stream = %s"
    last = int(first_value(database, query, stream))
    if last != expect_last:
        raise Conflict(stream, last)
