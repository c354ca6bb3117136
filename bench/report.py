"""From runs to a table that people read and a file that programs read."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.peers import ROOT, Peer, base_environment
from bench.scenarios import SCENARIOS, Run, Scenario


@dataclass(frozen=True)
class Cell:
    """A peer in a scenario: medians of its good runs."""

    runs: Sequence[Run]
    problems: Sequence[str]

    def median(self, field: str) -> float:
        """Median of a field of the good runs."""
        return float(statistics.median(getattr(run, field) for run in self.runs))

    @property
    def wall(self) -> float | None:
        """Median seconds; None if no run was good."""
        return self.median("wall") if self.runs else None


Cells = Mapping[tuple[str, str], Cell]


def cells(runs: Iterable[Run]) -> Cells:
    """Group runs by scenario and peer."""
    grouped: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        grouped.setdefault((run.scenario, run.peer), []).append(run)
    return {
        key: Cell([run for run in found if not run.problem], [run.problem for run in found if run.problem])
        for key, found in grouped.items()
    }


def machine(peers: Iterable[Peer]) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "commit": _output(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]),
        "peers": {" ".join(peer.program): _output([*peer.program, "--version"]) for peer in peers if not peer.floor},
    }


def markdown(table: Cells, peers: Sequence[Peer], about: Mapping[str, Any], conditions: str) -> str:
    """The whole report."""
    parts = [f"# Benchmark: {conditions}\n"]
    versions = sorted({text for text in about["peers"].values() if text})
    parts.append(
        f"Python {about['python']}, {about['system']}, {about['cpus']} CPUs, load {about['load'][0]:.1f}; "
        f"commit {about['commit']}; {'; '.join(versions)}.\n"
        "Medians; in brackets the fastest and the slowest run. CPU is user + system of all processes; memory is the "
        "peak of the largest.\n"
    )
    for scenario in SCENARIOS:
        rows = [peer for peer in peers if (scenario.name, peer.name) in table]
        if rows:
            parts += [f"## {scenario.title}\n", "\n".join(_rows(scenario, rows, table)) + "\n"]
    return "\n".join(parts)


def save(directory: Path, stem: str, text: str, runs: Iterable[Run], about: Mapping[str, Any]) -> list[Path]:
    """Write the Markdown and the JSON file."""
    directory.mkdir(parents=True, exist_ok=True)
    document = {"about": about, "runs": [asdict(run) for run in runs]}
    paths = [directory / f"{stem}.md", directory / f"{stem}.json"]
    paths[0].write_text(text)
    paths[1].write_text(json.dumps(document, indent=1) + "\n")
    return paths


def best_peer(scenario: Scenario, peers: Iterable[Peer], table: Cells) -> float | None:
    """Seconds of the fastest client that is neither ours nor the floor."""
    others = [table.get((scenario.name, peer.name)) for peer in peers if not peer.ours and not peer.floor]
    return min((cell.median("wall") for cell in others if cell is not None and cell.runs), default=None)


def floor(scenario: Scenario, peers: Iterable[Peer], table: Cells) -> float | None:
    """Seconds of the raw client."""
    return next(
        (cell.wall for peer in peers if peer.floor and (cell := table.get((scenario.name, peer.name)))),
        None,
    )


def _rows(scenario: Scenario, peers: Sequence[Peer], table: Cells) -> Iterator[str]:
    yield "| client | wall s | x raw | best peer / it | CPU s | MB | ACME requests | DNS updates | failed |"
    yield "|---|---|---|---|---|---|---|---|---|"
    raw, best = floor(scenario, peers, table), best_peer(scenario, peers, table)
    for peer in peers:
        cell = table[scenario.name, peer.name]
        total = len(cell.runs) + len(cell.problems)
        failed = f"{len(cell.problems)}/{total}: {cell.problems[0]}" if cell.problems else f"0/{total}"
        wall = cell.wall
        if wall is None:
            yield f"| {peer.name} | - | | | | | | | {failed} |"
            continue
        walls = [run.wall for run in cell.runs]
        columns = [
            peer.name,
            f"{wall:.3f} [{min(walls):.3f}-{max(walls):.3f}]",
            f"{wall / raw:.2f}" if raw else "",
            f"{best / wall:.1f}" if best else "",
            f"{cell.median('cpu'):.3f}",
            f"{cell.median('rss_mb'):.0f}",
            f"{cell.median('acme'):.0f}" if scenario.certificates else "",
            f"{cell.median('updates'):.0f}" if scenario.certificates else "",
            failed,
        ]
        yield f"| {' | '.join(columns)} |"


def _output(command: Sequence[str]) -> str:
    environment = {**base_environment(), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "providers")])}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    except OSError as error:
        return str(error)
    lines = done.stdout.strip().splitlines()
    return lines[0] if lines and not done.returncode else f"{Path(command[0]).name}: exit status {done.returncode}"


def bare_python() -> float:
    """CPU seconds of `python -c pass`, the least of ten."""
    from bench.measure import run

    costs = [
        run([sys.executable, "-c", "pass"], environment=base_environment(), cwd=ROOT, log=Path(os.devnull), timeout=30)
        for _ in range(10)
    ]
    return min(cost.cpu for cost in costs)
