"""`python -m bench`: see README.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from bench import namespace, report
from bench.laboratory import laboratory
from bench.peers import ROOT, Peer, peers
from bench.scenarios import SCENARIOS, Run, Runner, Scenario, plan
from bench.targets import verdicts
from tests.servers.tools import ToolMissing


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure ci-acme beside other ACME clients.")
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--scenario", action="append", choices=names, help="only these (default: all)")
    parser.add_argument("--peer", action="append", metavar="PREFIX", help="only clients whose name starts so")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--latency", type=float, default=0, metavar="MS", help="round trip between client and CA")
    parser.add_argument("--validation", type=int, default=0, metavar="S", help="validation takes up to S seconds")
    parser.add_argument("--defaults", action="store_true", help="also the clients' own defaults, which sleep a minute")
    parser.add_argument("--timeout", type=float, default=400, metavar="S", help="for one command")
    parser.add_argument("--budget", type=float, default=60, metavar="S", help="stop repeating a cell after so long")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target of ours is missed")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results", metavar="DIRECTORY")
    parser.add_argument("--keep", action="store_true", help="keep the directories of the runs")
    return parser.parse_args(arguments)


def chosen(options: argparse.Namespace) -> tuple[list[Scenario], list[Peer]]:
    """The scenarios and clients that the options ask for."""
    scenarios = [item for item in SCENARIOS if not options.scenario or item.name in options.scenario]
    clients = [peer for peer in peers() if options.defaults or not peer.slow]
    if options.peer:
        clients = [peer for peer in clients if any(peer.name.startswith(prefix) for prefix in options.peer)]
    return scenarios, clients


def conditions(options: argparse.Namespace) -> str:
    """In words."""
    distance = f"{options.latency:g} ms to the CA" if options.latency else "CA on loopback"
    validation = f"validation in 0-{options.validation} s" if options.validation else "instant validation"
    return f"{distance}, {validation}"


def measure(options: argparse.Namespace, scenarios: list[Scenario], clients: list[Peer], directory: Path) -> list[Run]:
    """All runs, each shown as it ends."""
    runs = []
    dns_port = namespace.DNS_PORT if namespace.inside() else None
    with laboratory(directory, latency=options.latency, validation=options.validation, dns_port=dns_port) as lab:
        runner = Runner(lab, directory, options.timeout)
        for scenario in SCENARIOS:
            if scenario.name == "version":
                for peer in clients:
                    runner.run(scenario, peer)  # byte code is compiled and files are cached, for everybody
        for run in plan(scenarios, clients, options.repetitions, runner, options.budget):
            runs.append(run)
            outcome = run.problem or f"{run.wall:8.3f} s  {run.acme:4d} requests  {run.updates:3d} updates"
            print(f"{run.scenario:10} {run.peer:16} {outcome}", file=sys.stderr, flush=True)
    return runs


def main(arguments: Sequence[str]) -> int:
    """Measure, print the report, save it."""
    options = parse(arguments)
    if options.defaults and not namespace.inside():
        return namespace.enter(arguments)
    if namespace.inside():
        namespace.prepare()
    try:
        scenarios, clients = chosen(options)
    except ToolMissing as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 2
    directory = Path(tempfile.mkdtemp(prefix="ci-acme-bench-"))
    started = time.monotonic()
    runs = measure(options, scenarios, clients, directory)
    about = report.machine(clients) | {"conditions": conditions(options), "arguments": list(arguments)}
    table = report.cells(runs)
    text = report.markdown(table, clients, about, conditions(options))
    judged = list(verdicts(table, clients, report.bare_python())) if any(peer.ours for peer in clients) else []
    if judged:
        text += "\n## Targets\n\n" + "".join(f"- {'met' if met else 'MISSED'}: {line}\n" for met, line in judged)
    stem = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    paths = report.save(options.output, stem, text, runs, about)
    print(text)
    print(f"{time.monotonic() - started:.0f} s; saved as {', '.join(map(str, paths))}")
    if any(run.problem for run in runs) or options.keep:
        print(f"directories of the runs: {directory}")
    else:
        _remove(directory)
    return 1 if options.strict and not all(met for met, _line in judged) else 0


def _remove(directory: Path) -> None:
    import shutil

    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
