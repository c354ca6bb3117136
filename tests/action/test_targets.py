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


def step(directory: Path, lab: Lab, cache: Path, *, program: str = "") -> float:
    """Seconds of a main step in a new job; the state and the store stay."""
    job = Job(directory)
    lab.config["state"] = f"sqlite:{lab.directory}/state.db"
    lab.web["stores"] = [{"provider": "file", "directory": str(lab.directory / "certs")}]
    give(job, lab)
    job.variables["UV_CACHE_DIR"] = str(cache)
    if program:
        job.path = program
    begun = time.monotonic()
    ran = job.main()
    took = time.monotonic() - begun
    assert ran.status == 0, ran.log
    job.post()
    return took


def median(tmp_path: Path, name: str, lab: Lab, cache: str, **more: str) -> float:
    """Of five; `{}` in the name of the cache makes each of them a cold one."""
    return statistics.median(
        step(tmp_path / f"{name}-{number}", lab, tmp_path / cache.format(number), **more) for number in range(5)
    )


def test_targets(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab()
    empty = tmp_path / "bin"
    empty.mkdir()
    python = empty / "python3"
    python.write_text(
        f'#!/bin/sh\ncase " $* " in *" -m venv "*) exit 1;; esac\nexec {os.path.realpath("/proc/self/exe")} "$@"\n'
    )
    python.chmod(0o755)
    step(tmp_path / "first", lab, tmp_path / "cache")
    kept = median(tmp_path, "kept", lab, "cache")
    cold = median(tmp_path, "cold", lab, "cache-{}")
    fetched = median(tmp_path, "fetched", lab, "other-{}", program=f"{empty}:/bin")
    issued = []
    for number in range(5):
        lab.web["names"] = [f"host-{number}.example.test"]
        issued.append(step(tmp_path / f"issued-{number}", lab, tmp_path / "cache"))
    print(f"\nkept: warm {kept:.2f} s, cold {cold:.2f} s, cold without uv {fetched:.2f} s")  # noqa: T201
    print(f"issued: warm {statistics.median(issued):.2f} s")  # noqa: T201
    assert kept <= 4
    assert cold <= 10
    assert fetched <= 10
    assert statistics.median(issued) - kept <= 2
