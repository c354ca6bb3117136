"""What a killed run has left in the DNS, where another run needs it, or ran on another machine."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ci_acme.clock import SystemClock
from ci_acme.state.engine import ANY, Engine, open_state
from ci_acme.state.leases import TTL
from tests.e2e.conftest import proxied
from tests.e2e.lab import ZONE, Lab, Ran, check_store, finish
from tests.servers.proxy import Answer, Cut, LimitsProxy, Pass

pytestmark = pytest.mark.servers


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with proxied(tmp_path) as lab:
        yield lab


@pytest.fixture
def proxy(lab: Lab) -> LimitsProxy:
    return lab.pebble  # type: ignore[return-value] - see `proxied`


def kill_at_its_answer(lab: Lab, proxy: LimitsProxy) -> None:
    """A run that dies with its record in place, before the CA hears that it is."""
    started: list[subprocess.Popen[str]] = []
    begun = threading.Event()

    def kill(go: Pass) -> Answer:
        assert begun.wait(10)
        started[0].kill()
        raise Cut

    proxy.plan("/chalZ", kill)
    started.append(lab.start("issue"))
    begun.set()
    assert finish(started[0]).status < 0
    assert lab.bind.leftovers()


@pytest.mark.parametrize("command", ["cleanup", "retire", "issue"])
def test_nobody_removes_what_the_next_run_needs_again(lab: Lab, proxy: LimitsProxy, command: str) -> None:
    """It goes on with the order of the run that was killed, and so with its value; meanwhile others clean up."""
    kill_at_its_answer(lab, proxy)
    meanwhile: list[Ran] = []
    api = {"names": [f"api.{ZONE}"], "stores": [{"provider": "file", "directory": "certs"}]}

    def clean(go: Pass) -> Answer:
        lab.config["certificates"] = {"web": lab.web, "api": api}
        meanwhile.append(lab.run(command, *([] if command == "cleanup" else ["api"])))
        return go()

    proxy.plan("/chalZ", clean)
    ran = lab.issue("web")
    assert ran.status == 0, ran.stderr
    assert [one.status for one in meanwhile] == [0], meanwhile
    assert "went on with the order" in ran.stderr
    check_store(lab.store, [f"www.{ZONE}"])
    assert lab.orders() == 1 + (command == "issue")
    assert lab.bind.leftovers() == []
    assert json.loads(lab.run("cleanup", "--output", "json").stdout)["records"] == []


def elsewhere(engine: Engine, silent_for: float) -> None:
    """The run that has left its records ran on another machine, and was last heard of then."""
    (key,) = engine.list("run/")
    entry = engine.read(key)
    assert entry is not None
    document = json.loads(entry.value)
    document["process"] = {"host": "elsewhere", "pid": 1}
    document["silent"] = engine.time() + TTL - silent_for
    assert document["until"] > engine.time() + 600
    engine.write(key, json.dumps(document).encode(), expect=ANY)


def test_a_run_that_was_killed_on_another_machine_is_cleaned_up_after_once_it_is_silent(
    lab: Lab, proxy: LimitsProxy
) -> None:
    kill_at_its_answer(lab, proxy)
    with closing(open_state(f"sqlite:{lab.directory}/.ci-acme/state.db", clock=SystemClock())) as engine:
        elsewhere(engine, silent_for=TTL / 2)
        ran = lab.run("cleanup")
        assert ran.status == 0
        assert "1 challenge record(s) of runs that are at work" in ran.stderr
        assert lab.bind.leftovers(), "it may be at work there"
        elsewhere(engine, silent_for=TTL + 1)
    ran = lab.run("cleanup")
    assert ran.status == 0
    assert f"removed _acme-challenge.www.{ZONE}" in ran.stdout
    assert lab.bind.leftovers() == []


def test_a_run_says_again_that_it_is_there(lab: Lab, proxy: LimitsProxy) -> None:
    """Others, on other machines, would take its records for leftovers."""
    goes_on = threading.Event()

    def wait(go: Pass) -> Answer:
        assert goes_on.wait(60)
        return go()

    proxy.plan("/chalZ", wait)
    process = lab.start("issue")
    try:
        lab.bind.wait_for_txt(f"_acme-challenge.www.{ZONE}")
        with closing(open_state(f"sqlite:{lab.directory}/.ci-acme/state.db", clock=SystemClock())) as engine:
            (key,) = engine.list("run/")
            first = engine.read(key)
            assert first is not None
            deadline = time.monotonic() + TTL / 2 + 3
            while (entry := engine.read(key)) == first:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert entry is not None
            assert json.loads(entry.value)["silent"] > json.loads(first.value)["silent"]
    finally:
        goes_on.set()
    assert finish(process).status == 0
