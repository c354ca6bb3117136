"""What a busy public CA does to its clients, between the product and Pebble."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tests.e2e.conftest import proxied
from tests.e2e.lab import ZONE, Lab, check_store
from tests.servers.proxy import LimitsProxy, Trouble, cut, down, overloaded, processing, rate_limited, slow

pytestmark = pytest.mark.servers
NAMES = [f"www.{ZONE}"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with proxied(tmp_path, authz_reuse=100) as lab:
        yield lab


@pytest.fixture
def proxy(lab: Lab) -> LimitsProxy:
    return lab.pebble  # type: ignore[return-value] - see `proxied`


def seconds_until(moment: str) -> float:
    return (datetime.fromisoformat(moment.replace("Z", "+00:00")) - datetime.now(timezone.utc)).total_seconds()


@pytest.mark.parametrize("form", ["seconds", "date", "none"])
@pytest.mark.parametrize("path", ["/order-plz", "/finalize-order"])
def test_a_limit_that_lasts_is_exit_8_with_the_time_however_it_is_said(
    lab: Lab, proxy: LimitsProxy, path: str, form: str
) -> None:
    proxy.plan(path, rate_limited(5400, form=form))
    ran = lab.issue()
    assert ran.status == 8, ran.stderr
    error = ran.certificate["error"]
    assert error["code"] == "ca.rate_limited"
    assert 5300 < seconds_until(error["details"]["retry_at"]) <= 5400
    assert error["details"]["retry_at"] in error["fix"]
    assert error["details"]["retry_at"] in error["message"]
    assert "letsencrypt.org/docs/rate-limits" in error["message"]
    assert [seen for seen in proxy.seen if seen[0] == path] == [(path, 429)]
    assert lab.bind.leftovers() == []


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_limit_on_nonces_has_only_its_header(lab: Lab, proxy: LimitsProxy, form: str) -> None:
    """The answer to a HEAD has no text."""
    proxy.plan("/nonce-plz", rate_limited(5400, form=form))
    ran = lab.issue()
    assert ran.status == 8, ran.stderr
    assert 5300 < seconds_until(ran.certificate["error"]["details"]["retry_at"]) <= 5400


def test_a_limit_that_ends_soon_is_sat_out(lab: Lab, proxy: LimitsProxy) -> None:
    proxy.plan("/order-plz", rate_limited(2, form="date"))
    begun = time.monotonic()
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert time.monotonic() - begun > 1
    assert "trying again" in ran.stderr


def test_an_overload_is_outlasted(lab: Lab, proxy: LimitsProxy) -> None:
    for path in ("/dir", "/nonce-plz", "/sign-me-up", "/order-plz", "/authZ", "/chalZ", "/my-order", "/certZ"):
        proxy.plan(path, overloaded(1) if path in {"/dir", "/certZ"} else down())
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    check_store(lab.store, NAMES)
    assert proxy.pebble.request_counts()["/order-plz"] == 1


def test_an_overload_that_lasts_is_exit_8_or_5_and_says_when(lab: Lab, proxy: LimitsProxy) -> None:
    proxy.plan("/order-plz", overloaded(600), 20)
    ran = lab.issue()
    assert ran.status in {5, 8}, ran.stderr
    assert 500 < seconds_until(ran.certificate["error"]["details"]["retry_at"]) <= 600
    assert [path for path, _ in proxy.seen].count("/order-plz") == 1


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("path", ["/order-plz", "/chalZ", "/finalize-order", "/certZ"])
def test_a_cut_connection_costs_no_second_certificate(lab: Lab, proxy: LimitsProxy, path: str, done: bool) -> None:
    proxy.plan(path, cut(done=done))
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    leaf = check_store(lab.store, NAMES)
    assert proxy.pebble.certificate_status(leaf.serial_number)["Status"] == "Valid"
    assert proxy.pebble.log().count("Issued certificate serial") == 1
    assert lab.bind.leftovers() == []


@pytest.mark.parametrize("form", ["seconds", "date", "none"])
def test_an_order_that_is_processed_for_a_while(lab: Lab, proxy: LimitsProxy, form: str) -> None:
    proxy.plan("/finalize-order", processing(2, form=form))
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    check_store(lab.store, NAMES)
    polls = [path for path, _ in proxy.seen].count("/my-order")
    assert polls <= 4


def test_a_slow_ca_is_waited_for_within_the_deadline(lab: Lab, proxy: LimitsProxy) -> None:
    for path in ("/dir", "/order-plz", "/finalize-order", "/certZ"):
        proxy.plan(path, slow(1))
    assert lab.issue().status == 0
    proxy.plan("/order-plz", slow(30))
    begun = time.monotonic()
    assert lab.issue("--force", "--timeout", "3").status == 5
    assert time.monotonic() - begun < 25


def test_a_pre_approved_order_needs_no_name_server(lab: Lab, proxy: LimitsProxy) -> None:
    assert lab.issue().status == 0
    lab.bind.stop()
    ran = lab.issue("--force")
    assert ran.status == 0, ran.stderr
    assert ran.certificate["requests"]["dns_changes"] == 0


def test_renewal_information_that_fails_is_not_asked_for_by_every_run(lab: Lab, proxy: LimitsProxy) -> None:
    path = "/draft-ietf-acme-ari-03"
    proxy.plan(path, down(), 50)
    assert lab.issue().status == 0
    requests = []
    for _ in range(3):
        ran = lab.issue()
        assert (ran.status, ran.certificate["action"]) == (0, "kept"), ran.stderr
        requests.append(ran.certificate["requests"]["acme"])
    assert requests == [2, 0, 0]  # once more after an outage, and not before its time
    assert [seen for seen, _ in proxy.seen].count(path) == 2


def trouble_everywhere(number: int) -> Trouble:
    return [cut(done=True), down(), cut(done=False), overloaded(1)][number % 4]


def test_trouble_at_every_step_of_one_run(lab: Lab, proxy: LimitsProxy) -> None:
    steps = [
        "/dir",
        "/nonce-plz",
        "/sign-me-up",
        "/order-plz",
        "/authZ",
        "/chalZ",
        "/my-order",
        "/finalize-order",
        "/certZ",
    ]
    for number, path in enumerate(steps):
        proxy.plan(path, trouble_everywhere(number))
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    check_store(lab.store, NAMES)
    assert lab.bind.leftovers() == []
