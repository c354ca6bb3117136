"""Other ways to prove names: a label for each account, a standing record, the CA's own console."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import sys
import time

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, check_store

pytestmark = pytest.mark.servers
ISSUER = "pebble.letsencrypt.org"


def authority(lab: Lab) -> dict[str, object]:
    section: dict[str, object] = lab.config["authorities"]["pebble"]
    return section


def label(account: str) -> str:
    return "_" + base64.b32encode(hashlib.sha256(account.encode()).digest()[:10]).decode().lower()


# dns-account-01


def test_dns_account_01(lab: Lab) -> None:
    authority(lab)["challenge"] = "dns-account-01"
    lab.web["names"] = [f"www.{ZONE}", f"*.www.{ZONE}", ZONE]
    ran = lab.issue("--log-level", "debug")
    assert ran.status == 0, ran.stderr
    check_store(lab.store, lab.web["names"])
    assert lab.bind.leftovers() == []
    checked = lab.run("check", "--output", "json")
    subjects = {line["subject"] for line in checked.document["findings"] if line["area"] == "dns"}
    assert len(subjects) == 2
    assert all(subject.split(".")[1] == "_acme-challenge" and subject.startswith("_") for subject in subjects)
    assert checked.status == 0, checked.stdout


def test_a_challenge_of_an_account_without_a_place_costs_no_order(lab: Lab) -> None:
    """Also where no state knows the account, on whose URL the name depends."""
    authority(lab)["challenge"] = "dns-account-01"
    lab.web["names"] = ["www.elsewhere.test"]
    for _ in range(2):
        ran = lab.issue()
        assert ran.certificate["error"]["code"] == "dns.zone"
        assert lab.orders() == 0
        for rest in (lab.directory / ".ci-acme").glob("state.db*"):
            rest.unlink()


def test_the_label_is_the_accounts_and_no_other_name_is_touched(make_lab: MakeLab) -> None:
    lab = make_lab(records=['_acme-challenge.www 60 TXT "of somebody else"'])
    authority(lab)["challenge"] = "dns-account-01"
    assert lab.issue().status == 0
    written = lab.bind.log()
    (account,) = accounts(lab)
    assert f"{label(account)}._acme-challenge.www.{ZONE}" in written
    assert lab.bind.txt(f"_acme-challenge.www.{ZONE}") == ["of somebody else"]


def accounts(lab: Lab) -> list[str]:
    """Account URLs in the state."""
    state = sqlite3.connect(lab.directory / ".ci-acme" / "state.db")
    try:
        tables = [row[0] for row in state.execute("select name from sqlite_master where type = 'table'")]
        rows = [row for table in tables for row in state.execute(f"select * from {table}")]
    finally:
        state.close()
    cells = [str(cell) for row in rows for cell in decoded(row)]
    found = {part for cell in cells for part in cell.replace('"', " ").split() if "/my-account/" in part}
    return sorted(found)


def decoded(row: tuple[object, ...]) -> list[object]:
    return [cell.decode(errors="replace") if isinstance(cell, bytes) else cell for cell in row]


# dns-persist-01


@pytest.fixture
def standing(lab: Lab) -> Lab:
    """No DNS provider at all."""
    authority(lab)["challenge"] = "dns-persist-01"
    lab.config["experimental"] = {"dns_persist": True}
    lab.config["dns"] = []
    return lab


def test_a_standing_record_is_told_and_then_serves(standing: Lab) -> None:
    lab = standing
    lab.web["names"] = [f"www.{ZONE}", f"*.www.{ZONE}"]
    refused = lab.issue()
    assert refused.status == 4
    error = refused.certificate["error"]
    assert error["code"] == "dns.record"
    (record,) = error["details"]["records"]
    (account,) = accounts(lab)
    assert record == {
        "name": f"_validation-persist.www.{ZONE}",
        "type": "TXT",
        "value": f"{ISSUER}; accounturi={account}; policy=wildcard",
    }
    assert f'{record["name"]}. IN TXT "{record["value"]}"' in error["fix"]
    assert lab.orders() == 0
    assert "error" in {line["level"] for line in lab.run("check", "--output", "json").document["findings"]}

    lab.bind.update(ZONE, add=[f'_validation-persist.www 60 TXT "{record["value"]}"'])
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    check_store(lab.store, lab.web["names"])
    assert ran.certificate["requests"]["dns_changes"] == 0
    assert lab.issue("--force").status == 0
    orders = lab.orders()
    lab.bind.update(ZONE, delete=[f'_validation-persist.www 60 TXT "{record["value"]}"'])
    assert lab.issue("--force").certificate["error"]["code"] == "dns.record"
    assert lab.orders() == orders, "nor does a renewal cost one"
    lab.bind.update(ZONE, add=[f'_validation-persist.www 60 TXT "{record["value"]}"'])
    for rest in (lab.directory / ".ci-acme").glob("state.db*"):
        rest.unlink()  # a hosted runner has none: the CA tells the account
    checked = lab.run("check", "--output", "json")
    assert checked.status == 0, checked.stdout
    assert "permits" in checked.stdout
    assert lab.bind.txt(f"_validation-persist.www.{ZONE}") == [record["value"]]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("accounturi={other}", "another account"),
        ("accounturi={account}; persistUntil={past}", "ended"),
        ("policy=wildcard", "no accounturi"),
        ("accounturi={account}; accounturi={account}", "twice"),
    ],
)
def test_a_record_that_does_not_permit_us_is_seen_before_the_ca_looks(standing: Lab, change: str, word: str) -> None:
    lab = standing
    assert lab.issue().status == 4
    (account,) = accounts(lab)
    value = change.format(account=account, other=account + "0", past=int(time.time()) - 10)
    lab.bind.update(ZONE, add=[f'_validation-persist.www 60 TXT "{ISSUER}; {value}"'])
    ran = lab.issue()
    assert ran.status == 4
    assert word in ran.certificate["error"]["message"]
    assert lab.pebble.request_counts()["/chalZ/"] == 0


def test_a_wildcard_wants_its_policy(standing: Lab) -> None:
    lab = standing
    lab.web["names"] = [f"*.www.{ZONE}"]
    assert lab.issue().status == 4
    (account,) = accounts(lab)
    lab.bind.update(ZONE, add=[f'_validation-persist.www 60 TXT "{ISSUER}; accounturi={account}"'])
    assert "policy=wildcard" in lab.issue().certificate["error"]["message"]


def test_standing_records_are_for_those_who_asked(standing: Lab) -> None:
    del standing.config["experimental"]
    del standing.config["authorities"]["pebble"]["ca_bundle"]
    ran = standing.issue()
    assert ran.status == 2
    assert "dns_persist" in ran.stdout + ran.stderr
    assert "pinned by ca_bundle" in ran.stdout + ran.stderr
    assert standing.seen() == 0


# no challenges


def test_names_that_are_valid_already_need_no_dns_in_the_config(make_lab: MakeLab) -> None:
    lab = make_lab(authz_reuse=100)
    assert lab.issue().status == 0
    lab.config["dns"] = []
    for known in (None, True):
        if known:
            authority(lab)["preauthorized"] = True
        ran = lab.issue("--force")
        assert ran.status == 0, ran.stderr
        assert ran.certificate["requests"]["dns_changes"] == 0
    assert lab.run("check").status == 0


def test_a_challenge_without_a_dns_entry_says_both_ways_out(lab: Lab) -> None:
    lab.config["dns"] = []
    ran = lab.issue()
    assert ran.status == 4
    error = ran.certificate["error"]
    assert error["code"] == "dns.zone"
    assert f"zone: www.{ZONE}" in error["fix"]
    assert "preauthorized: true" in error["fix"]


def test_a_preauthorized_name_that_is_not_valid_names_the_console(lab: Lab) -> None:
    authority(lab)["preauthorized"] = True
    ran = lab.issue()
    assert ran.status == 5
    error = ran.certificate["error"]
    assert error["code"] == "ca.order"
    assert f"www.{ZONE}" in error["message"]
    assert "console" in error["fix"]
    assert lab.bind.leftovers() == []
    assert "dns" not in json.dumps(ran.certificate["stores"])


# external account binding from a program


def test_an_external_account_that_a_program_mints(make_lab: MakeLab) -> None:
    hmac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    lab = make_lab(eab={"kid-1": hmac})
    (lab.directory / "mint.py").write_text(
        f"import json, pathlib\npathlib.Path('minted').write_text('x')\n"
        f"print(json.dumps({{'key_id': 'kid-1', 'hmac_key': '{hmac}'}}))\n"
    )
    authority(lab)["external_account"] = {"command": [sys.executable, "mint.py"]}
    ran = lab.issue("--log-level", "debug")
    assert ran.status == 0, ran.stderr
    assert hmac not in ran.stdout + ran.stderr
    (lab.directory / "minted").unlink()
    assert lab.issue("--force").status == 0
    assert not (lab.directory / "minted").exists(), "a known account needs no binding"
