"""A cancelled job, with the runner's signals and their timing, at every phase: no record is left, and no process."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.action.job import Job, cancel, children_of, give
from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab
from tests.servers.proxy import Answer, LimitsProxy, Pass

pytestmark = [pytest.mark.servers, pytest.mark.timeout(100)]
NAME = f"_acme-challenge.www.{ZONE}"


class Stage:
    """A job that comes to one phase and stays there until the test lets it go."""

    def __init__(self, job: Job, lab: Lab, proxy: LimitsProxy) -> None:
        self.job, self.lab, self.proxy = job, lab, proxy
        self.arrived = threading.Event()
        self.freed = threading.Event()

    def start(self) -> subprocess.Popen[str]:
        give(self.job, self.lab)
        return self.job.start({})

    def hold(self, path: str) -> None:
        """The CA takes its time for this request."""

        def trouble(go: Pass) -> Answer:
            self.arrived.set()
            self.freed.wait(30)
            return go()

        self.proxy.plan(path, trouble)

    def until_told(self, process: subprocess.Popen[str], words: str) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if words in line:
                return
        raise AssertionError(f"the log never said {words}")


Phase = Callable[[Stage], "Iterator[None]"]


def installing(stage: Stage) -> Iterator[subprocess.Popen[str]]:
    process = stage.start()
    stage.until_told(process, "Prepare")
    yield process


def looking_for_the_zone(stage: Stage) -> Iterator[subprocess.Popen[str]]:
    stage.lab.bind.pause()
    process = stage.start()
    stage.until_told(process, "web: issuing")
    time.sleep(0.3)
    yield process
    stage.lab.bind.resume()


def ordering(stage: Stage) -> Iterator[subprocess.Popen[str]]:
    stage.hold("/order-plz")
    process = stage.start()
    assert stage.arrived.wait(30)
    yield process


def propagating(stage: Stage) -> Iterator[subprocess.Popen[str]]:
    stage.lab.config["resolver"]["nameservers"].append("127.0.0.1:9")
    stage.lab.config["dns"][0]["propagation_timeout"] = 60
    process = stage.start()
    stage.until_told(process, "published 1 TXT")
    yield process


def validating(stage: Stage) -> Iterator[subprocess.Popen[str]]:
    process = stage.start()
    stage.lab.pebble.wait_for_requests("/chalZ/", patience=60)
    yield process


def finalizing(stage: Stage) -> Iterator[subprocess.Popen[str]]:
    stage.hold("/finalize-order")
    process = stage.start()
    assert stage.arrived.wait(30)
    yield process


def storing(stage: Stage) -> Iterator[subprocess.Popen[str]]:
    """The store is being written to by somebody else."""
    with ExitStack() as stack:

        def trouble(go: Pass) -> Answer:
            lock = stage.job.workspace / "certs" / ".web.lock"
            lock.parent.mkdir(exist_ok=True)
            fcntl.flock(stack.enter_context(lock.open("w")), fcntl.LOCK_EX)
            stage.arrived.set()
            return go()

        stage.proxy.plan("/certZ", trouble)
        process = stage.start()
        assert stage.arrived.wait(30)
        stage.until_told(process, "issued a certificate")
        yield process


QUICK = (installing, looking_for_the_zone, ordering, propagating, finalizing, storing)


@pytest.mark.parametrize("phase", [*QUICK, validating], ids=lambda phase: phase.__name__)
def test_a_cancel_leaves_no_record_and_no_process(job: Job, make_lab: MakeLab, tmp_path: Path, phase: Phase) -> None:
    lab = make_lab(['_acme-challenge.www TXT "foreign"'], validation_delay=20 if phase is validating else 0)
    with LimitsProxy(tmp_path / "proxy", lab.pebble) as proxy:
        lab.config["authorities"]["pebble"] |= {"directory": proxy.directory_url, "ca_bundle": str(proxy.ca_bundle)}
        stage = Stage(job, lab, proxy)
        with contextmanager(phase)(stage) as process:
            begun = time.monotonic()
            ran = cancel(process)
            took = time.monotonic() - begun
        stage.freed.set()
        assert ran.status == 130, ran.log
        assert took < 7, "it was done before the second signal"
        assert children_of(process.pid) == []
        assert "Traceback" not in ran.log
        before = set(lab.bind.txt(NAME))
        assert phase is looking_for_the_zone or before == {"foreign"}, "nothing was left to the post step"
        ended = job.post()
        assert ended.status == 0, ended.log
        assert lab.bind.txt(NAME) == ["foreign"]
        assert list(job.temp.iterdir()) == []


def test_the_next_run_delivers_what_a_cancelled_one_had_issued(job: Job, lab: Lab, tmp_path: Path) -> None:
    with LimitsProxy(tmp_path / "proxy", lab.pebble) as proxy:
        lab.config["authorities"]["pebble"] |= {"directory": proxy.directory_url, "ca_bundle": str(proxy.ca_bundle)}
        with contextmanager(storing)(Stage(job, lab, proxy)) as process:
            assert cancel(process).status == 130
        job.post()
        assert job.main().status == 0
        assert lab.orders() == 1


def test_what_a_killed_step_left_the_post_step_removes(job: Job, make_lab: MakeLab) -> None:
    lab = make_lab(['_acme-challenge.www TXT "foreign"'], validation_delay=20)
    give(job, lab)
    process = job.start({})
    lab.pebble.wait_for_requests("/chalZ/", patience=60)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.communicate()
    assert len(lab.bind.txt(NAME)) == 2
    ran = job.post()
    assert ran.status == 0, ran.log
    assert lab.bind.txt(NAME) == ["foreign"]
    assert "::group::Clean up" in ran.log
