"""`python -m tests.e2e.crash [PART OF A POINT]`: the whole matrix, or the points with that text; prints the numbers."""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.crash.matrix import SCENARIOS, Verdict, laboratory, places

LABORATORIES = 2


def main() -> int:
    wanted = " ".join(sys.argv[1:])
    return max(try_all(scenario, wanted) for scenario in SCENARIOS)


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
    killed = sum(verdict.killed for verdict in verdicts)
    bad = sum(bool(verdict.problems) for verdict in verdicts)
    extra = sum(verdict.extra for verdict in verdicts)
    say(f"  {killed} runs killed, {bad} with problems, {extra} extra orders; {time.monotonic() - begun:.0f} s")
    return 1 if bad or extra > 1 or not killed else 0


def told(verdict: Verdict) -> Verdict:
    if verdict.problems or verdict.extra or not verdict.killed:
        say(f"  {verdict.at}: killed={verdict.killed} orders={verdict.orders} {verdict.problems}")
    return verdict


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
