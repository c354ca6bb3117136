"""The action's shim, run exactly as the runner runs it, against a real CA and a real name server."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests.action.job import ROOT, Job, cancel
from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "job")


def give(job: Job, lab: Lab) -> None:
    """The lab's config into the job's workspace."""
    lab.config["authorities"]["pebble"]["account_key"] = f"file:{lab.directory}/account.pem"
    (job.workspace / "ci-acme.yaml").write_text(yaml.safe_dump(lab.config, sort_keys=False))
    job.variables |= {"TSIG_SECRET": lab.environment()["TSIG_SECRET"], "CI_ACME_ALLOW_NEW_ACCOUNT": "true"}


def test_a_certificate_then_a_kept_one_and_nothing_is_left(job: Job, lab: Lab) -> None:
    give(job, lab)
    first = job.main()
    assert first.status == 0, first.log
    outputs = job.outputs()
    assert set(outputs) == set(ACTION["outputs"])
    assert outputs["changed"] == "true"
    assert json.loads(outputs["certificates"])[0]["action"] == "issued"
    assert json.loads(Path(outputs["report"]).read_text())["exit_code"] == 0
    assert (job.workspace / "certs" / "web" / "fullchain.pem").exists()
    assert "| web | issued" in job.files["STEP_SUMMARY"].read_text()
    assert job.files["ENV"].read_text() == job.files["PATH"].read_text() == "", "later steps are left alone"
    assert "::group::Prepare ci-acme" in first.log
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
        ran = job.main(environment=text, command="plan")
        assert "Traceback" not in ran.log
    assert not marker.exists()
    assert job.main(command="issue; rm -rf /").status == 2
    assert job.main(force="maybe").status == 2


def test_nothing_of_the_workspace_replaces_our_code(job: Job, lab: Lab) -> None:
    give(job, lab)
    for name in ("ci_acme.py", "yaml.py", "cryptography.py", "sitecustomize.py", "usercustomize.py"):
        (job.workspace / name).write_text("raise SystemExit('hijacked')")
    (job.workspace / "uv.toml").write_text('index-url = "http://127.0.0.1:9/simple"')
    (job.workspace / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:9/simple\n")
    job.variables |= {
        "PYTHONPATH": str(job.workspace),
        "PYTHONSTARTUP": str(job.workspace / "yaml.py"),
        "PYTHONHOME": "/x",
    }
    ran = job.main()
    assert ran.status == 0, ran.log
    assert "hijacked" not in ran.log


@pytest.mark.parametrize("moment", ["installing", "validating"])
def test_a_cancel_reaches_the_program_and_leaves_nothing(job: Job, make_lab: MakeLab, moment: str) -> None:
    lab = make_lab(validation_delay=20)
    give(job, lab)
    process = job.start({})
    assert process.stdout is not None
    assert "Prepare" in process.stdout.readline()
    if moment == "validating":
        lab.pebble.wait_for_requests("/chalZ/", patience=60)
    ran = cancel(process)
    assert ran.status in {130, 2}, ran.log
    assert lab.bind.leftovers() == []
    assert children_of(process.pid) == []
    assert job.post().status == 0
    assert list(job.temp.iterdir()) == []


def test_what_a_killed_step_left_the_post_step_removes(job: Job, make_lab: MakeLab) -> None:
    lab = make_lab(['_acme-challenge.www TXT "foreign"'], validation_delay=20)
    give(job, lab)
    process = job.start({})
    lab.pebble.wait_for_requests("/chalZ/", patience=60)
    os.killpg(process.pid, 9)
    process.communicate()
    name = f"_acme-challenge.www.{ZONE}"
    assert len(lab.bind.txt(name)) == 2
    ran = job.post()
    assert ran.status == 0, ran.log
    assert lab.bind.txt(name) == ["foreign"]
    assert "::group::Clean up" in ran.log


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


def on_path(tmp_path: Path, *programs: str) -> str:
    """A PATH that has these programs and no others."""
    place = tmp_path / "bin"
    place.mkdir()
    for program in programs:
        found = shutil.which(program)
        assert found is not None
        (place / program).symlink_to(Path(found).resolve())
    return str(place)


def test_with_python_and_pip_alone(job: Job, lab: Lab, tmp_path: Path) -> None:
    give(job, lab)
    place = tmp_path / "bin"
    place.mkdir()
    base = Path(os.path.realpath("/proc/self/exe"))
    (place / "python3").symlink_to(base)
    job.path = str(place)
    ran = job.main(command="plan")
    assert ran.status == 0, ran.log


def test_without_uv_and_without_python_uv_is_fetched_and_checked(job: Job, tmp_path: Path) -> None:
    job.path = str(tmp_path / "empty")
    action = tmp_path / "action"
    shutil.copytree(ROOT / "action", action / "action")
    table = json.loads((action / "action" / "uv.json").read_text())
    for entry in table["wheels"].values():
        entry[1] = "0" * 64
    (action / "action" / "uv.json").write_text(json.dumps(table))
    job.action = action
    ran = job.main(command="plan")
    assert ran.status == 2
    assert "has the SHA-256" in ran.log
    assert "setup-python" in ran.log


def test_an_index_that_is_down_says_what_was_tried(job: Job, tmp_path: Path) -> None:
    job.path = str(tmp_path / "empty")
    job.variables["PIP_INDEX_URL"] = "http://127.0.0.1:9/simple"
    ran = job.main(command="plan")
    assert ran.status == 2
    for words in ("uv is not on PATH", "no Python 3.10", "127.0.0.1:9 does not answer"):
        assert words in ran.log
