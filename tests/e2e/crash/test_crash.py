"""A part of the matrix for every day; `make crash` tries all of it."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.e2e.crash.matrix import SCENARIOS, laboratory, places
from tests.e2e.lab import check_store

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL"),
]
EVERY_DAY = 10
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


def test_the_order_of_a_published_certificate_is_no_renewal(tmp_path: Path) -> None:
    """A run that died between publishing and forgetting its order: the next renewal is a new certificate."""
    with laboratory(tmp_path / "lab", "first") as matrix:
        published = [step for step in matrix.steps() if "slot.install" in step][-1]
        lab = matrix.kill(f"after {published}")
        assert (lab.directory / "certs" / ".web.pending").exists()
        serial = check_store(lab.store, lab.web["names"]).serial_number
        ran = lab.issue("--force")
        assert (ran.status, ran.certificate["action"]) == (0, "renewed")
        assert check_store(lab.store, lab.web["names"]).serial_number != serial
        assert sorted(path.name for path in (lab.directory / "certs").iterdir()) == ["web"]


def test_a_key_that_was_sealed_under_another_state_key_costs_one_order(tmp_path: Path) -> None:
    with laboratory(tmp_path / "lab", "sealed") as matrix:
        lab = matrix.kill("after POST /finalize-order/ 1")
        state = (lab.directory / ".ci-acme" / "state.db").read_bytes()
        wal = lab.directory / ".ci-acme" / "state.db-wal"
        assert b"PRIVATE KEY" not in state + (wal.read_bytes() if wal.exists() else b"")
        before = matrix.seen().orders
        ran = lab.issue(environ={"STATE_KEY": "another-state-key-of-32-bytes-----"})
        assert ran.status == 0, ran.stderr
        assert "sealed under another state key" in ran.stderr
        assert matrix.seen().orders == before + 1
        check_store(lab.store, lab.web["names"])
