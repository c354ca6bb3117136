"""`inventory` over real stores and state."""

from __future__ import annotations

import csv
import io
import json
import shutil
from contextlib import closing
from typing import Any

import pytest

from ci_acme.clock import SystemClock
from ci_acme.state.engine import open_state
from ci_acme.state.ledger import Event, Ledger
from tests.e2e.lab import ZONE, Lab
from tests.hosts.test_oidc import Issuer

pytestmark = pytest.mark.servers
WWW = f"www.{ZONE}"


def listed(lab: Lab, *arguments: str) -> list[dict[str, Any]]:
    ran = lab.run("inventory", "--output", "json", *arguments)
    assert ran.status == 0, ran.stderr
    assert ran.document["schema"] == "ci-acme/inventory/1"
    rows: list[dict[str, Any]] = ran.document["certificates"]
    return rows


def events(lab: Lab) -> list[Event]:
    with closing(open_state(f"sqlite:{lab.directory}/.ci-acme/state.db", clock=SystemClock())) as engine:
        return list(Ledger(engine).events())


def test_stores_state_and_both(lab: Lab) -> None:
    lab.web.update(owner="team-web")
    (row,) = listed(lab)
    assert (row["state"], row["stores"][0]["state"], row["serial"]) == ("missing", "absent", None)
    seen = lab.seen()
    issued = lab.issue().certificate
    (row,) = listed(lab)
    assert row["state"] == "valid"
    assert row["source"] == "both"
    for key in ("names", "issuer", "serial", "sha256", "not_before", "not_after", "owner"):
        assert row[key] == issued[key], key
    assert row["stores"] == [
        {
            "provider": "file",
            "target": "certs/web",
            "state": "held",
            "serial": issued["serial"],
            "version": issued["stores"][0]["version"],
        }
    ]
    after = lab.seen()
    listed(lab)
    assert lab.seen() == after > seen, "the CA is not asked"

    shutil.rmtree(lab.directory / ".ci-acme")
    (alone,) = listed(lab)
    assert alone == {**row, "source": "stores"}, "without any state left the stores are enough"
    assert not (lab.directory / ".ci-acme").exists()


def test_what_only_the_ledger_knows(lab: Lab) -> None:
    lab.web["stores"][0]["directory"] = "certs/pr-7"
    assert lab.issue().status == 0
    lab.web.update(names=[f"pr-8.{ZONE}"], stores=[{"provider": "file", "directory": "certs/pr-8"}])
    assert lab.issue().status == 0
    rows = listed(lab)
    assert [(row["names"], row["state"], row["source"]) for row in rows] == [
        ([f"pr-8.{ZONE}"], "valid", "both"),
        ([WWW], "valid", "ledger"),
    ]
    shutil.rmtree(lab.directory / "certs" / "pr-8")
    (lost, other) = listed(lab)
    assert (lost["state"], lost["source"], lost["serial"]) == ("missing", "ledger", rows[0]["serial"])
    assert other == rows[1]
    lab.web["stores"] = [{"provider": "file", "directory": "certs/pr-7"}]
    held = listed(lab)[0]
    assert held["names"] == [WWW], "the store is right about what it holds"


def test_every_form(lab: Lab) -> None:
    assert lab.issue().status == 0
    (row,) = listed(lab)
    (line,) = csv.DictReader(io.StringIO(lab.run("inventory", "--format", "csv").stdout))
    assert (line["name"], line["serial"], line["not_after"]) == ("web", row["serial"], row["not_after"])
    calendar = lab.run("inventory", environ={"CI_ACME_FORMAT": "ics"}).stdout
    assert calendar.startswith("BEGIN:VCALENDAR")
    assert "DTSTART:" + row["not_after"].replace("-", "").replace(":", "") in calendar
    page = lab.run("inventory", "--format", "html").stdout
    assert f"<td>{row['serial']}</td>" in page
    table = lab.run("inventory").stdout.splitlines()
    assert len(table) == 2
    assert row["not_after"] in table[1]
    assert json.loads(lab.run("inventory", "--format", "json").stdout)["certificates"] == [row]


def test_what_ends_soon(lab: Lab) -> None:
    lab.web["stores"][0]["directory"] = "certs"
    assert lab.issue().status == 0
    assert listed(lab, "--expiring", "14d") == []
    assert len(listed(lab, "--expiring", "91d")) == 1
    ran = lab.run("inventory", "--expiring", "soon")
    assert (ran.status, ran.stdout) == (2, "")
    assert "--expiring" in ran.stderr


def test_the_ledger_says_who_asked_for_what(lab: Lab) -> None:
    job = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "42", "GITHUB_REPOSITORY": "o/r", "GITHUB_ACTOR": "octo"}
    assert lab.issue("--allow-new-account", environ=job).status == 0
    assert lab.issue("--force").status == 0
    lab.config["dns"][0].update(tsig_secret="env:OTHER_SECRET")
    lab.web["names"] = [f"new.{ZONE}"]  # Pebble takes one authorization in a hundred for valid, where it knows the name
    assert lab.issue().status == 4
    lab.web["names"] = [WWW]
    assert lab.issue().status == 0
    found = [(event.what, event.by.get("actor") == "octo") for event in events(lab)]
    assert found == [
        ("order", True),
        ("certificate", True),
        ("deployment", True),
        ("order", False),
        ("renewal", False),
        ("deployment", False),
        ("failure", False),
    ], "a kept certificate leaves nothing, and a credential that is rejected is seen before an order"
    last = events(lab)[-1]
    assert last.facts["code"] == "dns.credentials"


def test_the_ledger_says_what_a_token_proves(lab: Lab) -> None:
    with Issuer() as issuer:
        token = issuer.token(project_path="group/web")
        job = {"GITLAB_CI": "true", "CI_SERVER_URL": issuer.url, "CI_PROJECT_PATH": "what/ever", "JOB_ID_TOKEN": token}
        ran = lab.issue("--allow-new-account", environ=job)
    assert ran.status == 0, ran.stderr
    by = events(lab)[0].by
    assert by["repository"] == "what/ever", "what the environment says"
    assert (by["oidc_project_path"], by["oidc_iss"]) == ("group/web", issuer.url)
    state = (lab.directory / ".ci-acme" / "state.db").read_bytes()
    assert token.encode() not in state + ran.stdout.encode() + ran.stderr.encode()


def test_a_state_that_is_broken_does_not_hide_the_stores(lab: Lab) -> None:
    assert lab.issue().status == 0
    state = lab.directory / ".ci-acme" / "state.db"
    for path in state.parent.glob("state.db-*"):
        path.unlink()
    state.write_bytes(b"garbage" * 1000)
    (row,) = listed(lab)
    assert row["state"] == "valid"
