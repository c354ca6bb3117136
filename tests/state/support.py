"""What the tests of state share."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from ci_acme.clock import SystemClock
from ci_acme.core.budget import Limits, Rate
from ci_acme.ports import Placement, TxtValue, Zone
from ci_acme.state.sqlite import SqliteEngine

ROOT = Path(__file__).parents[2]
LIMITS = Limits(
    certificates_per_domain=Rate(50, timedelta(days=7)),
    certificates_per_name_set=Rate(5, timedelta(days=7)),
    orders_per_account=Rate(300, timedelta(hours=3)),
)
ZONE = Zone("Z1", "example.com")
NAME = "_acme-challenge.example.com"


def sqlite_engine(path: Path, busy_seconds: float = 30.0) -> SqliteEngine:
    return SqliteEngine(path, clock=SystemClock(), busy_seconds=busy_seconds)


def txt(*values: str) -> list[TxtValue]:
    return [TxtValue(NAME, value) for value in values]


def placed(value: str, *, created: bool = True, ref: str | None = None) -> Placement:
    return Placement(ZONE, NAME, value, created=created, ref=ref)


def start_driver(*arguments: str) -> subprocess.Popen[str]:
    """Run tests/state/driver.py as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "providers"), *sys.path])}
    command = [sys.executable, str(Path(__file__).parent / "driver.py"), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
