"""Processes that wrote something into the state: whether they are still there, where that can be known for certain."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ci_acme.core.lease import Presence
from ci_acme.dataclass import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it names itself in the state.

    `host` is for people. `place` names what process ids mean something in (one boot of a machine, one PID namespace),
    `start` the moment at which this id was given; both are None where the system does not say.
    """

    host: str
    pid: int
    place: str | None = None
    start: str | None = None

    def presence(self) -> Presence:
        """Whether it is there. Containers may share a host name: without a place of ours the answer is UNKNOWN."""
        if self.place is None or self.place != _place():
            return Presence.UNKNOWN
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return Presence.GONE
        except OSError:
            pass  # it is somebody else's
        state, start = _stat(str(self.pid))
        if state in {"Z", "X"} or (start is not None and start != self.start):
            return Presence.GONE  # not yet waited for by its parent, or another process with its id
        return Presence.ALIVE

    def as_dict(self) -> dict[str, Any]:
        """For a JSON document."""
        return asdict(self)

    @staticmethod
    def from_dict(document: Mapping[str, Any]) -> Process:
        """From a document that has `as_dict` in it. Raises `KeyError`, `TypeError`, `ValueError`."""
        return Process(str(document["host"]), int(document["pid"]), document.get("place"), document.get("start"))


def this_process() -> Process:
    """The process that asks."""
    return Process(socket.gethostname(), os.getpid(), _place(), _stat("self")[1])


def _place() -> str | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - the link leads to no file
    except OSError:
        return None


def _stat(pid: str) -> tuple[str | None, str | None]:
    """State and start time of a process (proc_pid_stat(5), fields 3 and 22)."""
    try:
        fields = Path("/proc", pid, "stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return None, None
