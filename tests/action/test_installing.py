"""How the action comes to its packages: each rung of the ladder, behind a mirror, and only what is needed."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from tests.action.forward import ForwardProxy
from tests.action.job import ROOT, Job, cancel, children_of, give
from tests.action.mirror import Mirror
from tests.action.portable_python import listing, pack
from tests.e2e.lab import Lab

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


def installed(job: Job) -> set[str]:
    """The packages in the environment that the step has made."""
    (environment,) = job.temp.glob("ci-acme-*/environment")
    return {path.name.split("-")[0].lower() for path in environment.rglob("*.dist-info")}


def size(job: Job) -> int:
    """Bytes on the disk of the environment."""
    (environment,) = job.temp.glob("ci-acme-*/environment")
    return sum(path.lstat().st_blocks * 512 for path in environment.rglob("*"))


def python_alone(tmp_path: Path) -> str:
    """A PATH with a Python and nothing else."""
    path = tmp_path / "bin"
    path.mkdir()
    (path / "python3").symlink_to(os.path.realpath("/proc/self/exe"))
    return str(path)


def test_behind_a_mirror_with_a_uv_that_is_fetched(job: Job, lab: Lab, tmp_path: Path) -> None:
    give(job, lab)
    job.path = python_alone(tmp_path)
    with Mirror() as mirror:
        job.variables["PIP_INDEX_URL"] = mirror.url
        ran = job.main()
    assert ran.status == 0, ran.log
    assert job.outputs()["changed"] == "true"
    assert "s3cret" not in ran.log
    files = {name for name in mirror.seen if name.endswith(".whl")}
    table = json.loads((ROOT / "action" / "uv.json").read_text())["wheels"]
    assert {name for name in files if name.startswith("uv-")} <= {name for name, _ in table.values()}
    assert len([name for name in files if name.startswith("uv-")]) == 1
    assert any(name.startswith("pydantic_core-") for name in files), "uv asked the mirror, too"


def test_with_nothing_but_node(job: Job, tmp_path: Path) -> None:
    """uv is fetched, and brings a Python: here from a list and an archive on loopback, with the hash that uv checks."""
    job.path = str(tmp_path / "empty")
    archive = pack()
    with Mirror() as mirror:
        job.variables["PIP_INDEX_URL"] = mirror.url
        job.variables["UV_PYTHON_DOWNLOADS_JSON_URL"] = f"http://127.0.0.1:{mirror.port}/files/pythons.json"
        url = f"http://127.0.0.1:{mirror.port}/files/python.tar.gz"
        mirror.files = {"pythons.json": listing(archive, url), "python.tar.gz": archive}
        ran = job.main(command="report")
        assert "\nready" in ran.log, ran.log
        assert "there is nothing to merge" in ran.log
        (environment,) = job.temp.glob("ci-acme-*/environment")
        home = job.temp.parent / "home"
        assert (environment / "bin" / "python").resolve().is_relative_to(home), "not the one of this machine"
        shutil.rmtree(home)
        mirror.files["pythons.json"] = listing(archive + b"x", url)
        ran = job.main(command="report")
    assert ran.status == 2
    assert "uv finds and gets no Python" in ran.log
    assert "ready" not in ran.log


def test_through_a_proxy(job: Job, tmp_path: Path) -> None:
    job.path = python_alone(tmp_path)
    with Mirror() as mirror, ForwardProxy(mirror.port) as proxy:
        url = mirror.url.replace(f"127.0.0.1:{mirror.port}", "index.test")
        job.variables |= {"PIP_INDEX_URL": url, "HTTP_PROXY": proxy.url, "http_proxy": proxy.url, "NO_PROXY": ""}
        ran = job.main(command="report")
    assert "\nready" in ran.log, ran.log
    assert proxy.asked == {"index.test"}
    assert any(name.startswith("uv-") for name in mirror.seen)
    assert any(name.startswith("pydantic_core-") for name in mirror.seen)


def test_a_python_that_needs_the_library_of_its_setup_step(job: Job, tmp_path: Path) -> None:
    """actions/setup-python names the directory of libpython where the runner's tool cache is not in its usual place."""
    home = tmp_path / "tools" / "Python" / "3.13.0" / "x64"
    for name in ("bin", "lib"):
        (home / name).mkdir(parents=True)
    program = home / "bin" / "python3"
    python = os.path.realpath("/proc/self/exe")
    program.write_text(f'#!/bin/sh\n[ "$LD_LIBRARY_PATH" = {home}/lib ] || exit 127\nexec "{python}" "$@"\n')
    program.chmod(0o755)
    job.path = str(home / "bin")
    job.variables |= {"pythonLocation": str(home), "LD_LIBRARY_PATH": f"{home}/lib:{job.workspace}:", "LD_PRELOAD": ""}
    ran = job.main(command="report")
    assert "\nready" in ran.log, ran.log


