"""A step of a GitHub job, run as the runner runs it: environment, files, signals, and the post step at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.e2e.lab import Lab
from tests.hosts.test_github import read_outputs
from tests.servers.tools import find

ROOT = Path(__file__).parents[2]
_INDEX = (
    "PIP_",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "SSL_CERT",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "NODE_EXTRA_CA_CERTS",
)


@dataclass
class Step:
    """How a step ended, with all that it printed."""

    status: int
    log: str


class Job:
    """The runner's side of one job with our action in one step."""

    def __init__(self, directory: Path, action: Path = ROOT) -> None:
        self.workspace = directory / "workspace"
        self.temp = directory / "temp"
        self.action = action
        for path in (self.workspace, self.temp):
            path.mkdir(parents=True, exist_ok=True)
        self.variables: dict[str, str] = {}
        self.path = os.environ["PATH"]
        self.files = {name: directory / name for name in ("OUTPUT", "STATE", "STEP_SUMMARY", "ENV", "PATH")}

    def environment(self, inputs: Mapping[str, str]) -> dict[str, str]:
        """What the runner gives: nothing of the test's own environment but the way to the package index."""
        index = {name: value for name, value in os.environ.items() if name.startswith(_INDEX)}
        for path in self.files.values():
            path.touch()
        return {
            **index,
            "PATH": self.path,
            "HOME": str(self.temp.parent / "home"),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.workspace),
            "RUNNER_TEMP": str(self.temp),
            **{f"GITHUB_{name}": str(path) for name, path in self.files.items()},
            **{f"INPUT_{name.upper()}": value for name, value in inputs.items()},
            **self.variables,
        }

    def start(self, inputs: Mapping[str, str]) -> subprocess.Popen[str]:
        """Begin the main step."""
        return self._spawn("main.mjs", self.environment(inputs))

    def main(self, **inputs: str) -> Step:
        """The main step, to its end. Hyphens in names of inputs are written as underscores."""
        return finish(self.start({name.replace("_", "-"): value for name, value in inputs.items()}))

    def post(self) -> Step:
        """The post step, with the state that the main step saved."""
        state = read_outputs(self.files["STATE"].read_text())
        environment = self.environment({}) | {f"STATE_{name}": value for name, value in state.items()}
        return finish(self._spawn("post.mjs", environment))

    def outputs(self) -> dict[str, str]:
        return read_outputs(self.files["OUTPUT"].read_text())

    def _spawn(self, name: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [find("node"), str(self.action / "action" / name)],
            cwd=self.workspace,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def give(job: Job, lab: Lab) -> None:
    """The lab's config into the job's workspace, and its secret."""
    lab.config["authorities"]["pebble"]["account_key"] = f"file:{lab.directory}/account.pem"
    (job.workspace / "ci-acme.yaml").write_text(yaml.safe_dump(lab.config, sort_keys=False))
    job.variables |= {"TSIG_SECRET": lab.environment()["TSIG_SECRET"], "CI_ACME_ALLOW_NEW_ACCOUNT": "true"}


def finish(process: subprocess.Popen[str], timeout: float = 100) -> Step:
    log, _ = process.communicate(timeout=timeout)
    return Step(process.returncode, log)


def cancel(process: subprocess.Popen[str]) -> Step:
    """As the runner cancels: SIGINT, after 7.5 s SIGTERM, after 2.5 s more an end to the whole tree."""
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    for at, number in ((7.5, signal.SIGTERM), (10.0, signal.SIGKILL)):
        try:
            log, _ = process.communicate(timeout=max(0.1, begun + at - time.monotonic()))
        except subprocess.TimeoutExpired:
            if number == signal.SIGKILL:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.send_signal(number)
        else:
            return Step(process.returncode, log)
    return finish(process)


def children_of(group: int) -> list[str]:
    """Processes of a session that are left, by their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            if int(fields[3]) == group and fields[0] != "Z":
                found.append((entry / "cmdline").read_text())
    return found
