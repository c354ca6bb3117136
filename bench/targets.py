"""What ci-acme promises of itself, judged on the runs of one bench."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.peers import Peer
from bench.report import Cell, Cells, best_peer, floor
from bench.scenarios import SCENARIOS, Scenario

_TIMES_RAW = {"one": 2.0, "hundred": 1.5, "batch": 2.0}
_TIMES_FASTER = {"hundred": 5.0}
_START_UP = 2.5
_KEEP_SHARE = 0.6
_MEMORY_MB = 90
_SPARE_REQUESTS = 8


def verdicts(table: Cells, peers: Sequence[Peer], bare: float) -> Iterator[tuple[bool, str]]:
    """Each target that could be judged: whether it was met, and a line that says so with the numbers."""
    ours = next(peer.name for peer in peers if peer.ours)
    for scenario in SCENARIOS:
        cell = table.get((scenario.name, ours))
        if cell is None:
            continue
        if cell.problems:
            yield False, f"{scenario.title}: {len(cell.problems)} runs failed"
        if cell.runs:
            yield from (
                _issuing(scenario, cell, table, peers)
                if _issues(scenario)
                else _other(scenario, cell, table, ours, bare)
            )


def _issues(scenario: Scenario) -> bool:
    return bool(scenario.certificates) and not scenario.again


def _issuing(scenario: Scenario, cell: Cell, table: Cells, peers: Sequence[Peer]) -> Iterator[tuple[bool, str]]:
    wall, raw, best = cell.median("wall"), floor(scenario, peers, table), best_peer(scenario, peers, table)
    if raw and scenario.name in _TIMES_RAW:
        most = _TIMES_RAW[scenario.name]
        yield wall <= most * raw, f"{scenario.title}: {wall / raw:.2f} x the raw client (at most {most})"
    if best:
        least = _TIMES_FASTER.get(scenario.name, 1.0)
        yield best >= least * wall, f"{scenario.title}: {best / wall:.1f} x as fast as the best peer (at least {least})"
    orders = len(scenario.certificates)
    most_requests = 2 * scenario.names + 1 + 7 * orders + _SPARE_REQUESTS
    requests = cell.median("acme")
    yield requests <= most_requests, f"{scenario.title}: {requests:.0f} ACME requests (at most {most_requests})"
    if orders == 1:
        updates = cell.median("updates")
        yield updates == 2, f"{scenario.title}: {updates:.0f} DNS updates (2)"
    if scenario.name == "hundred":
        memory = cell.median("rss_mb")
        yield memory <= _MEMORY_MB, f"{scenario.title}: {memory:.0f} MB (at most {_MEMORY_MB})"


def _other(scenario: Scenario, cell: Cell, table: Cells, ours: str, bare: float) -> Iterator[tuple[bool, str]]:
    cpu = min(run.cpu for run in cell.runs)
    if scenario.arguments:
        yield (
            cpu <= _START_UP * bare,
            f"{scenario.title}: {cpu / bare:.2f} x a bare Python in CPU (at most {_START_UP})",
        )
        return
    issuing = table.get(("one", ours))
    if issuing is not None and issuing.runs:
        share = cell.median("cpu") / issuing.median("cpu")
        yield share <= _KEEP_SHARE, f"{scenario.title}: {share:.0%} of an issuing run's CPU (at most {_KEEP_SHARE:.0%})"