def test_a_cancel_ends_the_fetching_of_uv(job: Job, tmp_path: Path) -> None:
    job.path = str(tmp_path / "empty")
    with Mirror(stalls_at="uv-") as mirror:
        job.variables["PIP_INDEX_URL"] = mirror.url
        process = job.start({})
        assert mirror.stalled.wait(30)
        ran = cancel(process)
    assert ran.status == 130, ran.log
    assert job.post().status == 0
    assert list(job.temp.iterdir()) == []


@pytest.mark.parametrize("name", ["pydantic", "cryptography-"])
def test_a_cancel_ends_the_installing(job: Job, lab: Lab, tmp_path: Path, name: str) -> None:
    give(job, lab)
    job.variables |= {"UV_CACHE_DIR": str(tmp_path / "cache")}
    with Mirror(stalls_at=name) as mirror:
        job.variables["UV_DEFAULT_INDEX"] = mirror.url
        process = job.start({})
        assert mirror.stalled.wait(30)
        ran = cancel(process)
        assert children_of(process.pid) == []
    assert ran.status == 130, ran.log
    assert "::error" not in ran.log
    assert job.post().status == 0
    assert list(job.temp.iterdir()) == []


def test_only_what_the_config_needs_is_installed_and_it_is_small(job: Job) -> None:
    (job.workspace / "ci-acme.yaml").write_text(
        "version: 1\n"
        "authorities: {pebble: {directory: 'https://127.0.0.1:9/dir', agree_terms: true, account_key: 'file:a.pem'}}\n"
        "dns: [{zone: example.test, provider: route53}]\n"
        "certificates: {web: {names: [www.example.test], stores: [{provider: file, directory: certs}]}}\n"
    )
    job.variables["CI_ACME_OFFLINE"] = "true"
    ran = job.main(command="permissions")
    assert ran.status == 0, ran.log
    assert "ready, with aws" in ran.log
    found = installed(job)
    assert {"botocore", "cryptography", "pydantic"} <= found
    assert not [name for name in found if name.startswith(("google", "azure", "msal", "psycopg", "pynacl", "requests"))]
    assert size(job) <= 70e6, f"{size(job) / 1e6:.1f} MB"


def test_from_a_read_only_checkout(job: Job, lab: Lab, tmp_path: Path) -> None:
    give(job, lab)
    action = tmp_path / "action"
    for name in ("action", "ci_acme", "providers"):
        shutil.copytree(ROOT / name, action / name, ignore=shutil.ignore_patterns("__pycache__"))
    paths = [action, *action.rglob("*")]
    before = {str(path) for path in paths}
    for path in paths:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    job.action = action
    ran = job.main()
    assert ran.status == 0, ran.log
    assert job.post().status == 0
    assert {str(path) for path in [action, *action.rglob("*")]} == before, "not even root has written there"


def test_a_uv_that_is_not_the_one_we_know_is_refused(job: Job, tmp_path: Path) -> None:
    job.path = str(tmp_path / "empty")
    action = tmp_path / "action"
    shutil.copytree(ROOT / "action", action / "action")
    table = json.loads((action / "action" / "uv.json").read_text())
    for entry in table["wheels"].values():
        entry[1] = "0" * 64
    (action / "action" / "uv.json").write_text(json.dumps(table))
    job.action = action
    ran = job.main(command="plan")
    assert ran.status == 2
    assert "has the SHA-256" in ran.log
    assert "setup-python" in ran.log
    assert not list(job.temp.rglob("uv"))


def test_an_index_that_is_down_says_what_was_tried(job: Job, tmp_path: Path) -> None:
    job.path = str(tmp_path / "empty")
    job.variables["PIP_INDEX_URL"] = "http://127.0.0.1:9/simple"
    ran = job.main(command="plan")
    assert ran.status == 2
    for words in ("uv is not on PATH", "no Python 3.10", "127.0.0.1:9 does not answer"):
        assert words in ran.log


def test_an_index_that_is_down_has_pips_reason_and_not_its_attempts(job: Job, tmp_path: Path) -> None:
    job.path = python_alone(tmp_path)
    job.variables |= {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "2"}
    ran = job.main(command="plan")
    assert ran.status == 2
    assert "Retrying" not in ran.log
    assert "pip says ERROR: Could not find a version that satisfies the requirement" in ran.log
    assert "does not answer (TypeError)" not in ran.log
