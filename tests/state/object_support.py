"""What the tests of state in object storage share."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from ci_acme.clock import SystemClock
from ci_acme.ports import Clock
from ci_acme.state.chains import PART_SIZE
from ci_acme.state.objects import ObjectEngine, open_objects
from tests.servers.buckets import BUCKET, Buckets
from tests.state.support import ROOT

FACES = ("s3", "gs", "az")
_VARIABLES = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_", "GCE_", "CLOUDSDK_", "IDENTITY_")


class QuickClock(SystemClock):
    """The real time plus what was slept, which takes none."""

    def __init__(self) -> None:
        super().__init__()
        self._slept = 0.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        return super().monotonic() + self._slept

    def sleep(self, seconds: float) -> None:
        self.check()
        with self._lock:
            self._slept += seconds


def forget_cloud_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_VARIABLES):
            monkeypatch.delenv(name)


@contextmanager
def serving(face: str, monkeypatch: pytest.MonkeyPatch) -> Generator[Buckets]:
    """A server that the environment of this process and its children names."""
    forget_cloud_variables(monkeypatch)
    with Buckets(face) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


def url_of(server: Buckets) -> str:
    return f"{server.scheme}://{BUCKET}/team/ci"


def object_engine(server: Buckets, *, clock: Clock | None = None, part_size: int = PART_SIZE) -> ObjectEngine:
    """Another object for the same state, with a clock on which waiting takes no time unless one is given."""
    return open_objects(url_of(server), clock=clock or QuickClock(), part_size=part_size)


def start_increments(url: str, times: int, begin: float) -> subprocess.Popen[str]:
    """A process that from a point in time on adds one to `counter` and appends to `log`, so many times."""
    program = (
        "import sys, time\n"
        "from ci_acme.clock import SystemClock\n"
        "from ci_acme.state.engine import open_state\n"
        "from tests.state.driver import increment\n"
        "engine = open_state(sys.argv[1], clock=SystemClock())\n"
        "time.sleep(max(0, float(sys.argv[3]) - time.time()))\n"
        "print(sum(increment(engine) for _ in range(int(sys.argv[2]))))\n"
        "engine.close()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "providers"), *sys.path])}
    command = [sys.executable, "-c", program, url, str(times), str(begin)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
