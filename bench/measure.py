"""Runs one command and says what it cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What a process and the children it waited for have used: seconds, and the peak memory of the largest."""

    status: int
    wall: float
    cpu: float
    rss_mb: float
    timed_out: bool = False


def run(command: Sequence[str], *, environment: Mapping[str, str], cwd: Path, log: Path, timeout: float) -> Cost:
    """Run to the end or until `timeout` seconds; what it prints goes to `log`."""
    reader, writer = os.pipe()
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), str(writer), str(timeout)]
    with log.open("ab") as output, os.fdopen(reader, "rb") as result:
        process = subprocess.Popen(
            [*launcher, *command],
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[writer],
        )
        os.close(writer)
        measured = result.read()
        process.wait()
    if not measured:
        raise RuntimeError(f"the launcher failed, see {log}: {' '.join(command)}")
    return Cost(**json.loads(measured))
