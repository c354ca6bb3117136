"""The action's shim, run exactly as the runner runs it, against a real CA and a real name server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.action.job import ROOT, Job, Step, finish, give
from tests.e2e.lab import Lab

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())


def test_a_certificate_then_a_kept_one_and_nothing_is_left(job: Job, lab: Lab) -> None:
    give(job, lab)
    first = job.main()
    assert first.status == 0, first.log
    outputs = job.outputs()
    assert set(outputs) == set(ACTION["outputs"]) - {"matrix", "alerts"}, "which are of plan and of monitor"
    assert outputs["changed"] == "true"
    assert json.loads(outputs["certificates"])[0]["action"] == "issued"
    assert json.loads(Path(outputs["report"]).read_text())["exit_code"] == 0
    assert (job.workspace / "certs" / "web" / "fullchain.pem").exists()
    assert "| web | issued" in job.files["STEP_SUMMARY"].read_text()
    assert job.files["ENV"].read_text() == job.files["PATH"].read_text() == "", "later steps are left alone"
    assert "::group::Prepare ci-acme" in first.log
    before, found, after = first.log.partition(f"::add-mask::{job.variables['TSIG_SECRET']}\n")
    assert found, "a secret is hidden once it is read"
    assert job.variables["TSIG_SECRET"] not in before + after.replace(found, "")
    assert job.post().status == 0
    assert list(job.temp.iterdir()) == []
    for path in job.files.values():
        path.unlink()
    assert job.main().status == 0
    assert job.outputs()["changed"] == "false"
    assert lab.bind.leftovers() == []


def test_hostile_inputs_are_texts(job: Job, lab: Lab) -> None:
    give(job, lab)
    marker = job.workspace / "pwned"
    for text in (
        f'"; touch {marker} #',
        f"$(touch {marker})",
        f"`touch {marker}`",
        "a\nb::error::x",
        "--output",
        "a%0Ab",
    ):
        ran = job.main(certificate=text)
        assert ran.status == 2, ran.log
        assert "no name of a certificate" in ran.log or "there is no certificate" in ran.log
    ran = job.main(environment=f"$(touch {marker})`touch {marker}`\n::error::x %0A", command="plan")
    assert "Traceback" not in ran.log
    assert "\n::error::x" not in ran.log
    assert not marker.exists()
    assert "Clean up" not in job.post().log, "nothing was contacted"
    assert job.main(command="issue; rm -rf /").status == 2
    assert job.main(force="maybe").status == 2


def test_an_empty_input_is_one_that_was_not_given(job: Job, lab: Lab) -> None:
    """The runner sets a variable for every input, and an empty one for each that has no default."""
    give(job, lab)
    defaults = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
    ran = finish(job.start(defaults | {"command": "plan"}))
    assert ran.status == 0, ran.log
    assert json.loads(job.outputs()["certificates"])[0]["action"] == "would-issue"
    job.variables["CI_ACME_ENVIRONMENT"] = "pr-7"
    lab.web["names"] = ["${environment}.example.test"]
    give(job, lab)
    for path in job.files.values():
        path.unlink()
    assert finish(job.start(defaults | {"command": "plan"})).status == 0
    assert json.loads(job.outputs()["certificates"])[0]["names"] == ["pr-7.example.test"], "a variable counts"


def test_no_value_ends_itself_or_begins_another(job: Job, lab: Lab) -> None:
    lab.web["owner"] = (
        "x\nghadelimiter_0\nchanged<<ghadelimiter_0\nforged\nghadelimiter_0\n::set-output name=changed::forged"
    )
    lab.config["certificates"]["b"] = lab.web | {"names": ["ghadelimiter-0.example.test"]}
    give(job, lab)
    ran = job.main(command="plan")
    assert ran.status in {0, 2}, ran.log
    assert set(job.outputs()) <= set(ACTION["outputs"])
    assert job.outputs().get("changed", "false") == "false"
    assert "\n::set-output" not in ran.log


def test_what_is_declared_is_what_is_read() -> None:
    """An input that no code reads would be a promise that is not kept; one that is not declared is never given."""
    code = "".join(path.read_text() for path in (ROOT / "action").glob("*.mjs"))
    table = re.search(r"const VARIABLES = \{(.*?)\};", code, re.DOTALL)
    assert table is not None
    read = {*re.findall(r"^  ([\w-]+): ", table[1], re.MULTILINE), *re.findall(r'(?:input|flag)\("([\w-]+)"\)', code)}
    assert read == set(ACTION["inputs"])
    assert ACTION["runs"]["using"] == "node24"


def test_a_runner_without_a_place_for_us_says_so(job: Job, lab: Lab) -> None:
    give(job, lab)
    job.variables["RUNNER_TEMP"] = str(job.temp / "gone")
    step = job.main()
    assert step.status == 2
    assert step.log.startswith(f"::error title=ci-acme::nothing can be written to {job.temp / 'gone'} (ENOENT)%0Afix: ")
    assert "defect" not in step.log
    assert job.post() == Step(0, "")
