"""`python -m tests.e2e.crash [SCENARIO…] [PART OF A POINT]`: the matrix, or a part of it; prints the numbers."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.crash.matrix import SCENARIOS, Verdict, laboratory, places

LABORATORIES = 2


def main() -> int:
    scenarios = [word for word in sys.argv[1:] if word in SCENARIOS]
    wanted = " ".join(word for word in sys.argv[1:] if word not in SCENARIOS)
    return max(try_all(scenario, wanted) for scenario in scenarios or SCENARIOS)


def try_all(scenario: str, wanted: str) -> int:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ci-acme-crash-") as name:
        base = Path(name)
        with laboratory(base / "0", scenario) as matrix:
            steps = matrix.steps()
        points = [place for place in places(steps) if wanted in place]
        say(f"{scenario} ({SCENARIOS[scenario]}): {len(steps)} steps, {len(points)} points")

        def work(part: int) -> list[Verdict]:
            with laboratory(base / f"{part + 1}", scenario) as matrix:
                return [told(matrix.try_at(at)) for at in points[part::LABORATORIES]]

        with ThreadPoolExecutor(LABORATORIES) as pool:
            verdicts = [verdict for part in pool.map(work, range(LABORATORIES)) for verdict in part]
    ends = dict(Counter(verdict.status for verdict in verdicts))
    bad = sum(bool(verdict.problems) for verdict in verdicts)
    extra = sum(verdict.extra for verdict in verdicts)
    say(f"  first runs ended with {ends}; {bad} with problems, {extra} extra orders; {time.monotonic() - begun:.0f} s")
    return 1 if bad or extra > 1 else 0


def told(verdict: Verdict) -> Verdict:
    if verdict.problems or verdict.extra:
        say(f"  {verdict.at}: status={verdict.status} orders={verdict.orders} {verdict.problems}")
    return verdict


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
