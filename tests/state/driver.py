"""A process beside others on one state.

Usage: driver.py increment STATE TIMES | reserve STATE TIMES | journal STATE | read-only PATH.
STATE is a path of SQLite or a URL.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from itertools import count
from pathlib import Path

from ci_acme.clock import SystemClock
from ci_acme.core.budget import OrderKind, order_spends
from ci_acme.state.buckets import Buckets
from ci_acme.state.engine import ABSENT, Conflict, Engine, open_state, usable_state
from ci_acme.state.journal import Journal
from ci_acme.state.memory import MemoryEngine
from tests.state.support import LIMITS, ZONE, placed, sqlite_engine, txt


def main() -> None:
    what, place = sys.argv[1], sys.argv[2]
    if what == "read-only":
        read_only_checkout()
        return
    with closing(engine_at(place)) as engine:
        if what == "increment":
            sys.stdout.write(f"{sum(increment(engine) for _ in range(int(sys.argv[3])))}\n")
        elif what == "reserve":
            sys.stdout.write(f"{sum(reserve(engine, number) for number in range(int(sys.argv[3])))}\n")
        else:
            journal_for_ever(engine)


def engine_at(place: str) -> Engine:
    return open_state(place, clock=SystemClock()) if "://" in place else sqlite_engine(Path(place))


def read_only_checkout() -> None:
    """As somebody who may not write there; root becomes nobody, who may not be able to read the standard library."""
    import sqlite3  # noqa: F401

    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    engine, warning = usable_state("sqlite:/etc/.ci-acme/state.db", clock=SystemClock())
    assert isinstance(engine, MemoryEngine)
    Journal(engine, "run").intend("example.com", ZONE, txt("a"))
    sys.stdout.write("Permission denied\n" if "Permission denied" in (warning or "") else f"{warning}\n")


def reserve(engine: Engine, number: int) -> bool:
    """Take one of `LIMITS`, for names of one's own; give every fifth one back and take it again."""
    clock = SystemClock()
    buckets = Buckets(engine, "https://ca.test/dir", clock)
    spends = order_spends(LIMITS, OrderKind.NEW, [f"p{os.getpid()}-{number}.example.com"], ["example.com"], "ours")
    taken = buckets.reserve(spends, clock.now())
    if isinstance(taken, list) and number % 5 == 0:
        buckets.refund(taken, clock.now())
        taken = buckets.reserve(spends, clock.now())
    return isinstance(taken, list)


def increment(engine: Engine) -> int:
    """Add one to `counter` and a record to `log`; returns how often somebody else was first."""
    for conflicts in count():
        entry = engine.read("counter")
        value = int(entry.value) if entry else 0
        try:
            engine.write("counter", str(value + 1).encode(), expect=entry.version if entry else ABSENT)
        except Conflict:
            continue
        engine.append("log", str(value + 1).encode())
        return conflicts
    raise AssertionError


def journal_for_ever(engine: Engine) -> None:
    """Say what is durable after each call, until killed."""
    journal = Journal(engine, "killed")
    for number in count():
        journal.intend("example.com", ZONE, txt(f"a{number}", f"b{number}"))
        sys.stdout.write(f"intend {number}\n")
        sys.stdout.flush()
        journal.placed("example.com", [placed(f"a{number}", ref=f"r{number}"), placed(f"b{number}", created=False)])
        sys.stdout.write(f"placed {number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
