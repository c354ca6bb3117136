"""A GitLab project whose pipelines gitlab-ci-local runs with the shell executor: component, inputs, artifacts."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.lab import Lab
from tests.servers.tools import find

ROOT = Path(__file__).parents[2]
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SPACE = "IA"  # gitlab-ci-local writes what is no word in base64
_GIT = ("git", "-c", "init.defaultBranch=main")


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished pipeline, with all that it printed; `stdout` is the part without warnings."""

    status: int
    log: str
    stdout: str


class Project:
    """A repository that includes our components from its own `templates/`, as GitLab does from the Catalog."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.variables: dict[str, str] = {}
        """Of the project, as its settings have them."""
        self.programs = directory.parent / "bin"
        self.path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        for path in (directory, self.programs, directory.parent / "home"):
            path.mkdir()
        shutil.copytree(ROOT / "templates", directory / "templates")
        program = self.programs / "ci-acme"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m ci_acme "$@"\n')
        program.chmod(0o755)
        for command in (
            "init",
            "config user.name test",
            "config user.email test@example.com",
            "remote add origin git@gitlab.example.com:octo/web.git",
            "symbolic-ref refs/remotes/origin/HEAD refs/remotes/origin/main",
        ):
            self._git(*command.split())

    def give(self, lab: Lab) -> None:
        """The lab's config and secret."""
        lab.config["authorities"]["pebble"]["account_key"] = f"file:{lab.directory}/account.pem"
        (self.directory / "ci-acme.yaml").write_text(yaml.safe_dump(lab.config, sort_keys=False))
        self.variables |= {"TSIG_SECRET": lab.environment()["TSIG_SECRET"], "CI_ACME_ALLOW_NEW_ACCOUNT": "true"}

    def include(self, component: str, inputs: Mapping[str, Any] | None = None, **jobs: Any) -> None:
        """Write the pipeline: a component with inputs, and jobs beside it."""
        address = f"$CI_SERVER_FQDN/$CI_PROJECT_PATH/{component}@$CI_COMMIT_SHA"
        document = {"include": [{"component": address, "inputs": dict(inputs or {})}], **jobs}
        self.write(yaml.safe_dump(document, sort_keys=False))

    def write(self, pipeline: str) -> None:
        """Let this be the pipeline."""
        (self.directory / ".gitlab-ci.yml").write_text(pipeline)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message", "A pipeline")

    def run(self, *arguments: str, timeout: float = 60) -> Ran:
        """Run the pipeline, or do with it what the arguments say."""
        given = [part for name, value in self.variables.items() for part in ("--variable", f"{name}={value}")]
        done = subprocess.run(
            [find("gitlab-ci-local"), "--force-shell-executor", "--no-color", *given, *arguments],
            cwd=self.directory,
            env={
                **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))},
                "PATH": self.path,
                "HOME": str(self.directory.parent / "home"),
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'providers'}",
                "GITLAB_CI": "true",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran(done.returncode, _COLOUR.sub("", done.stdout + done.stderr), done.stdout)

    def preview(self) -> dict[str, Any]:
        """The pipeline with everything included and extended."""
        ran = self.run("--preview")
        assert ran.status == 0, ran.log
        document: dict[str, Any] = yaml.safe_load(ran.stdout.partition("---\n")[2])
        return document

    def artifact(self, job: str, name: str) -> Path:
        """A file that a job has left."""
        return self.directory / ".gitlab-ci-local" / "artifacts" / job.replace(" ", _SPACE) / name

    def _git(self, *arguments: str) -> None:
        subprocess.run([*_GIT, *arguments], cwd=self.directory, check=True, capture_output=True)
