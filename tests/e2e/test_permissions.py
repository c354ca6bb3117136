"""`permissions`: what it prints is enough, and no more than that."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.lab import ZONE, Lab
from tests.servers.bind import OTHER_KEY, Bind
from tests.servers.pebble import Pebble

pytestmark = pytest.mark.servers


def test_bind_issues_with_exactly_what_is_printed_and_one_name_more_is_refused(lab: Lab, tmp_path: Path) -> None:
    lab.web["names"] = [ZONE, f"*.{ZONE}", f"www.{ZONE}"]
    ran = lab.run("permissions", "--output", "json")
    assert ran.status == 0, ran.stderr
    grants = ran.document["grants"]
    (dns,) = [grant for grant in grants if grant["kind"] == "dns"]
    assert (dns["provider"], dns["subject"], dns["uses"]) == ("rfc2136", ZONE, ["web"])
    text = dns["documents"][0]["text"]
    assert text.count("grant ") == 2, "the wildcard shares the name of its base"
    rules = re.search(r"\{(.*)\}", text, re.DOTALL)
    assert rules is not None
    with (
        Bind(tmp_path / "strict", {ZONE: []}, policies={ZONE: rules[1]}) as bind,
        Pebble(tmp_path / "asks-strict", dns_server=bind.address) as pebble,
    ):
        strict = Lab(lab.directory, pebble, bind)
        strict.web["names"] = lab.web["names"]
        assert strict.issue().status == 0
        strict.web["names"] = [f"other.{ZONE}"]
        refused = strict.run("check", "--output", "json")
        assert refused.status == 9
        assert any("update-policy" in (line.get("fix") or "") for line in refused.document["findings"])


def test_caa_records_name_our_account(lab: Lab) -> None:
    lab.web["names"] = [f"www.{ZONE}"]
    before = lab.run("permissions")
    assert (
        f'{ZONE}. CAA 0 issue "pebble.letsencrypt.org; accounturi=ACCOUNT-URL; validationmethods=dns-01"'
        in before.stdout
    )
    assert f'{ZONE}. CAA 0 issuewild ";"' in before.stdout
    assert lab.issue().status == 0
    after = lab.run("permissions")
    account = re.search(r"accounturi=(\S+);", after.stdout)
    assert account is not None
    assert account[1].startswith("https://127.0.0.1")
    records = [line.split(" CAA ")[1] for line in after.stdout.splitlines() if " CAA 0 " in line]
    lab.bind.update(ZONE, add=[f"@ 60 CAA {record}" for record in records], key=OTHER_KEY)
    assert lab.issue("--force").status == 0, "the records permit us"
    other = [record.replace(account[1], account[1] + "0") for record in records if "accounturi" in record]
    lab.bind.update(ZONE, delete=[f"@ 60 CAA {record}" for record in records], key=OTHER_KEY)
    lab.bind.update(ZONE, add=[f"@ 60 CAA {one}" for one in other], key=OTHER_KEY)
    ran = lab.issue("--force")
    assert ran.status == 5
    assert ran.certificate["error"]["code"] == "ca.caa"


def test_offline_nobody_is_asked(lab: Lab) -> None:
    seen = lab.seen()
    lab.config["resolver"]["nameservers"] = ["127.0.0.1:9"]
    ran = lab.run("permissions", "--offline")
    assert ran.status == 0, ran.stderr
    assert f"name _acme-challenge.www.{ZONE}. TXT" in ran.stdout
    assert "store file file:certs/web" in ran.stdout
    assert lab.seen() == seen
