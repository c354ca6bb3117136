"""The one interface of state: keys under compare-and-swap, and streams of records.

It is small enough for an embedded database, a server, and object storage with conditional writes. Everything above it
(accounts, journal, leases, ledger, inventory, audit) is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from ci_acme.dataclass import dataclass
from ci_acme.errors import ConfigError, StateUnavailable
from ci_acme.ports import Clock

Version: TypeAlias = str
"""Names one write of one key; never given twice."""


class Expect(Enum):
    """What a write may expect instead of a version."""

    ABSENT = "absent"
    ANY = "any"


ABSENT: Final = Expect.ABSENT
"""The key does not exist."""

ANY: Final = Expect.ANY
"""Whatever is there."""


class Conflict(Exception):
    """Somebody else was first: read again and decide anew. `found` is the version or last record number that is there.

    This is for the code above the engine and never for a user.
    """

    def __init__(self, key: str, found: Version | int | None) -> None:
        super().__init__(f"{key} is at {found!r}")
        self.key = key
        self.found = found


@dataclass(frozen=True, slots=True)
class Entry:
    """The value of a key, and the version to expect when it is replaced."""

    value: bytes
    version: Version


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a stream; `number` grows, not necessarily by one."""

    number: int
    value: bytes


class Engine(Protocol):
    """Durable state that many processes share. Thread-safe. Every method MAY raise `StateError`.

    A call that returned is durable; a call that raised `StateError` may have happened or not.
    """

    @property
    def where(self) -> str:
        """What a message calls it: `sqlite:.ci-acme/state.db`. Never a credential."""
        ...

    def check(self) -> None:
        """Prove, changing nothing that anybody sees, that state can be written now."""
        ...

    def time(self) -> float:
        """Seconds since the epoch, on one clock for all who share the state: the server's, or that of the only host."""
        ...

    def read(self, key: str) -> Entry | None:
        """The value; None if there is none."""
        ...

    def write(self, key: str, value: bytes, *, expect: Version | Expect) -> Version:
        """Set the value if `expect` holds. Raises `Conflict`."""
        ...

    def delete(self, key: str, *, expect: Version | Expect) -> None:
        """Remove the key if `expect` holds; `ANY` makes absence a success. Raises `Conflict`."""
        ...

    def list(self, prefix: str) -> Sequence[str]:
        """The keys that begin with `prefix`, sorted."""
        ...

    def append(self, stream: str, value: bytes, *, expect_last: int | None = None) -> int:
        """Add a record and return its number, greater than all before.

        With `expect_last` only if the last record has that number (0: there is none). Raises `Conflict`.
        """
        ...

    def records(self, stream: str, *, after: int = 0) -> Sequence[Record]:
        """The records with a number beyond `after`, in order."""
        ...

    def streams(self, prefix: str) -> Sequence[str]:
        """The streams that have records and begin with `prefix`, sorted."""
        ...

    def drop(self, stream: str, *, expect_last: int) -> None:
        """Remove a stream whose last record has that number. Raises `Conflict`."""
        ...

    def close(self) -> None:
        """Let go of connections. Idempotent; the next call opens again."""
        ...


def usable_state(url: str, *, clock: Clock) -> tuple[Engine, str | None]:
    """The engine that `url` names if it can be written now; else one that forgets, and the warning to give.

    For a run that shall go on in a read-only checkout, on a full disk, or without its database. Raises `StateError` for
    a state that is damaged or newer than this program: going on would lose what it holds; `StateBusy` for one that
    others hold: going on alone could order what they order.
    """
    engine = open_state(url, clock=clock)
    try:
        engine.check()
    except StateUnavailable as error:
        from ci_acme.state.memory import MemoryEngine

        engine.close()
        return MemoryEngine(), (
            f"{error.message}; this run does not wait for others that order the same, "
            f"and if it is killed, its DNS records stay ({error.fix})"
        )
    return engine, None


def open_state(url: str, *, clock: Clock) -> Engine:
    """The engine that a config's `state` names: `sqlite:PATH`, `postgresql://…`, `s3://…`, `gs://…`, `az://…`.

    Costs nothing until it is used. Raises `NotAvailable` for engines that this version or installation does not have,
    `ConfigError` for anything else.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite" and rest:
        from ci_acme.state.sqlite import SqliteEngine

        return SqliteEngine(Path(rest), clock=clock)
    if scheme == "postgresql" and rest.startswith("//"):
        from ci_acme.state.postgres import PostgresEngine

        return PostgresEngine(url, clock=clock)
    if scheme in {"s3", "gs", "az"} and rest.startswith("//"):
        from ci_acme.state.objects import open_objects

        return open_objects(url, clock=clock)
    raise ConfigError(
        "state is none of the kinds that ci-acme knows",
        fix="use state: sqlite:PATH, such as sqlite:.ci-acme/state.db, or postgresql://, s3://, gs://, az://",
    )
