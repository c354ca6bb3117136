"""CAA: a refusal that can be foreseen costs no order, names the record, and says what to publish."""

from __future__ import annotations

import re
import signal
from typing import Any

import pytest

from ci_acme import dnswire
from ci_acme.dns.question import Server
from tests.dns.servers import Stub, forward, refuse
from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, check_store
from tests.servers.bind import OTHER_KEY

pytestmark = pytest.mark.servers
NAMES = [f"www.{ZONE}"]
US = "pebble.letsencrypt.org"


def publish(lab: Lab, *records: str) -> None:
    lab.bind.update(ZONE, add=records, key=OTHER_KEY)


def withdraw(lab: Lab, *records: str) -> None:
    lab.bind.update(ZONE, delete=records, key=OTHER_KEY)


def account(lab: Lab) -> str:
    """The URL of the account, which a first run has registered."""
    (url,) = re.findall(r"registered the account (https://\S+)", lab.issue().stderr)
    return str(url)


def caa_lines(lab: Lab) -> list[dict[str, Any]]:
    return [one for one in lab.run("check", "--output", "json").document["findings"] if one["area"] == "caa"]


def test_forbidden_costs_no_order_and_leaves_the_old_certificate(lab: Lab) -> None:
    url = account(lab)
    old = check_store(lab.store, NAMES)
    orders = lab.orders()
    publish(lab, '@ 60 CAA 0 issue "ca.example"')
    ran = lab.issue("--force")
    assert ran.status == 5
    error = ran.certificate["error"]
    assert error["code"] == "ca.caa"
    assert f'{ZONE} CAA 0 issue "ca.example"' in error["message"]
    assert f"www.{ZONE}" in error["message"]
    assert f'{ZONE}: CAA 0 issue "{US}; accounturi={url}; validationmethods=dns-01"' in error["fix"]
    assert lab.orders() == orders
    assert check_store(lab.store, NAMES) == old
    assert lab.bind.leftovers() == []
    assert lab.issue().certificate["action"] == "kept"


def test_the_record_that_a_refusal_tells_to_publish_permits(lab: Lab) -> None:
    publish(lab, '@ 60 CAA 0 issue ";"')
    error = lab.issue().certificate["error"]
    assert error["code"] == "ca.caa"
    (told,) = re.findall(r": CAA (.*)$", error["fix"])
    publish(lab, f"@ 60 CAA {told}")
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert f"{ZONE} CAA {told} permits it" in ran.stderr
    (line,) = caa_lines(lab)
    assert line["level"] == "ok"


def test_another_account_and_another_method_are_refused(lab: Lab) -> None:
    url = account(lab)
    orders = lab.orders()
    for parameters, reason in [
        (f"accounturi={url}0", f"binds the CA to the account {url}0, and this run uses {url}"),
        ("validationmethods=http-01,tls-alpn-01", "permits the validation methods http-01, tls-alpn-01 only"),
    ]:
        record = f'www 60 CAA 0 issue "{US}; {parameters}"'
        publish(lab, record)
        error = lab.issue("--force").certificate["error"]
        assert error["code"] == "ca.caa"
        assert reason in error["message"]
        (line,) = caa_lines(lab)
        assert (line["level"], line["code"]) == ("error", "ca.caa")
        assert reason in line["message"]
        withdraw(lab, record)
    assert lab.orders() == orders


def test_only_the_wildcard_is_forbidden(make_lab: MakeLab) -> None:
    lab = make_lab([f'@ CAA 0 issue "{US}"', '@ CAA 0 issuewild ";"'])
    lab.web["names"] = [ZONE, f"*.{ZONE}"]
    ran = lab.issue()
    assert ran.status == 5
    assert f"may not issue for *.{ZONE}: " in ran.certificate["error"]["message"]
    assert "CAA 0 issuewild" in ran.certificate["error"]["fix"]
    assert lab.orders() == 0
    lines = {line["level"]: line for line in caa_lines(lab)}
    assert lines["ok"]["subject"] == f"{ZONE} at pebble"
    assert lines["error"]["subject"] == f"*.{ZONE} at pebble"
    lab.web["names"] = [ZONE]
    assert lab.issue().status == 0


def test_check_before_there_is_an_account(make_lab: MakeLab) -> None:
    lab = make_lab([f'@ CAA 0 issue "{US}; accounturi=https://ca.example/acct/1"'])
    ran = lab.run("check")
    assert ran.status == 9
    assert "this run would register a new one" in ran.stdout
    assert {path for _, path in lab.pebble.requests()} == {"/dir"}


def test_no_records_are_no_news(lab: Lab) -> None:
    ran = lab.issue()
    assert ran.status == 0
    assert "CAA" not in ran.stderr
    (line,) = caa_lines(lab)
    assert (line["level"], line["message"]) == ("ok", "no CAA record restricts who may issue")


def test_an_order_under_way_is_gone_on_with_whatever_caa_says_now(make_lab: MakeLab) -> None:
    """The CA looks at CAA when it validates, and that has happened."""
    lab = make_lab(retry_after=(0, 2))
    process = lab.start("issue", "--output", "json")
    lab.pebble.wait_for_requests("/finalize-order/")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    publish(lab, '@ 60 CAA 0 issue ";"')
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert lab.orders() == 1
    check_store(lab.store, NAMES)


def test_name_servers_that_fail_for_caa_cost_no_order(lab: Lab) -> None:
    bind = Server(lab.bind.host, lab.bind.port)
    stub = Stub(lambda wire, tcp: refuse(wire, dnswire.SERVFAIL, dnswire.CAA) or forward(wire, bind))
    try:
        lab.config["resolver"]["nameservers"] = [f"{stub.address}:{stub.port}"]
        ran = lab.issue()
        (line,) = caa_lines(lab)
    finally:
        stub.stop()
    assert ran.status == 4
    error = ran.certificate["error"]
    assert error["code"] == line["code"] == "dns.caa"
    assert f"{stub.address}:{stub.port} answers SERVFAIL" in error["message"]
    assert f"www.{ZONE}" in error["message"]
    assert lab.orders() == 0
