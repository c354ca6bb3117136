"""The connection to PostgreSQL, the tables there, and what can go wrong with both.

Nothing outlives a transaction (no session lock, no prepared statement, no setting), so that a pooler such as PgBouncer
may stand between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ci_acme import __version__
from ci_acme.errors import StateBusy, StateError, StateUnavailable
from ci_acme.ports import Clock, Deadline

if TYPE_CHECKING:
    import psycopg

    Database = psycopg.Connection[tuple[Any, ...]]

_T = TypeVar("_T")

_MIGRATIONS: Final = (
    """
    CREATE TABLE ci_acme.entries (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL, version text NOT NULL);
    CREATE TABLE ci_acme.records (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream text COLLATE "C" NOT NULL, value bytea NOT NULL
    );
    CREATE INDEX records_by_stream ON ci_acme.records (stream, number);
    """,
)
"""The n-th one brings schema version n - 1 to n."""

SCHEMA: Final = len(_MIGRATIONS)
"""The version of the tables that this program knows."""

LOCKS: Final = 0x6369_6163
"""The class of our advisory locks (`ciac`), apart from those of other programs in the database."""

_OPTIONS: Final[dict[str, str | int]] = {
    "application_name": "ci-acme",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 2,
    "tcp_user_timeout": 5000,
}
"""A server that is gone is noticed within seconds; what the URL says goes before."""

_BEGIN: Final = """
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL statement_timeout = '10s';
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'
"""
"""Durable whatever the role's defaults are: a call that returned has happened."""

_EXISTS: Final = "SELECT 1 FROM pg_tables WHERE schemaname = 'ci_acme' AND tablename = 'migrations'"
"""Unlike `to_regclass`, which may still deny in this session what another one has just committed."""

_TIMED_OUT: Final = "57014"
_FULL: Final = "too many"
"""What says that the server is there and has no time or place for us."""

_PATIENCE: Final = 2.0
_PAUSE: Final = 0.25
"""Seconds that a server which restarts or is full is given, and between two looks at it."""


class Undo(Exception):
    """Roll back."""


