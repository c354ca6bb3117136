"""The bench measures what it says it measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.laboratory import Latency, Seen, laboratory
from bench.measure import Cost, run
from bench.peers import ROOT
from bench.report import cells
from bench.scenarios import Run
from tests.servers.process import listens

pytestmark = pytest.mark.servers


def measured(*command: str, tmp_path: Path, timeout: float = 20) -> Cost:
    environment = {"PATH": os.environ["PATH"]}
    return run(command, environment=environment, cwd=tmp_path, log=tmp_path / "log", timeout=timeout)


def test_a_cost_is_that_of_the_command(tmp_path: Path) -> None:
    idle = measured("sleep", "0.3", tmp_path=tmp_path)
    assert idle.status == 0
    assert idle.wall >= 0.3
    assert idle.cpu < idle.wall
    busy = measured(sys.executable, "-c", "x = bytearray(120_000_000); sum(range(3_000_000))", tmp_path=tmp_path)
    assert busy.cpu > idle.cpu
    assert 110 < busy.rss_mb < 250
    assert idle.rss_mb < 40, "the memory is the command's and not the bench's own"


def test_children_count_and_failures_are_seen(tmp_path: Path) -> None:
    parent = measured("sh", "-c", f"{sys.executable} -c 'sum(range(5_000_000))'; exit 3", tmp_path=tmp_path)
    assert parent.status == 3
    assert parent.cpu > 0.03
    late = measured("sh", "-c", "sleep 60 & wait", tmp_path=tmp_path, timeout=0.3)
    assert late.timed_out
    assert late.wall < 10


def test_the_proxy_costs_round_trips(tmp_path: Path) -> None:
    with (
        laboratory(tmp_path, latency=0, validation=0, dns_port=None) as lab,
        Latency(tmp_path / "proxy", lab.pebble.management_port, 100) as proxy,
    ):
        import ssl
        import urllib.request

        context = ssl.create_default_context(cafile=str(lab.pebble.ca_bundle))
        started = time.perf_counter()
        with urllib.request.urlopen(f"https://127.0.0.1:{proxy.port}/roots/0", context=context, timeout=10) as response:
            assert b"CERTIFICATE" in response.read()
        assert time.perf_counter() - started >= 0.3, "connection, TLS handshake, request"
        assert listens("127.0.0.1", proxy.port)
        assert lab.seen().since(lab.seen()) == Seen(0, 0)


def test_the_raw_client_makes_the_minimum_of_requests(tmp_path: Path) -> None:
    options = [
        "--peer",
        "raw",
        "--scenario",
        "one",
        "--scenario",
        "ten",
        "--repetitions",
        "1",
        "--output",
        str(tmp_path),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "| raw |" in done.stdout
    runs = json.loads(next(tmp_path.glob("*.json")).read_text())["runs"]
    assert [run["problem"] for run in runs] == ["", ""]
    for found, names in zip(runs, (1, 10), strict=True):
        assert found["updates"] == 2
        assert 2 * names + 8 <= found["acme"] <= 2 * names + 11, (
            "one poll of the order each, or a few if the CA is slow"
        )


def test_a_failed_run_is_no_measurement() -> None:
    good = [Run("one", "x", wall, 0.1, 20, 10, 2) for wall in (1.0, 3.0, 2.0)]
    bad = Run("one", "x", 0.001, 0.0, 1, 0, 0, "exit status 5")
    cell = cells([*good, bad])["one", "x"]
    assert (cell.wall, cell.problems) == (2.0, ["exit status 5"])
