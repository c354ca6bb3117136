"""The work that is measured."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from bench.laboratory import Laboratory, Seen
from bench.measure import Cost, run
from bench.peers import Certificates, Job, Peer, base_environment


@dataclass(frozen=True)
class Scenario:
    """A piece of work. `certificates` are lists of labels under the zone; a run puts a label of its own above them."""

    name: str
    title: str
    certificates: Certificates = ()
    arguments: tuple[str, ...] = ()
    """For scenarios that only call the program."""
    again: bool = False
    """Measure the second run of the same commands."""

    @property
    def names(self) -> int:
        """How many names there are in all."""
        return sum(map(len, self.certificates))


def _many(count: int) -> list[str]:
    return [f"n{number}" for number in range(count)]


SCENARIOS = (
    Scenario("one", "1 name", [["n"]]),
    Scenario("wildcard", "wildcard + apex", [["", "*"]]),
    Scenario("ten", "10 names", [_many(10)]),
    Scenario("hundred", "100 names", [_many(100)]),
    Scenario("batch", "20 certificates of one name", [[name] for name in _many(20)]),
    Scenario("keep", "nothing to do (1 name)", [["n"]], again=True),
    Scenario("version", "--version", arguments=("--version",)),
    Scenario("help", "--help", arguments=("--help",)),
)


@dataclass(frozen=True)
class Run:
    """One measured run."""

    scenario: str
    peer: str
    wall: float
    cpu: float
    rss_mb: float
    acme: int
    updates: int
    problem: str = ""


class Runner:
    """Runs scenarios with peers in directories of their own, and checks what came out."""

    def __init__(self, laboratory: Laboratory, directory: Path, timeout: float) -> None:
        self._laboratory = laboratory
        self._directory = directory
        self._timeout = timeout
        self._count = 0

    def run(self, scenario: Scenario, peer: Peer) -> Run:
        """One run from an empty directory: the account is created within it, as on a fresh pipeline machine."""
        self._count += 1
        directory = self._directory / f"run-{self._count}"
        directory.mkdir()
        if not scenario.certificates:
            cost = self._call([*peer.program, *scenario.arguments], {}, directory)
            return _result(scenario, peer, [cost], Seen(0, 0), _status([cost]))
        job = Job(self._laboratory, directory, self._names(scenario))
        environment, commands = dict(peer.environment(job)), peer.commands(job)
        if scenario.again:
            for command in commands:
                self._call(command, environment, directory)
        before = self._laboratory.seen()
        costs = [self._call(command, environment, directory) for command in commands]
        seen = self._laboratory.seen().since(before)
        result = _result(scenario, peer, costs, seen, _status(costs) or self._judge(peer, job))
        if not result.problem:
            shutil.rmtree(directory)
        return result

    def _base(self) -> str:
        return f"r{self._count}.{self._laboratory.zone}"

    def _names(self, scenario: Scenario) -> Certificates:
        base = self._base()
        return [[f"{label}.{base}" if label else base for label in labels] for labels in scenario.certificates]

    def _call(self, command: list[str], environment: dict[str, str], directory: Path) -> Cost:
        everything = {**base_environment(), **environment}
        return run(command, environment=everything, cwd=directory, log=directory / "output.log", timeout=self._timeout)

    def _judge(self, peer: Peer, job: Job) -> str:
        """Why the outcome is not what was asked for; empty if it is."""
        for path, names in zip(peer.stored(job), job.certificates, strict=True):
            if not path.exists():
                return f"no certificate at {path}"
            leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
            extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            if set(extension.get_values_for_type(x509.DNSName)) != set(names):
                return f"{path} is for other names"
        base = self._base()
        left = [name for name, _text in self._laboratory.bind.leftovers() if name.endswith(base)]
        return f"left in the zone: {len(left)} TXT records, {left[0]}" if left else ""


def _status(costs: Iterable[Cost]) -> str:
    for cost in costs:
        if cost.timed_out:
            return "timeout"
        if cost.status:
            return f"exit status {cost.status}"
    return ""


def _result(scenario: Scenario, peer: Peer, costs: list[Cost], seen: Seen, problem: str) -> Run:
    return Run(
        scenario=scenario.name,
        peer=peer.name,
        wall=sum(cost.wall for cost in costs),
        cpu=sum(cost.cpu for cost in costs),
        rss_mb=max(cost.rss_mb for cost in costs),
        acme=seen.acme,
        updates=seen.updates,
        problem=problem,
    )


def plan(
    scenarios: Iterable[Scenario], peers: Iterable[Peer], repetitions: int, runner: Runner, budget: float
) -> Iterable[Run]:
    """Every scenario in rounds, all peers in each round, so that a busy moment hits all of them.

    A peer that has used up `budget` seconds in a scenario is not run there again.
    """
    peers = list(peers)
    for scenario in scenarios:
        spent: dict[str, float] = {}
        for _ in range(repetitions):
            for peer in peers:
                if scenario.name in peer.skip or spent.get(peer.name, 0.0) > budget:
                    continue
                started = time.monotonic()
                yield runner.run(scenario, peer)
                spent[peer.name] = spent.get(peer.name, 0.0) + time.monotonic() - started
