"""The seams of the product at which something outside the process is waited for, wrapped: listed, or died at.

A step is named by what it does, by the code that does it, and by how often that was done before: `commit
journal._append 1`. Nothing here knows what a run does: the steps are what a run was seen to do.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ci_acme.ca.http import HttpsPool
from ci_acme.clock import SystemClock
from ci_acme.dns.links import Link
from ci_acme.state import pglink
from ci_acme.wire import Wire
from ci_acme_providers.files import slot
from ci_acme_providers.rfc2136 import adapter

_SYSTEM_CALLS = ("fsync", "rename", "replace", "link", "unlink", "mkdir", "rmdir")
_ENGINES = ("sqlite.py", "postgres.py", "pglink.py", "objects.py", "chains.py", "segments.py", "bucket.py", "clock.py")
_OURS = re.compile(r"[/\\](?:ci_acme|ci_acme_providers)[/\\]")


class Steps:
    """Counts the steps of this process; `at` is `before STEP` or `after STEP`, where something happens to it.

    `what`: `kill`; `full`, from then on the disk of the state is full; `gone`, the files of the state are removed.
    """

    def __init__(self, log: Path | None, at: str | None, what: str = "kill") -> None:
        self._what = what
        self._full = False
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._log = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._at = at
        self._unlink = os.unlink

    def install(self) -> None:
        """Wrap everything; for the rest of the process."""
        for name in _SYSTEM_CALLS:
            self._wrap(os, name, lambda *_, name=name: f"{name} {_caller()}")
        self._wrap(slot, "exchange", lambda *_: f"exchange {_caller()}")
        self._wrap(adapter, "exchange", lambda *_: "dns update")
        self._wrap(Link, "send_udp", lambda *_: "dns query")
        self._wrap(Link, "send_tcp", lambda *_: "dns query over tcp")
        self._wrap(SystemClock, "sleep", lambda *_: f"sleep {_caller()}")
        self._wrap(HttpsPool, "request", lambda _, method, url: f"{method} {_handler(url)}")
        self._wrap(pglink.Link, "read", lambda *_: f"select {_caller()}")
        self._wrap(pglink.Link, "transact", lambda *_: f"transaction {_caller()}")
        self._wrap(Wire, "send", lambda _, request: f"{request.method} object {_caller()}")
        self._wrap_commits()

    def _wrap(self, owner: Any, name: str, label: Callable[..., str]) -> None:
        real = getattr(owner, name)

        def step(*arguments: Any, **more: Any) -> Any:
            return self._around(label(*arguments), lambda: real(*arguments, **more))

        setattr(owner, name, step)

    def _wrap_commits(self) -> None:
        steps = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
                if sql != "COMMIT":
                    return super().execute(sql, *values)
                done: sqlite3.Cursor = steps._around(f"commit {_caller()}", self._commit)
                return done

            def _commit(self) -> sqlite3.Cursor:
                if steps._full:
                    raise sqlite3.OperationalError("database or disk is full")
                return super().execute("COMMIT")

        connect = sqlite3.connect
        sqlite3.connect = lambda *arguments, **more: connect(*arguments, factory=Connection, **more)

    def _around(self, label: str, call: Callable[[], Any]) -> Any:
        with self._lock:
            self._counts[label] += 1
            step = f"{label} {self._counts[label]}"
            if self._log is not None:
                os.write(self._log, f"{step}\n".encode())
        self._happen(f"before {step}")
        try:
            return call()
        finally:
            self._happen(f"after {step}")

    def _happen(self, place: str) -> None:
        if place != self._at:
            return
        if self._what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        self._full = self._what == "full"
        for path in Path(".ci-acme").glob("state.db*") if self._what == "gone" else ():
            self._unlink(path)


def _handler(url: str) -> str:
    """The path without identifiers: `/finalize-order/`."""
    return re.match(r"/[\w-]*/?", urlsplit(url).path or "/")[0]  # type: ignore[index] - it always matches


def _caller() -> str:
    """The function of the product for which this is done, above the engine of the state."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        name = frame.f_code.co_filename
        if _OURS.search(name) and not name.endswith(_ENGINES):
            return f"{Path(name).stem}.{frame.f_code.co_name}"
    return "?"
