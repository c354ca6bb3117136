"""A part of the matrix for every day: each kind of fault at each store, spread over its steps (all: `make faults`)."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from ci_acme import registry
from ci_acme.spec import Kind
from tests.faults.kinds import KINDS
from tests.faults.matrix import Point, laboratory
from tests.faults.stores import STORES

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the disk's faults are those of POSIX")
EVERY_DAY = 1
"""Points of each kind at each store."""


def test_every_store_of_the_catalogue_is_in_the_matrix() -> None:
    assert set(registry.names(Kind.STORE)) == set(STORES)


def spread(points: list[Point]) -> list[Point]:
    """The same every time: of each kind some, so that together they meet as many steps as there can be."""
    draw = random.Random(points[0].store)
    met: Counter[tuple[str, int]] = Counter()
    chosen: list[Point] = []
    for kind in dict.fromkeys(point.kind for point in points):
        for _ in range(EVERY_DAY):
            left = [point for point in points if point.kind == kind and point not in chosen]
            least = min((met[point.scene, point.step] for point in left), default=0)
            fresh = [point for point in left if met[point.scene, point.step] == least]
            if fresh:
                chosen.append(draw.choice(fresh))
                met[chosen[-1].scene, chosen[-1].step] += 1
    return chosen


@pytest.mark.parametrize("store", STORES)
def test_a_fault_loses_no_certificate_and_tells_no_secret(tmp_path: Path, store: str) -> None:
    with laboratory(tmp_path / "lab", store) as matrix:
        points = matrix.points()
        assert {point.scene for point in points} >= {"first", "renewal"}
        chosen = spread(points)
        kinds = {name for name, kind in KINDS.items() if store != "file" or kind.disk is not None}
        assert {point.kind for point in chosen} == kinds
        verdicts = [matrix.try_at(point) for point in chosen]
    assert [(str(verdict.point), verdict.problems) for verdict in verdicts if verdict.problems] == []
    assert sum(verdict.reached for verdict in verdicts) > len(verdicts) * 0.8  # how often is asked again is luck
    assert {0, 2, 6} >= {verdict.statuses[0] for verdict in verdicts} > {0}
