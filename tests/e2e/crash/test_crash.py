"""A part of the matrix for every day; `make crash` tries all of it."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.e2e.crash.matrix import SCENARIOS, laboratory, places

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL"),
]
EVERY_DAY = 16
"""Points of each scenario; others each time, and a failure names its point."""


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_killed_run_and_one_more_are_as_good_as_one(tmp_path: Path, scenario: str) -> None:
    with laboratory(tmp_path / "lab", scenario) as matrix:
        points = places(matrix.steps())
        assert len(points) >= 20
        chosen = random.sample(points, EVERY_DAY)
        verdicts = [matrix.try_at(at) for at in chosen]
    if scenario not in {"full", "gone"}:
        assert sum(verdict.killed for verdict in verdicts) > EVERY_DAY // 2  # how many sleeps there are is luck
    assert [verdict for verdict in verdicts if verdict.problems] == []
    assert sum(verdict.extra for verdict in verdicts) <= 1
