"""How long a step takes, as docs/action.md tells it: `make test ARGS='-m slow -k targets -s'` prints the times."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

from tests.action.job import Job, give
from tests.e2e.conftest import MakeLab
from tests.e2e.lab import Lab

pytestmark = [pytest.mark.slow, pytest.mark.servers, pytest.mark.timeout(600)]


def step(directory: Path, lab: Lab, *, path: str = "") -> float:
    """Seconds of a main step in a new job; the state and the store stay. No cache does: none is ever used."""
    job = Job(directory)
    lab.config["state"] = f"sqlite:{lab.directory}/state.db"
    lab.web["stores"] = [{"provider": "file", "directory": str(lab.directory / "certs")}]
    give(job, lab)
    job.path = path or job.path
    begun = time.monotonic()
    ran = job.main()
    took = time.monotonic() - begun
    assert ran.status == 0, ran.log
    job.post()
    return took


def test_targets(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab()
    alone = tmp_path / "bin"
    alone.mkdir()
    (alone / "python3").symlink_to(os.path.realpath("/proc/self/exe"))
    step(tmp_path / "first", lab)
    kept = statistics.median(step(tmp_path / f"kept-{number}", lab) for number in range(5))
    fetched = statistics.median(step(tmp_path / f"fetched-{number}", lab, path=str(alone)) for number in range(5))
    issued = []
    for number in range(5):
        lab.web["names"] = [f"host-{number}.example.test"]
        issued.append(step(tmp_path / f"issued-{number}", lab))
    print(f"\nkept: {kept:.2f} s, without uv on PATH {fetched:.2f} s; issued: {statistics.median(issued):.2f} s")  # noqa: T201
    assert kept <= 4
    assert fetched <= 10
    assert statistics.median(issued) - kept <= 2
