"""A machine whose clock is wrong: nothing is ordered that it would not believe afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.e2e.lab import Lab, Ran, check_store, finish

pytestmark = pytest.mark.servers
PROGRAM = """
import datetime, sys
from ci_acme.cli import main
from ci_acme.clock import SystemClock
real = SystemClock.now
SystemClock.now = lambda clock: real(clock) + datetime.timedelta(seconds=AHEAD)
sys.exit(main())
"""
TWO_HOURS = 7200


def run_ahead(lab: Lab, seconds: int, *arguments: str) -> Ran:
    """The product on a machine whose clock is this far ahead."""
    lab.write()
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM.replace("AHEAD", str(seconds)), *arguments],
        cwd=lab.directory,
        env=lab.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return finish(process)


@pytest.mark.parametrize("seconds", [TWO_HOURS, -TWO_HOURS])
def test_two_hours_off_is_an_error_before_the_order(lab: Lab, seconds: int) -> None:
    ran = run_ahead(lab, seconds, "issue", "--output", "json")
    assert ran.status == 2
    error = ran.certificate["error"]
    assert error["code"] == "host.clock"
    assert abs(error["details"]["seconds"] - seconds) < 60
    assert lab.orders() == 0
    assert lab.issue().status == 0
    assert lab.orders() == 1


@pytest.mark.parametrize("seconds", [TWO_HOURS, -TWO_HOURS])
def test_two_hours_off_keeps_a_certificate(lab: Lab, seconds: int) -> None:
    assert lab.issue().status == 0
    serial = check_store(lab.store, lab.web["names"]).serial_number
    ran = run_ahead(lab, seconds, "issue", "--output", "json")
    assert (ran.status, ran.certificate["action"]) == (0, "kept")
    assert check_store(lab.store, lab.web["names"]).serial_number == serial
    assert lab.orders() == 1


def test_two_hours_off_loses_no_order_of_a_killed_run(lab: Lab) -> None:
    process = lab.start("issue")
    lab.pebble.wait_for_requests("/finalize-order/")
    process.kill()
    process.communicate()
    for seconds in (TWO_HOURS, -TWO_HOURS):
        assert run_ahead(lab, seconds, "issue", "--output", "json").status in {0, 2}
    assert lab.issue().status == 0
    check_store(lab.store, lab.web["names"])
    assert lab.orders() == 1


def test_some_minutes_off_is_a_warning(lab: Lab) -> None:
    ran = run_ahead(lab, 200, "issue")
    assert ran.status == 0, ran.stderr
    assert "clock is" in ran.stderr
