"""The GitLab component, run by gitlab-ci-local's shell executor against a real CA and a real name server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import ci_acme
from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, check_store
from tests.gitlab.pipeline import Project

pytestmark = pytest.mark.servers


def test_a_certificate_then_a_kept_one_and_public_facts_for_later_jobs(project: Project, lab: Lab) -> None:
    project.give(lab)
    later = {"stage": "deploy", "needs": ["ci-acme"], "script": ['echo "$CI_ACME_CHANGED until $CI_ACME_NOT_AFTER"']}
    project.include("issue", {"certificate": "web"}, later=later)
    ran = project.run()
    assert ran.status == 0, ran.log
    leaf = check_store(project.directory / "certs" / "web", [f"www.{ZONE}"])
    until = f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert f"later   > true until {until}" in ran.log
    dotenv = project.artifact("ci-acme", ".gitlab-ci-reports/dotenv/ci-acme.env").read_text()
    report = json.loads(project.artifact("ci-acme", "ci-acme-report.json").read_text())
    serial = report["certificates"][0]["serial"]
    assert int(serial, 16) == leaf.serial_number
    assert dotenv == f"CI_ACME_CHANGED=true\nCI_ACME_NOT_AFTER={until}\nCI_ACME_SERIAL={serial}\n"
    assert report["exit_code"] == 0
    assert "nothing is left of earlier runs" in ran.log, "after_script"
    ran = project.run()
    assert ran.status == 0, ran.log
    assert f"later   > false until {until}" in ran.log
    assert lab.bind.leftovers() == []
    assert lab.orders() == 1


def test_a_failure_is_the_jobs_and_its_report_is_kept(project: Project, lab: Lab) -> None:
    project.give(lab)
    project.variables["TSIG_SECRET"] = "d3JvbmcgcGFzc3dvcmQsIHdyb25nIHBhc3N3b3Jk"
    project.include("issue")
    ran = project.run()
    assert ran.status != 0
    report = json.loads(project.artifact("ci-acme", "ci-acme-report.json").read_text())
    assert report["exit_code"] == 4
    assert "fix:" in ran.log
    assert "Running after script" in ran.log


def test_what_a_killed_script_left_the_after_script_removes(project: Project, make_lab: MakeLab) -> None:
    lab = make_lab(['_acme-challenge.www TXT "foreign"'], validation_delay=30)
    project.give(lab)
    # The moment is the CA's first look; a process beside the pipeline is told it by the access log.
    killer = _kill_when_validating(project, lab)
    project.include("issue")
    ran = project.run()
    assert killer.wait(10) == 0
    assert ran.status != 0
    assert "removed _acme-challenge.www" in ran.log
    assert lab.bind.txt(f"_acme-challenge.www.{ZONE}") == ["foreign"]


def _kill_when_validating(project: Project, lab: Lab) -> Any:
    """Ends `ci-acme issue` without a warning while the CA validates."""
    import multiprocessing

    class Killer:
        def __init__(self) -> None:
            self.process = multiprocessing.get_context("fork").Process(target=self.work, daemon=True)
            self.process.start()

        def work(self) -> None:
            lab.pebble.wait_for_requests("/chalZ/", patience=40)
            time.sleep(0.1)
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and _is_ours(entry, project):
                    os.kill(int(entry.name), signal.SIGKILL)

        def wait(self, seconds: float) -> int | None:
            self.process.join(seconds)
            return self.process.exitcode

    return Killer()


def _is_ours(entry: Path, project: Project) -> bool:
    try:
        words = (entry / "cmdline").read_bytes().split(b"\0")
        return b"ci_acme" in words and b"issue" in words and (entry / "cwd").resolve() == project.directory
    except OSError:
        return False


def test_a_plan_becomes_a_child_pipeline_whose_reports_are_one(project: Project, lab: Lab) -> None:
    store = {"provider": "file", "directory": "certs"}
    lab.config["certificates"] = {name: {"names": [f"{name}.{ZONE}"], "stores": [store]} for name in ("a", "b", "c")}
    project.give(lab)
    project.include("issue", {"certificate": "b"})
    assert project.run().status == 0
    project.include("plan", {"environment": "pr-7"})
    ran = project.run()
    assert ran.status == 0, ran.log
    child = project.artifact("ci-acme plan", "ci-acme-pipeline.yml")
    assert list(json.loads(child.read_text())) == ["ci-acme 1", "ci-acme 2", "ci-acme report"]
    (project.directory / ".gitlab-ci.yml").write_bytes(child.read_bytes())
    ran = project.run()
    assert ran.status == 0, ran.log
    for name in ("a", "b", "c"):
        check_store(project.directory / "certs" / name, [f"{name}.{ZONE}"])
    merged = json.loads(project.artifact("ci-acme report", "ci-acme-report.json").read_text())
    assert [(one["name"], one["action"]) for one in merged["certificates"]] == [("a", "issued"), ("c", "issued")]
    dotenv = project.artifact("ci-acme report", ".gitlab-ci-reports/dotenv/ci-acme.env").read_text()
    assert "CI_ACME_CHANGED=true" in dotenv
    project.include("plan")
    assert project.run().status == 0
    (only,) = json.loads(child.read_text()).values()
    assert only["script"] == ["echo 'every certificate is valid'"]


def test_an_environment_is_retired(project: Project, lab: Lab) -> None:
    lab.web["names"] = [f"${{environment}}.{ZONE}"]
    project.give(lab)
    project.include("issue", {"environment": "pr-7"})
    assert project.run().status == 0
    assert (project.directory / "certs" / "web").exists()
    project.include("retire", {"environment": "pr-7"})
    ran = project.run()
    assert ran.status == 0, ran.log
    assert (project.directory / "certs" / "web").exists(), "manual: not before the environment is stopped"
    for _ in range(2):
        ran = project.run("ci-acme retire")
        assert ran.status == 0, ran.log
        assert not (project.directory / "certs" / "web").exists()


def test_an_alert_fails_the_job_and_leaves_its_facts(project: Project, lab: Lab) -> None:
    project.give(lab)
    project.include("issue")
    assert project.run().status == 0
    told = {
        "stage": "deploy",
        "needs": ["ci-acme monitor"],
        "script": ['echo "$CI_ACME_ALERTS until $CI_ACME_NOT_AFTER"'],
    }
    project.include("monitor", tell=told)
    ran = project.run()
    assert ran.status == 0, ran.log
    assert re.search(r"tell +> 0 until 20", ran.log), ran.log
    store = project.directory / "certs" / "web"
    (store / "privkey.pem").unlink()
    project.include("monitor", {"certificate": "web"})
    ran = project.run()
    assert ran.status != 0
    report = json.loads(project.artifact("ci-acme monitor", "ci-acme-report.json").read_text())
    assert [(one["code"], one["certificate"]) for one in report["alerts"]] == [("drift.unusable", "web")]
    assert re.search(r"finished in \d+ ms +FAIL 9\b", ran.log), ran.log
    metrics = project.artifact("ci-acme monitor", "ci-acme-metrics.txt").read_text()
    assert 'ci_acme_alerts{alert="drift",severity="critical"} 1' in metrics
    assert metrics.endswith("# EOF\n")
    assert lab.orders() == 1


def test_without_a_config_file(project: Project, lab: Lab) -> None:
    project.give(lab)
    (project.directory / "ci-acme.yaml").unlink()
    project.variables |= {
        "CI_ACME_RFC2136_SERVER": lab.bind.address,
        "CI_ACME_RFC2136_TSIG_NAME": "ci-acme",
        "CI_ACME_RFC2136_TSIG_SECRET": project.variables["TSIG_SECRET"],
        "CI_ACME_RESOLVER": lab.bind.address,
        "CI_ACME_CA_BUNDLE": str(lab.pebble.ca_bundle),
        "CI_ACME_AGREE_TERMS": "true",
    }
    inputs = {
        "domains": f"www.{ZONE}, *.www.{ZONE}",
        "dns": "rfc2136",
        "stores": "file:certs",
        "authority": lab.pebble.directory_url,
        "email": "ops@example.com",
    }
    project.include("issue", inputs)
    ran = project.run()
    assert ran.status == 0, ran.log
    assert len(list((project.directory / "certs").iterdir())) == 1
    assert lab.bind.leftovers() == []


def test_the_child_pipeline_has_the_tokens_of_its_plan(project: Project, lab: Lab) -> None:
    from tests.hosts.test_oidc import coded

    project.give(lab)
    project.variables["CI_ACME_AWS_ID_TOKEN"] = ".".join(
        coded(json.dumps(part).encode()) for part in ({"alg": "RS256"}, {"aud": "sts.amazonaws.com"}, [0] * 9)
    )
    project.include("plan", {"aws": True, "state": "sqlite:x.db"})
    ran = project.run()
    assert ran.status == 0, ran.log
    job = json.loads(project.artifact("ci-acme plan", "ci-acme-pipeline.yml").read_text())["ci-acme 1"]
    assert job["id_tokens"] == {"CI_ACME_AWS_ID_TOKEN": {"aud": "sts.amazonaws.com"}}
    assert job["variables"]["CI_ACME_STATE"] == {"value": "sqlite:x.db", "expand": False}
    assert yaml.safe_dump(job).count("eyJ") == 0, "no token"


@pytest.mark.slow
def test_an_image_without_ci_acme_gets_it_and_what_the_config_needs(project: Project, tmp_path: Path) -> None:
    from tests.structure.test_wheel import build

    wheel = build(tmp_path)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    (project.programs / "ci-acme").unlink()
    project.path = f"{venv / 'bin'}:/usr/bin:/bin"
    project.variables["PIP_FIND_LINKS"] = str(wheel.parent)
    (project.directory / "ci-acme.yaml").write_text(
        "version: 1\n"
        "authorities: {ca: {directory: 'https://127.0.0.1:9/dir', agree_terms: true, account_key: 'file:a.pem'}}\n"
        "dns: [{zone: example.test, provider: route53}]\n"
        "certificates: {web: {names: [www.example.test], stores: [{provider: file, directory: certs}]}}\n"
    )
    project.include("plan")
    ran = project.run(timeout=200)
    assert ran.status == 0, ran.log
    child = json.loads(project.artifact("ci-acme plan", "ci-acme-pipeline.yml").read_text())
    assert child["ci-acme 1"]["script"] == ["exec ci-acme issue web"], ran.log
    assert f'"ci-acme[aws]=={ci_acme.__version__}"' in child["ci-acme 1"]["before_script"][0]
    assert list(venv.rglob("botocore/__init__.py"))
    assert not list(venv.rglob("azure/identity/__init__.py"))