class Link:
    """One connection, made on use, with a lock for all threads.

    What lost its connection before COMMIT was sent has not happened, and is repeated once on a new connection. Raises
    `StateUnavailable`, which names the server and never a password, and `StateError` for newer tables.
    """

    def __init__(self, url: str, *, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._lock = threading.RLock()
        self._connection: Database | None = None
        self._prepared = False
        self._away = False

    @property
    def where(self) -> str:
        """The URL without user and options."""
        authority, slash, path = self._url.partition("://")[2].partition("/")
        host = authority.rpartition("@")[2].partition("?")[0]
        return f"postgresql://{host}{slash}{path.partition('?')[0]}"

    def has_tables(self) -> bool:
        """Whether there is anything to read."""
        if self._prepared:
            return True
        version = self.read(self._known_version)
        self._prepared = version == SCHEMA
        return version > 0

    def read(self, look: Callable[[Database], _T]) -> _T:
        """What a single SELECT gives."""
        return self._carry_out(look, lambda: True)

    def transact(self, work: Callable[[Database], _T]) -> _T:
        """One transaction, durable when this returns; it is undone if `work` raises."""
        committing = False

        def run(database: Database) -> _T:
            nonlocal committing
            self._prepare(database)
            database.execute(_BEGIN)
            result = work(database)
            committing = True
            database.execute("COMMIT")
            return result

        return self._carry_out(run, lambda: not committing)

    def close(self) -> None:
        """Let go of the connection; the next call makes another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # --- connection --------------------------------------------------------------------------------------------------

    def _carry_out(self, act: Callable[[Database], _T], repeatable: Callable[[], bool]) -> _T:
        with self._lock, self._errors():
            for last in (False, True):
                database = self._open()
                try:
                    return act(database)
                except _psycopg().OperationalError:
                    self._settle(database)
                    if last or self._connection is not None or not repeatable():
                        raise
                except BaseException:
                    self._settle(database)
                    raise
            raise AssertionError

    def _settle(self, database: Database) -> None:
        """End what was begun; a connection in an unknown state is not used again."""
        states = _psycopg().pq.TransactionStatus
        with suppress(_psycopg().Error):
            if database.info.transaction_status in {states.INTRANS, states.INERROR}:
                database.execute("ROLLBACK")
        if database.closed or database.info.transaction_status != states.IDLE:
            self.close()

    def _open(self) -> Database:
        deadline = Deadline(self._clock, 0.0 if self._away else _PATIENCE)
        while self._connection is None:
            try:
                self._connection = self._connect()
                self._away = False
            except _psycopg().OperationalError as error:
                if deadline.expired or not _may_pass(str(error)):
                    self._away = True  # the calls that follow do not wait as long
                    raise
                self._clock.shielded().sleep(_PAUSE)  # the journal is written while a stopped run cleans up, too
        return self._connection

    def _connect(self) -> Database:
        psycopg = _psycopg()
        try:
            options = {**_OPTIONS, **psycopg.conninfo.conninfo_to_dict(self._url)}
        except psycopg.ProgrammingError:
            raise StateError(
                f"the URL of the state {self.where} cannot be understood",
                fix="write it as libpq does: postgresql://[USER@]HOST[:PORT]/DATABASE[?OPTION=VALUE]",
            ) from None
        database: Database = psycopg.connect(**options, autocommit=True, prepare_threshold=None)
        return database

    # --- tables ------------------------------------------------------------------------------------------------------

    def _prepare(self, database: Database) -> None:
        """Make the tables, or bring them to this program's version."""
        if self._prepared:
            return
        if self._known_version(database) < SCHEMA:
            database.execute(_BEGIN)
            database.execute("SELECT pg_advisory_xact_lock(%s, 0)", (LOCKS,))
            version = self._known_version(database)  # another process may have been first
            if version == 0:
                if first_value(database, "SELECT 1 FROM pg_namespace WHERE nspname = 'ci_acme'") is None:
                    database.execute("CREATE SCHEMA ci_acme")
                database.execute("CREATE TABLE ci_acme.migrations (version integer PRIMARY KEY)")
            for number, statements in enumerate(_MIGRATIONS[version:], version + 1):
                database.execute(statements)
                database.execute("INSERT INTO ci_acme.migrations VALUES (%s)", (number,))
            database.execute("COMMIT")
        self._prepared = True

    def _known_version(self, database: Database) -> int:
        """The version of the tables, 0 if there are none. Raises `StateError` if it is newer than this program."""
        if first_value(database, _EXISTS) is None:
            return 0
        version = int(first_value(database, "SELECT coalesce(max(version), 0) FROM ci_acme.migrations"))
        if version > SCHEMA:
            raise StateError(
                f"{self.where} has schema version {version}; ci-acme {__version__} knows version {SCHEMA}",
                fix="run the ci-acme that wrote it, or a newer one; or configure another database as state",
                details={"found": version, "known": SCHEMA},
            )
        return version

    # --- errors ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except _psycopg().Error as error:
            lines = (error.diag.message_primary or str(error)).splitlines() or ["no reason was given"]
            kind = StateBusy if error.sqlstate == _TIMED_OUT or _FULL in lines[0] else StateUnavailable
            raise kind(f"the state {self.where} cannot be used: {lines[0]}", fix=_fix(error.sqlstate)) from error


def first_value(database: Database, query: Any, *values: object) -> Any:
    """The first column of the first row; None if there is no row."""
    row = database.execute(query, values or None).fetchone()
    return row[0] if row else None


def _psycopg() -> Any:
    """The module, 90 ms that only a run with state in PostgreSQL pays."""
    import psycopg

    return psycopg


def _fix(sqlstate: str | None) -> str:
    if sqlstate == "42501":
        return (
            "let an administrator run once: CREATE SCHEMA ci_acme AUTHORIZATION the role of the URL; "
            "tables that another role has made need a GRANT"
        )
    if sqlstate in {"25006", "0A000"}:
        return "use the primary server, with a role whose transactions may write"
    if sqlstate == _TIMED_OUT:
        return "another session holds a lock of ours for long: look at pg_stat_activity"
    return "check that the server runs and can be reached from here, the role, and PGPASSWORD or PGPASSFILE"


def _may_pass(words: str) -> bool:
    """Whether a failure to connect is worth a second look: no answer, or an answer that speaks of now."""
    return "FATAL" not in words or any(now in words for now in (_FULL, "starting up", "shutting down", "recovery"))
