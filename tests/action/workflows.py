"""A repository whose workflows `act` runs on this machine: triggers, conditions, matrices, outputs between jobs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.action.job import ROOT, Step
from tests.e2e.lab import Lab
from tests.servers.tools import find

OURS = "ci-acme/ci-acme@0000000000000000000000000000000000000000"
_OPTIONS = ("--platform", "ubuntu-24.04=-self-hosted", "--action-offline-mode", "--no-cache-server", "--pull=false")
_ARTIFACTS = Path(__file__).parent / "artifacts"


class Repository:
    """Has one of the examples as its workflow, and the lab's config."""

    def __init__(self, directory: Path, workflow: Path, lab: Lab) -> None:
        self.directory = directory
        self.artifacts = directory.parent / "artifacts"
        self.programs = directory.parent / "programs"
        self._home = directory.parent / "home"
        for path in (
            self.artifacts,
            self.programs,
            self._home / ".config" / "act",
            directory / ".github" / "workflows",
        ):
            path.mkdir(parents=True)
        (self._home / ".config" / "act" / "actrc").touch()
        text = workflow.read_text()
        self._replaced = dict(re.findall(r"uses: (actions/(?:up|down)load-artifact)@(\w+)", text))
        (directory / ".github" / "workflows" / "example.yml").write_text(text)
        self.give(lab)
        self._variables = {"TSIG_SECRET": lab.environment()["TSIG_SECRET"], "CI_ACME_ALLOW_NEW_ACCOUNT": "true"}
        for command in ("init -q", "remote add origin https://github.com/octo/web.git", "add -A", "commit -qm A"):
            git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"]
            subprocess.run([*git, *command.split()], cwd=directory, check=True, capture_output=True)

    def give(self, lab: Lab) -> None:
        """Let the lab's config be the repository's."""
        lab.config["authorities"]["pebble"]["account_key"] = f"file:{lab.directory}/account.pem"
        lab.config["state"] = f"sqlite:{lab.directory}/state.db"
        (self.directory / "ci-acme.yaml").write_text(yaml.safe_dump(lab.config, sort_keys=False))

    def run(self, name: str, event: Mapping[str, Any] | None = None, workflow: str = "example.yml") -> Step:
        """What happens on an event."""
        told = self.directory.parent / "event.json"
        told.write_text(json.dumps(event or {}))
        places = {OURS: ROOT} | {f"{one}@{sha}": _place(one) for one, sha in self._replaced.items()}
        local = [part for one, path in places.items() for part in ("--local-repository", f"{one}={path}")]
        given = {**self._variables, "ARTIFACTS": str(self.artifacts)}
        variables = [part for pair in given.items() for part in ("--env", "=".join(pair))]
        command = [find("act"), name, "--eventpath", str(told), "--workflows", f".github/workflows/{workflow}"]
        done = subprocess.run(
            [*command, *_OPTIONS, *local, *variables],
            cwd=self.directory,
            env={
                **{name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_", "SSL_"))},
                "PATH": os.pathsep.join([str(self.programs), str(Path(find("node")).parent), os.environ["PATH"]]),
                "HOME": str(self._home),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        return Step(done.returncode, done.stdout)


def _place(action: str) -> Path:
    return _ARTIFACTS / action.rpartition("/")[2].partition("-")[0]
