"""How long it takes to stop: with much under way, with servers that hang, with state that somebody else holds."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import replace

import pytest

from ci_acme.clock import SystemClock
from ci_acme.state.engine import open_state
from ci_acme.state.orders import Orders
from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, Ran, finish

pytestmark = pytest.mark.servers
AIM = 7.0
"""Seconds that CI systems give; on a loaded machine it may be twice as much."""


def stop(process: subprocess.Popen[str], number: signal.Signals) -> Ran:
    """Send it as often as an impatient user does."""
    begun = time.monotonic()
    for _ in range(3):
        process.send_signal(number)
        time.sleep(0.1)
    ran = finish(process, timeout=60)
    seconds = time.monotonic() - begun
    assert seconds < 2 * AIM, ran.stderr
    return ran


def many(lab: Lab) -> None:
    """Twenty certificates in one zone."""
    store = lab.web["stores"]
    lab.config["certificates"] = {
        f"c{number}": {"names": [f"c{number}.{ZONE}", f"*.c{number}.{ZONE}"], "stores": store} for number in range(20)
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_twenty_certificates_are_let_go_of_at_once(make_lab: MakeLab, number: signal.Signals) -> None:
    lab = make_lab(validation_delay=30)
    many(lab)
    process = lab.start("issue", "--output", "json")
    lab.pebble.wait_for_requests("/chalZ/", 8)
    ran = stop(process, number)
    assert ran.status == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert len(ran.document["certificates"]) == 20
    assert {one["error"]["code"] for one in ran.document["certificates"]} <= {"run.interrupted", "run.terminated"}
    assert lab.bind.leftovers() == []
    assert lab.run("cleanup", "--output", "json").document["records"] == []


def test_a_name_server_that_hangs_is_not_waited_for(make_lab: MakeLab) -> None:
    lab = make_lab(validation_delay=30)
    many(lab)
    process = lab.start("issue", "--output", "json")
    lab.pebble.wait_for_requests("/chalZ/", 8)
    lab.bind.pause()
    ran = stop(process, signal.SIGTERM)
    lab.bind.resume()
    assert ran.status == 143
    assert len(ran.document["certificates"]) == 20
    assert "left in example.test" in ran.stderr
    assert lab.run("cleanup").status == 0
    assert lab.bind.leftovers() == []


def test_a_ca_that_hangs_is_not_waited_for(lab: Lab) -> None:
    nameservers = lab.config["resolver"]["nameservers"]
    lab.config["resolver"]["nameservers"] = [*nameservers, "127.0.0.1:9"]  # so that no validation has begun
    lab.config["dns"][0]["propagation_timeout"] = 60
    process = lab.start("issue", "--output", "json")
    lab.bind.wait_for_txt(f"_acme-challenge.www.{ZONE}")
    lab.pebble.pause()
    ran = stop(process, signal.SIGINT)
    lab.pebble.resume()
    assert ran.status == 130
    assert lab.bind.leftovers() == []
    lab.config["resolver"]["nameservers"] = nameservers
    assert lab.issue().status == 0
    assert lab.orders() == 1  # it could not be given up, and is gone on with


def test_a_busy_state_is_not_waited_for(lab: Lab) -> None:
    assert lab.issue().status == 0
    with closing(sqlite3.connect(lab.directory / ".ci-acme" / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process = lab.start("issue", "--force", "--output", "json")
        time.sleep(1.5)
        ran = stop(process, signal.SIGTERM)
        other.execute("ROLLBACK")
    assert ran.status == 143
    assert ran.certificate["error"]["code"] == "run.terminated"


@pytest.mark.parametrize("command", ["issue", "cleanup"])
def test_an_order_that_nobody_wants_any_more_is_ended(make_lab: MakeLab, command: str) -> None:
    """A run was killed, then the names changed: an hour later the next run ends what is pending at the CA."""
    lab = make_lab(validation_delay=3)
    process = lab.start("issue")
    lab.pebble.wait_for_requests("/chalZ/")
    process.kill()
    process.communicate()
    lab.web["names"] = [f"other.{ZONE}"]
    with closing(open_state(f"sqlite:{lab.directory}/.ci-acme/state.db", clock=SystemClock())) as engine:
        orders = Orders(engine)
        (left,) = orders.all()
        lab.run("cleanup")
        assert orders.all() == [left], "for an hour, another environment may go on with it"
        orders.keep(replace(left, made=left.made - 4000))
        before = lab.pebble.request_counts()["/authZ/"]
        assert lab.run(command).status == 0
        assert left.order not in [one.order for one in orders.all()]
    if command == "cleanup":  # at the end of `issue` the CA has found no record, and ended it by itself
        assert lab.pebble.request_counts()["/authZ/"] >= before + 1, "a look: the CA ends it by itself"


def test_an_interrupted_order_is_given_up(lab: Lab) -> None:
    """No authorization stays pending: it would count for the account's limit for days."""
    lab.config["resolver"]["nameservers"].append("127.0.0.1:9")
    lab.config["dns"][0]["propagation_timeout"] = 60
    process = lab.start("issue", "--output", "json", "--log-level", "debug")
    lab.bind.wait_for_txt(f"_acme-challenge.www.{ZONE}")
    before = lab.pebble.request_counts()["/authZ/"]
    ran = stop(process, signal.SIGINT)
    assert ran.status == 130
    assert lab.pebble.request_counts()["/authZ/"] == before + 2  # a look, and the end
    assert lab.bind.leftovers() == []


def test_an_order_that_the_ca_validates_when_it_is_interrupted_is_left_to_end(make_lab: MakeLab) -> None:
    """Pebble would never answer again if it were told then that the authorization is given up."""
    lab = make_lab(validation_delay=3)
    process = lab.start("issue", "--output", "json")
    lab.pebble.wait_for_requests("/chalZ/")
    before = lab.pebble.request_counts()["/authZ/"]
    ran = stop(process, signal.SIGTERM)
    assert ran.status == 143
    assert lab.pebble.request_counts()["/authZ/"] == before + 1  # a look
    assert lab.bind.leftovers() == []
    assert lab.issue().status == 0
