"""Programs that the config names: run without a shell, in a process group of their own, and never longer than allowed.

A program that ends leaves behind what it wants to. One that is ended, because the run is told to stop or the time is
up, takes with it whatever it started and did not detach: first it is asked (SIGTERM), then it is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from ci_acme.dataclass import dataclass, field
from ci_acme.ports import Deadline

MAX_OUTPUT: Final = 1 << 16
"""Bytes of output that are kept."""
_SLICE: Final = 0.1
"""The longest time that an interrupt goes unheard."""
_GRACE: Final = 1.0
"""Seconds to end after SIGTERM, and for the rest of the output after the end."""
_PLAIN: Final = ("PATH", "HOME", "LANG", "TZ")
_WINDOWS: Final = ("SYSTEMROOT", "PATHEXT", "TEMP", "TMP", "USERPROFILE")
"""Without these, many a program does not start there."""


class NotStarted(Exception):
    """There is no such program, or it cannot be run; the text says why."""


class Overdue(Exception):
    """It did not end in time, and was ended. `seconds` is how long it ran."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"did not end within {seconds:.0f} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended by itself. `status` is negative for a signal; `output` is the end of its `size` bytes."""

    status: int
    output: bytes = field(repr=False)
    size: int

    @property
    def how(self) -> str:
        """`ended with status 3`, or `was ended by SIGSEGV`."""
        if self.status >= 0:
            return f"ended with status {self.status}"
        try:
            return f"was ended by {signal.Signals(-self.status).name}"
        except ValueError:
            return f"was ended by signal {-self.status}"


def environment(environ: Mapping[str, str], names: Iterable[str] = ()) -> dict[str, str]:
    """What a program sees: where programs and the home are, the language, the time zone, and `names`, if set."""
    plain = (*_PLAIN, *_WINDOWS) if os.name == "nt" else _PLAIN
    return {name: environ[name] for name in (*plain, *names) if name in environ}


def run(command: Sequence[str], environ: Mapping[str, str], *, deadline: Deadline, both: bool = False) -> Finished:
    """Run a program to its end. stdin is empty; stdout is kept, with `both` stderr among it, else stderr is dropped.

    Raises `NotStarted`, `Overdue` at the deadline, and `Interrupted`.
    """
    deadline.clock.check()
    process = _start(command, environ, both=both)
    reader = _Reader(process.stdout)
    try:
        status = _wait(process, deadline)
    finally:
        _end(process)
    output, size = reader.result()
    return Finished(status, output, size)


def _wait(process: subprocess.Popen[bytes], deadline: Deadline) -> int:
    begun = deadline.clock.monotonic()
    while True:
        try:
            return process.wait(_SLICE)
        except subprocess.TimeoutExpired:
            deadline.clock.check()
            if deadline.expired:
                raise Overdue(deadline.clock.monotonic() - begun) from None


def _start(command: Sequence[str], environ: Mapping[str, str], *, both: bool) -> subprocess.Popen[bytes]:
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP
        if Path(command[0]).suffix.lower() in {".bat", ".cmd"}:
            raise NotStarted("Windows runs batch files through a shell")
    try:
        return subprocess.Popen(  # noqa: S603 - the program of the config, without a shell
            list(command),
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if both else subprocess.DEVNULL,
            start_new_session=flags == 0,
            creationflags=flags,
        )
    except (OSError, ValueError) as error:
        raise NotStarted(getattr(error, "strerror", None) or "it cannot be run") from None


class _Reader:
    """Reads a pipe in a thread, so that a full one never stops the program, and keeps the end of what came."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        self._pipe = pipe
        self._lock = threading.Lock()
        self._kept = b""
        self._size = 0
        self._thread = threading.Thread(target=self._read, name="ci-acme-program", daemon=True)
        self._thread.start()

    def result(self) -> tuple[bytes, int]:
        """What came; whoever still holds the other end, a daemon that was started, is not waited for."""
        self._thread.join(_GRACE)
        with self._lock:
            return self._kept, self._size

    def _read(self) -> None:
        with self._pipe as pipe:
            while chunk := os.read(pipe.fileno(), MAX_OUTPUT):
                with self._lock:
                    self._size += len(chunk)
                    self._kept = (self._kept + chunk)[-MAX_OUTPUT:]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that still runs, with what it started."""
    if process.returncode is not None:
        return
    if sys.platform == "win32":
        subprocess.run(  # noqa: S603 - it ends the children as well, which TerminateProcess does not
            ["taskkill", "/F", "/T", "/PID", str(process.pid)],  # noqa: S607 - of the system's own PATH
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    else:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGTERM)
        _await_end(process.pid)
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _await_end(pid: int) -> None:
    """Wait until it has ended, or no longer, without reaping it: its id is that of the group, which is killed next."""
    ends = time.monotonic() + _GRACE
    while time.monotonic() < ends:
        if sys.platform != "win32" and hasattr(os, "waitid"):
            with suppress(OSError):
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    return
        time.sleep(0.02)
