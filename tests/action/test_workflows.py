"""The example workflows, run by `act` on this machine, with the action of this checkout, Pebble and BIND."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.action.job import ROOT
from tests.action.workflows import OURS, Repository
from tests.e2e.lab import ZONE, Lab, check_store

pytestmark = [pytest.mark.servers, pytest.mark.timeout(200)]
EXAMPLES = ROOT / "examples" / "github"


def pull_request(action: str) -> dict[str, Any]:
    repository = {"full_name": "octo/web", "default_branch": "main"}
    head = {"ref": "topic", "sha": "a" * 40, "repo": repository}
    pull = {"number": 7, "head": head, "base": {"ref": "main", "sha": "b" * 40, "repo": repository}}
    return {"action": action, "number": 7, "repository": repository, "pull_request": pull}


def test_a_preview_environment_comes_and_goes(lab: Lab, tmp_path: Path) -> None:
    certs = tmp_path / "certs"
    store = {"provider": "file", "directory": str(certs)}
    lab.config["certificates"] = {"preview": {"names": [f"${{environment}}.{ZONE}"], "stores": [store]}}
    repository = Repository(tmp_path / "repository", EXAMPLES / "preview.yml", lab)
    ran = repository.run("pull_request", pull_request("opened"))
    assert ran.status == 0, ran.log
    check_store(certs / "preview", [f"pr-7.{ZONE}"])
    ran = repository.run("pull_request", pull_request("closed"))
    assert ran.status == 0, ran.log
    assert not (certs / "preview").exists()
    assert lab.bind.leftovers() == []


def test_a_fan_out_over_jobs_ends_in_one_report(lab: Lab, tmp_path: Path) -> None:
    certs = tmp_path / "certs"
    store = {"provider": "file", "directory": str(certs)}
    lab.config["certificates"] = {name: {"names": [f"{name}.{ZONE}"], "stores": [store]} for name in ("a", "b", "c")}
    certs.mkdir()
    (certs / "c").write_text("no directory")
    repository = Repository(tmp_path / "repository", EXAMPLES / "fan-out.yml", lab)
    ran = repository.run("workflow_dispatch")
    assert ran.status != 0, "one of them is wrong"
    for name in ("a", "b"):
        check_store(certs / name, [f"{name}.{ZONE}"])
    reports = [json.loads(path.read_text()) for path in repository.artifacts.rglob("*.json")]
    assert sorted(one["name"] for report in reports for one in report["certificates"]) == ["a", "b", "c"]
    assert "| a | issued: " in ran.log, "the merged table"
    assert "| c | failed" in ran.log
    del lab.config["certificates"]["c"]
    repository.give(lab)
    ran = repository.run("workflow_dispatch")
    assert ran.status == 0, ran.log
    assert "Issue" not in ran.log, "no job without work"


def test_an_alert_opens_an_issue(lab: Lab, tmp_path: Path) -> None:
    lab.web["stores"][0]["directory"] = str(tmp_path / "certs")
    repository = Repository(tmp_path / "repository", EXAMPLES / "monitor.yml", lab)
    calls = tmp_path / "calls"
    gh = repository.programs / "gh"
    gh.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> {calls}; echo >> {calls}\n')
    gh.chmod(0o755)
    ran = repository.run("schedule")
    assert ran.status != 0
    assert "issue|create|--title|Certificates need attention|--body|1 alerts: " in calls.read_text(), ran.log
    assert "| critical | drift.missing | web |" in ran.log, "the summary"
    assert lab.issue().status == 0
    calls.unlink()
    ran = repository.run("schedule")
    assert ran.status == 0, ran.log
    assert "issue|" not in calls.read_text(), "nothing but a question of act itself"


def test_a_failed_renewal_opens_an_issue_once(lab: Lab, tmp_path: Path) -> None:
    lab.config["dns"][0]["tsig_secret"] = "env:MISSING"
    source = (ROOT / ".github" / "workflows" / "renew.yml").read_text()
    # act does not know a repository's reference to itself, and has no caller's context: the parts are run as one.
    callable_ = tmp_path / "renew.yml"
    callable_.write_text(source.replace("uses: $/", f"uses: {OURS}"))
    repository = Repository(tmp_path / "repository", callable_, lab)
    (repository.directory / ".github" / "workflows" / "scheduled.yml").write_text(
        (EXAMPLES / "scheduled.yml")
        .read_text()
        .replace(f"ci-acme/ci-acme/.github/workflows/renew.yml@{'0' * 40}", "./.github/workflows/example.yml")
    )
    calls = tmp_path / "calls"
    gh = repository.programs / "gh"
    gh.write_text(
        f'#!/bin/sh\nprintf "%s|" "$@" >> {calls}; echo >> {calls}\n[ "$2" != list ] || cat {tmp_path}/open\n'
    )
    gh.chmod(0o755)
    for opened, verb in (("", "create"), ("12\n", "comment|12")):
        (tmp_path / "open").write_text(opened)
        ran = repository.run("schedule", workflow="scheduled.yml")
        assert ran.status != 0
        assert f"issue|{verb}|" in calls.read_text().splitlines()[-1], ran.log
    assert "/actions/runs/" in calls.read_text()
