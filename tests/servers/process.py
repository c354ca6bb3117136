"""A server process: started, awaited, shown when a test fails, and stopped by its own pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

LIVE: list[Server] = []
"""The servers that run now; `tests/conftest.py` shows the ends of their logs when a test fails."""


class ServerFailed(Exception):
    """A server did not start; the message has the end of its log."""


class Server:
    """Base of the servers. A subclass says in `prepare` what to run and in `ready` when it serves.

    `prepare` is called again with new ports when a start fails, since a free port may be taken by somebody else
    between its choice and its use.
    """

    name = "server"
    attempts = 4
    patience = 15.0
    fatal: tuple[str, ...] = ()
    """What the log says when the server runs and will never serve."""
    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.log_path = directory / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def prepare(self) -> Sequence[str]:
        """Choose ports, write the configuration, return the command line."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether the server answers."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Variables beside those of this process."""
        return {}

    def popen_options(self) -> dict[str, Any]:
        """More arguments for `subprocess.Popen`."""
        return {}

    def start(self) -> None:
        """Start and wait until it serves. Raises `ServerFailed`."""
        for _ in range(self.attempts):
            command = self.prepare()
            before = len(self.log())
            self.launch(command)
            if self._await_ready(before):
                LIVE.append(self)
                return
            self.stop()
        raise ServerFailed(f"{self.name} did not start:\n{self.log_tail()}")

    def launch(self, command: Sequence[str]) -> None:
        """Run the command without waiting for it to serve."""
        self._log = self.log_path.open("ab")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment()},
            start_new_session=True,
            **self.popen_options(),
        )

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def pause(self) -> None:
        """Make it hang: connections are accepted by the kernel and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """End a `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the process; the files stay. Doing it twice is fine."""
        if self in LIVE:
            LIVE.remove(self)
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(self.stop_signal)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def log(self) -> str:
        """What the server printed so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines: int = 60) -> str:
        """The end of the log."""
        return "\n".join(self.log().splitlines()[-lines:])

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _await_ready(self, begin: int) -> bool:
        assert self._process is not None
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            if self._process.poll() is not None or any(text in self.log()[begin:] for text in self.fatal):
                return False
            if self.ready():
                return self._process.poll() is None
            time.sleep(0.004)
        return False


def listens(host: str, port: int) -> bool:
    """Whether a TCP connection is accepted."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
