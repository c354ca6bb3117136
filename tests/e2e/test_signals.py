"""Ctrl-C, a cancelled job and a killed process, at several moments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, check_store, finish

pytestmark = pytest.mark.servers
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def at_the_order(lab: Lab, before: Counter[str]) -> None:
    lab.pebble.wait_for_requests("/order-plz", before["/order-plz"] + 1)


def at_an_authorization(lab: Lab, before: Counter[str]) -> None:
    lab.pebble.wait_for_requests("/authZ/", before["/authZ/"] + 1)


def with_the_record_in_place(lab: Lab, before: Counter[str]) -> None:
    with suppress(TimeoutError):  # Pebble may validate at once, and the record be gone before anybody looks
        lab.bind.wait_for_txt(f"_acme-challenge.www.{ZONE}", 10)


def while_the_ca_validates(lab: Lab, before: Counter[str]) -> None:
    lab.pebble.wait_for_requests("/chalZ/", before["/chalZ/"] + 1)
    time.sleep(0.3)


Moment = Callable[[Lab, Counter[str]], None]
MOMENTS: list[Moment] = [
    at_the_order,
    at_an_authorization,
    with_the_record_in_place,
    while_the_ca_validates,
]


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_leaves_no_record(make_lab: MakeLab, moment: Moment, number: signal.Signals) -> None:
    lab = make_lab(validation_delay=4)
    names, lab.web["names"] = lab.web["names"], [f"old.{ZONE}"]  # others: Pebble may reuse an authorization
    assert lab.issue().status == 0
    before = check_store(lab.store, [f"old.{ZONE}"]).serial_number
    lab.web["names"] = names
    seen = lab.pebble.request_counts()
    process = lab.start("issue", "--force", "--output", "json")
    moment(lab, seen)
    process.send_signal(number)
    process.send_signal(number)
    ran = finish(process, timeout=20)
    if ran.status == 0:  # it was done before the signal came
        assert moment in {with_the_record_in_place, while_the_ca_validates}
    else:
        assert ran.status == STATUS[number], ran.stderr
        assert ran.certificate["action"] == "failed"
        assert check_store(lab.store, [f"old.{ZONE}"]).serial_number == before
    assert lab.bind.leftovers() == []


def test_a_run_that_nobody_reads_goes_on(lab: Lab) -> None:
    """`ci-acme issue 2>&1 | head -1`: the order is spent already, so the certificate is stored."""
    process = lab.start("issue")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.readline()
    process.stderr.close()
    assert process.wait(60) == 0
    check_store(lab.store, [f"www.{ZONE}"])
    assert (lab.orders(), lab.bind.leftovers()) == (1, [])


def test_what_nohup_starts_outlives_its_terminal(make_lab: MakeLab) -> None:
    lab = make_lab(validation_delay=2)
    lab.write()
    command = ["nohup", sys.executable, "-P", "-m", "ci_acme", "issue"]
    process = subprocess.Popen(
        command,
        cwd=lab.directory,
        env=lab.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    at_the_order(lab, Counter())
    process.send_signal(signal.SIGHUP)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert lab.bind.leftovers() == []


def test_a_terminal_that_is_closed_ends_a_run_in_order(lab: Lab) -> None:
    lab.config["resolver"]["nameservers"].append("127.0.0.1:9")  # it waits for this one to have the record
    lab.config["dns"][0]["propagation_timeout"] = 60
    ours = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # what nohup starts ignores it: these tests, perhaps
    try:
        process = lab.start("issue")
    finally:
        signal.signal(signal.SIGHUP, ours)
    lab.bind.wait_for_txt(f"_acme-challenge.www.{ZONE}")
    process.send_signal(signal.SIGHUP)
    assert finish(process, timeout=30).status == 143
    assert lab.bind.leftovers() == []


def test_a_signal_during_a_propagation_wait_ends_it_at_once(lab: Lab) -> None:
    lab.config["resolver"]["nameservers"].append("127.0.0.1:9")
    lab.config["dns"][0]["propagation_timeout"] = 60
    process = lab.start("issue")
    lab.bind.wait_for_txt(f"_acme-challenge.www.{ZONE}")
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    ran = finish(process, timeout=20)
    assert ran.status in {143, 0}
    assert time.monotonic() - begun < 10
    assert lab.bind.leftovers() == []


def test_a_killed_run_is_gone_on_with(make_lab: MakeLab) -> None:
    """SIGKILL while the CA works on finalize: the next run delivers the certificate of the same order."""
    lab = make_lab()
    killed = 0
    for handler in ("/finalize-order/", "/certZ/"):
        process = lab.start("issue", "--force")
        count = lab.pebble.request_counts()[handler] + 1
        lab.pebble.wait_for_requests(handler, count)
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        ran = lab.issue()
        assert ran.status == 0, ran.stderr
        check_store(lab.store, [f"www.{ZONE}"])
        assert lab.run("cleanup").status == 0
        assert lab.bind.leftovers() == []
    assert lab.orders() == 2
    assert killed


def test_a_killed_run_leaves_a_record_that_cleanup_removes(make_lab: MakeLab) -> None:
    lab = make_lab(['_acme-challenge.www TXT "foreign"'], validation_delay=10)
    process = lab.start("issue")
    lab.pebble.wait_for_requests("/chalZ/")
    process.kill()
    process.communicate()
    assert len(lab.bind.txt(f"_acme-challenge.www.{ZONE}")) == 2
    ran = lab.run("cleanup", "--output", "json")
    assert ran.status == 0, ran.stderr
    assert lab.bind.txt(f"_acme-challenge.www.{ZONE}") == ["foreign"]
    assert lab.run("cleanup").status == 0


def test_ctrl_c_in_the_first_moment_is_quiet(lab: Lab) -> None:
    for delay in (0.02, 0.1, 0.2):
        process = lab.start("issue")
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        try:
            _, stderr = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert f"{os.sep}ci_acme{os.sep}" not in stderr
        if "Traceback" not in stderr:  # else the interpreter was still starting and had not come to us
            assert process.returncode in {0, 130, -signal.SIGINT}
    assert lab.bind.leftovers() == []
