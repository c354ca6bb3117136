"""What a job of GitHub's gets of a run that had no result, or was started without the action."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.cli.test_command_line import CONFIG, run
from tests.hosts.test_github import read_outputs


class Step:
    """A `run:` step with ci-acme in it."""

    def __init__(self, directory: Path) -> None:
        self.workspace = directory
        self.temp = directory / "temp"
        self.temp.mkdir()
        self.files = {name: directory / name for name in ("OUTPUT", "STEP_SUMMARY")}

    def run(self, *arguments: str, environ: Mapping[str, str] | None = None) -> CompletedProcess[str]:
        given = {f"GITHUB_{name}": str(path) for name, path in self.files.items()}
        runner = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(self.workspace), "RUNNER_TEMP": str(self.temp)}
        return run(*arguments, cwd=self.workspace, environ={**given, **runner, **(environ or {})})

    def outputs(self) -> dict[str, str]:
        return read_outputs(self.files["OUTPUT"].read_text())


@pytest.fixture
def step(tmp_path: Path) -> Step:
    (tmp_path / "ci-acme.yaml").write_text(CONFIG)
    return Step(tmp_path)


def errors(ran: CompletedProcess[str]) -> list[str]:
    return [line for line in ran.stderr.splitlines() if line.startswith("::error")]


def test_the_output_report_leads_somewhere(step: Step) -> None:
    assert step.run("plan").returncode == 0
    report = Path(step.outputs()["report"])
    assert report.parent == step.temp
    assert json.loads(report.read_text())["certificates"][0]["action"] == "would-issue"


def test_a_report_that_could_not_be_written_is_no_output(step: Step) -> None:
    ran = step.run("plan", "--report", "no/such/place.json")
    assert "the report no/such/place.json cannot be written" in ran.stderr
    assert step.outputs()["report"] == ""


def test_outside_of_a_job_nothing_is_written_unasked(step: Step) -> None:
    for environ in ({"GITHUB_ACTIONS": ""}, {"GITHUB_OUTPUT": ""}):
        assert step.run("plan", environ=environ).returncode == 0
    assert list(step.temp.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--config", "gone.yaml"], ["nobody"], ["--no-such-option"], ["--timeout", "x"]])
def test_a_run_without_a_result_tells_the_job_all_the_same(step: Step, arguments: list[str]) -> None:
    environ = {"CI_ACME_DOTENV": str(step.workspace / "ci-acme.env"), "CI_ACME_REPORT": str(step.temp / "report.json")}
    ran = step.run("issue", *arguments, environ=environ)
    assert ran.returncode == 2
    assert len(errors(ran)) == 1, ran.stderr
    assert "%0Afix: " in errors(ran)[0]
    outputs = step.outputs()
    assert (outputs["changed"], outputs["certificates"], outputs["not-after"]) == ("false", "[]", "")
    document: dict[str, Any] = json.loads(Path(outputs["report"]).read_text())
    assert (document["exit_code"], document["certificates"], ran.stdout) == (2, [], "")
    assert document["error"]["fix"]
    summary = step.files["STEP_SUMMARY"].read_text()
    assert summary.startswith("### ci-acme issue: failed with exit code 2\n\n- ")
    assert "CI_ACME_CHANGED=false\n" in (step.workspace / "ci-acme.env").read_text()


def test_the_reports_of_a_fan_out_have_the_job_that_could_not_begin(step: Step) -> None:
    step.run("issue", "nobody", "--report", "reports-1.json")
    ran = step.run("report", "reports-1.json", "--output", "json")
    assert (ran.returncode, json.loads(ran.stdout)["error"]["code"]) == (2, "usage")


def test_a_variable_that_cannot_be_read_is_annotated_and_the_summary_stays_off(step: Step) -> None:
    ran = step.run("issue", environ={"CI_ACME_FORCE": "maybe", "CI_ACME_NO_SUMMARY": "true"})
    assert errors(ran) == ["::error title=ci-acme::CI_ACME_FORCE is 'maybe'%0Afix: set CI_ACME_FORCE to true or false"]
    assert step.outputs()["changed"] == "false"
    assert not step.files["STEP_SUMMARY"].exists()


def test_what_a_run_had_is_not_replaced_by_an_error_after_it(step: Step) -> None:
    ran = step.run("monitor", "--metrics", "no/such/place.txt")
    assert ran.returncode == 2
    assert step.files["OUTPUT"].read_text().count("changed<<") == 1
    assert step.outputs()["certificates"] != "[]"


def test_annotations_are_at_lines_of_files_and_say_the_nearest_key(step: Step) -> None:
    ran = step.run("plan", "--domain", "www.example.com", "--dns", "rfc2136")
    assert [line for line in errors(ran) if "file=" in line] == []
    (step.workspace / "ci-acme.yaml").write_text(CONFIG.replace("names:", "nams:"))
    placed = [line for line in errors(step.run("plan")) if "file=ci-acme.yaml,line=8::" in line]
    assert len(placed) == 1
    assert placed[0].endswith("certificates.web.nams: unknown key; did you mean 'names'?")


def test_what_check_finds_is_annotated(step: Step) -> None:
    ran = step.run("check")
    found = [line for line in ran.stdout.splitlines() if line.startswith("error ")]
    assert ran.returncode == 9
    assert found
    assert [line.split("%0A")[0] for line in errors(ran)] == [
        f"::error title=ci-acme::{' '.join(line.removeprefix('error').split())}" for line in found
    ]
