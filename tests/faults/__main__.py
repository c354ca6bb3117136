"""`python -m tests.faults [STORE…] [PART OF A POINT]`: the matrix, or a part of it; prints the numbers."""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.faults.matrix import Point, Verdict, laboratory
from tests.faults.stores import STORES

LABORATORIES = 2
FRESH = 400
"""Points after which a laboratory is made anew: a run's records grow."""


def main() -> int:
    stores = [word for word in sys.argv[1:] if word in STORES] or [*list(STORES)[1:], *list(STORES)[:1]]
    wanted = " ".join(word for word in sys.argv[1:] if word not in STORES)
    with ProcessPoolExecutor(LABORATORIES) as pool:
        failed = [pool.submit(try_all, store, wanted) for store in stores]
        return max(int(one.result()) for one in failed)


def try_all(store: str, wanted: str) -> bool:
    """Try every point of a store; whether a promise was broken."""
    try:
        return _try_all(store, wanted)
    except Exception:
        say(f"{store}: {traceback.format_exc()}")
        return True


def _try_all(store: str, wanted: str) -> bool:
    begun = time.monotonic()
    verdicts: list[Verdict] = []
    left: list[Point] | None = None
    while left is None or left:
        with (
            tempfile.TemporaryDirectory(prefix="ci-acme-faults-") as name,
            laboratory(Path(name) / "0", store) as matrix,
        ):
            if left is None:
                left = [point for point in matrix.points() if wanted in str(point)]
            for point in left[:FRESH]:
                verdict = matrix.try_at(point)
                verdicts.append(verdict)
                if verdict.problems:
                    say(f"  {point}: {verdict.statuses}\n" + "".join(f"    {one[:600]}\n" for one in verdict.problems))
                    matrix.recover()
            left = left[FRESH:]
    ends = dict(sorted(Counter(verdict.statuses[0] for verdict in verdicts if verdict.statuses).items()))
    bad = sum(bool(verdict.problems) for verdict in verdicts)
    extra = sum(verdict.orders > 1 for verdict in verdicts)
    missed = sum(not verdict.reached for verdict in verdicts)
    text = f"{store}: {len(verdicts)} points, {missed} not reached; first runs ended with {ends}; {bad} with problems"
    say(f"{text}, {extra} with more than one order; {time.monotonic() - begun:.0f} s")
    return bad > 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
