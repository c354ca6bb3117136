"""A run inside a GitHub job, as the runner starts it: files of the runner, commands on stderr, the result on stdout."""

from __future__ import annotations

import json

import pytest

from tests.e2e.lab import ZONE, Lab
from tests.hosts.test_github import read_outputs
from tests.hosts.test_oidc import BEARER, Issuer
from tests.servers.bind import SECRET

pytestmark = pytest.mark.servers


def job(lab: Lab) -> dict[str, str]:
    return {
        "GITHUB_ACTIONS": "true",
        "CI": "true",
        "GITHUB_WORKSPACE": str(lab.directory),
        "GITHUB_OUTPUT": str(lab.directory / "output"),
        "GITHUB_STEP_SUMMARY": str(lab.directory / "summary"),
        "CI_ACME_ALLOW_NEW_ACCOUNT": "true",
        "CI_ACME_REPORT": "report.json",
    }


def test_outputs_summary_report_and_masks(lab: Lab) -> None:
    ran = lab.issue(environ=job(lab))
    assert ran.status == 0, ran.stderr
    found = read_outputs((lab.directory / "output").read_text())
    assert (found["changed"], found["report"]) == ("true", "report.json")
    (one,) = json.loads(found["certificates"])
    assert one == ran.certificate
    assert found["not-after"] == one["not_after"]
    assert json.loads((lab.directory / "report.json").read_text()) == ran.document
    assert "| web | issued" in (lab.directory / "summary").read_text()
    assert f"::add-mask::{SECRET}\n" in ran.stderr
    assert SECRET not in ran.stdout + ran.stderr.replace(f"::add-mask::{SECRET}\n", "")
    assert "PRIVATE KEY" not in ran.stdout + ran.stderr + found["certificates"]
    again = lab.issue("--no-summary", environ=job(lab))
    assert again.certificate["action"] == "kept"
    assert (lab.directory / "summary").read_text().count("### ci-acme") == 1


def test_a_failure_stands_at_its_certificate(lab: Lab) -> None:
    lab.web["names"] = ["www.elsewhere.test"]
    ran = lab.issue(environ=job(lab))
    assert ran.status == 4
    lines = (lab.directory / "ci-acme.yaml").read_text().splitlines()
    number = next(index for index, line in enumerate(lines, 1) if "www.elsewhere.test" in line)
    (said,) = [line for line in ran.stderr.splitlines() if line.startswith("::error")]
    assert said.startswith(f"::error title=ci-acme%3A web,file=ci-acme.yaml,line={number}::")
    assert "%0Afix: " in said


def test_problems_of_the_config_stand_at_their_lines(lab: Lab) -> None:
    lab.web["sotres"] = []
    ran = lab.run("issue", environ=job(lab))
    assert ran.status == 2
    assert "file=ci-acme.yaml,line=" in ran.stderr
    assert "sotres" in ran.stderr


def test_a_matrix_of_what_is_to_do(lab: Lab) -> None:
    store = {"provider": "file", "directory": "certs"}
    lab.config["certificates"] = {name: {"names": [f"{name}.{ZONE}"], "stores": [store]} for name in ("a", "b", "c")}
    assert lab.run("issue", "b").status == 0
    ran = lab.run("plan", "--matrix", "github")
    assert json.loads(ran.stdout) == {"include": [{"job": 1, "certificates": "a"}, {"job": 2, "certificates": "c"}]}
    child = json.loads(lab.run("plan", "--matrix", "gitlab").stdout)
    scripts = [job["script"][0] for job in child.values()]
    assert scripts == ["exec ci-acme issue a", "exec ci-acme issue c", "exec ci-acme report ci-acme-report-*.json"]
    assert lab.run("issue").status == 0
    assert json.loads(lab.run("plan", "--matrix", "github").stdout) == {"include": []}


def test_check_tells_whom_the_token_speaks_for_and_judges_a_trust_policy(lab: Lab) -> None:
    with Issuer() as issuer:
        environ = job(lab) | {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{issuer.url}/mint?x=1",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": BEARER,
        }
        (lab.directory / "trust.json").write_text(
            json.dumps({"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole"}})
        )
        ran = lab.run("check", "--output", "json", "--trust-policy", "trust.json", environ=environ)
    assert ran.status == 9
    findings = ran.document["findings"]
    assert {"trust.action", "trust.issuer", "trust.no-audience", "trust.no-subject"} <= {
        one["code"] for one in findings
    }
    (aws,) = [one for one in findings if one["subject"].startswith("AWS")]
    assert json.loads(aws["message"])["Statement"][0]["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert BEARER not in ran.stdout + ran.stderr
