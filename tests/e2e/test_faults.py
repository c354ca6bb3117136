"""A CA that misbehaves on purpose: every way out has its exit status and fix, and the old certificate stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from ci_acme.sandbox.faults import Flaw
from tests.e2e.lab import ZONE, SandboxLab, check_store

pytestmark = pytest.mark.servers
NAMES = [f"www.{ZONE}"]
KINDS = ["directory", "newNonce", "newAccount", "newOrder", "authz", "challenge", "order", "finalize", "certificate"]


@pytest.fixture
def lab(sandbox_lab: SandboxLab) -> SandboxLab:
    return sandbox_lab


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_that_is_cut_before_or_after_the_work(lab: SandboxLab, kind: str) -> None:
    lab.ca.faults.cut_before(kind)
    lab.ca.faults.cut_after(kind)
    ran = lab.issue("--timeout", "40")
    assert ran.status == 0, ran.stderr
    check_store(lab.store, NAMES)
    assert lab.bind.leftovers() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_ca_that_is_out_of_order_twice(lab: SandboxLab, kind: str) -> None:
    lab.ca.faults.unavailable(kind, times=2)
    ran = lab.issue("--timeout", "40")
    assert ran.status == 0, ran.stderr
    assert lab.orders() == 1
    assert lab.bind.leftovers() == []


@pytest.mark.parametrize("kind", ["newOrder", "challenge", "finalize"])
def test_a_ca_that_stays_out_of_order(lab: SandboxLab, kind: str) -> None:
    assert lab.issue().status == 0
    serial = check_store(lab.store, NAMES).serial_number
    lab.ca.faults.unavailable(kind, times=None)
    ran = lab.issue("--force", "--timeout", "5")
    assert ran.status == 5
    assert ran.certificate["error"]["code"] in {"ca.unreachable", "ca.timeout"}
    assert ran.certificate["error"]["fix"]
    assert check_store(lab.store, NAMES).serial_number == serial
    assert lab.bind.leftovers() == []
    orders = lab.orders()
    lab.ca.faults.clear()
    assert lab.issue("--force").status == 0
    assert lab.orders() == orders + (kind == "newOrder")  # an order that there is already is gone on with


@pytest.mark.parametrize("kind", ["newOrder", "order", "certificate"])
def test_a_ca_that_hangs(lab: SandboxLab, kind: str) -> None:
    lab.ca.faults.hang(kind, times=None)
    ran = lab.issue("--timeout", "4")
    assert ran.status == 5
    assert lab.bind.leftovers() == []
    assert not lab.store.exists()


def test_a_long_rate_limit_is_exit_8_with_the_time(lab: SandboxLab) -> None:
    lab.ca.faults.rate_limit("newOrder", times=None, retry_after=7200)
    ran = lab.issue()
    assert ran.status == 8
    error = ran.certificate["error"]
    assert error["code"] == "ca.rate_limited"
    at = datetime.fromisoformat(error["details"]["retry_at"].replace("Z", "+00:00"))
    assert 7000 < (at - datetime.now(timezone.utc)).total_seconds() <= 7200
    assert error["details"]["retry_at"] in error["message"] + error["fix"]
    assert lab.orders() == 0


def test_a_short_rate_limit_is_waited_for(lab: SandboxLab) -> None:
    lab.ca.faults.rate_limit("newOrder", retry_after=1)
    assert lab.issue().status == 0


@pytest.mark.parametrize("flaw", list(Flaw))
def test_a_certificate_that_is_not_the_one_ordered_is_not_stored(lab: SandboxLab, flaw: Flaw) -> None:
    assert lab.issue().status == 0
    serial = check_store(lab.store, NAMES).serial_number
    lab.ca.faults.flaw = flaw
    ran = lab.issue("--force")
    assert ran.status == 5
    assert ran.certificate["error"]["code"] == "ca.certificate"
    assert check_store(lab.store, NAMES).serial_number == serial
    lab.ca.faults.flaw = None
    assert lab.issue("--force").status == 0
    assert check_store(lab.store, NAMES).serial_number != serial


def test_half_of_the_nonces_are_bad_and_finalize_takes_its_time(lab: SandboxLab) -> None:
    lab.ca.faults.bad_nonce_percent = 50
    lab.ca.faults.processing_seconds = 1
    lab.web["names"] = [f"h{number}.{ZONE}" for number in range(20)]
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert lab.orders() == 1


def test_a_challenge_that_fails_softly_is_answered_again(lab: SandboxLab) -> None:
    lab.ca.faults.pending_errors = 1
    ran = lab.issue("--timeout", "40")
    assert ran.status == 0, ran.stderr


def test_changed_terms_reach_a_human(lab: SandboxLab) -> None:
    assert lab.issue().status == 0
    lab.ca.faults.terms_changed = True
    ran = lab.issue("--force")
    assert ran.status == 2
    assert "https://" in json.dumps(ran.certificate["error"])


def test_a_born_ready_order_needs_no_dns(lab: SandboxLab) -> None:
    lab.ca.faults.authorizations_valid = True
    lab.bind.stop()
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert ran.certificate["requests"]["dns_changes"] == 0


def test_a_wait_says_what_it_waits_for_and_where(lab: SandboxLab) -> None:
    lab.ca.faults.validation_seconds = 6
    ran = lab.issue()
    assert ran.status == 0
    assert "waiting for" in ran.stderr
    assert lab.ca.directory_url.split("/")[2] in ran.stderr


def documents(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from documents(item)
    elif isinstance(value, list):
        for item in value:
            yield from documents(item)
    else:
        yield str(value)


def test_errors_hold_no_secret(lab: SandboxLab) -> None:
    lab.ca.faults.flaw = Flaw.OTHER_KEY
    ran = lab.issue("--log-level", "debug")
    secret = lab.environment()["TSIG_SECRET"]
    key = (lab.directory / ".ci-acme" / "account.pem").read_text().splitlines()[1]
    for text in [ran.stderr, *documents(ran.document)]:
        assert secret not in text
        assert key not in text
