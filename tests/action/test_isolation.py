"""Attacks on the step: what the workspace, its variables and a restored cache hold never becomes our code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.action.job import ROOT, Job
from tests.action.mirror import Mirror

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]
CONFIG = """\
version: 1
authorities: {pebble: {directory: "https://127.0.0.1:9/dir", agree_terms: true, account_key: "file:a.pem"}}
dns: [{zone: example.test, provider: httpreq, endpoint: "http://127.0.0.1:9"}]
certificates: {web: {names: [www.example.test], stores: [{provider: file, directory: certs}]}}
"""
MODULES = ("ci_acme/__init__", "yaml", "cryptography", "sitecustomize", "usercustomize", "ssl", "pip", "venv", "uv")


class Trap:
    """A workspace in which everything that could be run or read in our place leaves a mark."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.mark = job.workspace.parent / "pwned"
        self._python = f"open({str(self.mark)!r}, 'a').write(__file__)"
        self._shell = f"#!/bin/sh\necho $0 >> {self.mark}\nexit 1\n"
        self._modules()
        self._programs()
        self._settings()

    def _modules(self) -> None:
        places = [self.job.workspace, self.job.workspace / "lib"]
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        user = self.job.workspace / "user"
        places.append(user / "lib" / version / "site-packages")
        for place in places:
            for name in MODULES:
                path = place / f"{name}.py"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self._python)
            (place / "evil.pth").write_text(f"import os; open({str(self.mark)!r}, 'a').write('pth')\n")
        self.job.variables |= {
            "PYTHONPATH": f"{places[0]}{os.pathsep}{places[1]}",
            "PYTHONSTARTUP": str(self.job.workspace / "yaml.py"),
            "PYTHONUSERBASE": str(user),
            "PYTHONHOME": str(user),
        }

    def _programs(self) -> None:
        places = [self.job.workspace, self.job.workspace / "bin", self.job.workspace / ".venv" / "bin"]
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
            for name in ("uv", "python", "python3", "py", "pip", "git"):
                (place / name).write_text(self._shell)
                (place / name).chmod(0o755)
        outside = self.job.workspace.parent / "linked"
        outside.symlink_to(places[1])
        (places[2].parent / "pyvenv.cfg").write_text("home = /nowhere\n")
        inside = [".", "", "bin", *map(str, places), str(outside)]
        self.job.path = os.pathsep.join([*inside, self.job.path])
        self.job.variables |= {
            "BASH_ENV": str(places[0] / "uv"),
            "ENV": str(places[0] / "uv"),
            "VIRTUAL_ENV": str(places[2].parent),
            "UV_PYTHON": str(places[0] / "python3"),
            "PIP_PYTHON": str(places[0] / "python3"),
            "pythonLocation": str(self.job.workspace),
        }

    def _settings(self) -> None:
        workspace, nowhere = self.job.workspace, "http://127.0.0.1:9/simple"
        (workspace / ".python-version").write_text("9.9.9\n")
        (workspace / "uv.toml").write_text(f'index-url = "{nowhere}"\n')
        (workspace / "pyproject.toml").write_text(
            f'[project]\nname = "x"\nversion = "1"\nrequires-python = ">=9.9"\n[tool.uv]\nindex-url = "{nowhere}"\n'
        )
        for name in ("pip.conf", "pip.ini"):
            (workspace / name).write_text(f"[global]\nindex-url = {nowhere}\n[install]\ntarget = {workspace}\n")
        (workspace / "constraints.txt").write_text("pydantic==1.0\ncryptography==2.0\n")
        (workspace / "openssl.cnf").write_text("openssl_conf = x\n[x]\nengines = y\n")
        told = {
            "CONFIG_FILE": workspace / "uv.toml",
            "OVERRIDE": workspace / "constraints.txt",
            "CONSTRAINT": workspace / "constraints.txt",
            "EXCLUDE_NEWER": "2001-01-01T00:00:00Z",
            "WORKING_DIR": workspace,
            "PROJECT": workspace,
            "SYSTEM_PYTHON": "true",
        }
        self.job.variables |= {f"UV_{name}": str(value) for name, value in told.items()}
        told = {
            "CONFIG_FILE": workspace / "pip.conf",
            "CONSTRAINT": workspace / "constraints.txt",
            "TARGET": workspace,
            "USER": "1",
            "NO_BINARY": ":all:",
            "DRY_RUN": "1",
        }
        self.job.variables |= {f"PIP_{name}": str(value) for name, value in told.items()}
        self.job.variables["OPENSSL_CONF"] = str(workspace / "openssl.cnf")

    def run(self) -> None:
        """The step does its work as if there were nothing."""
        (self.job.workspace / "ci-acme.yaml").write_text(CONFIG)
        before = sorted(self.job.workspace.rglob("*"))
        ran = self.job.main(command="report", reports=str(ROOT / "nothing.json"))
        assert "nothing.json cannot be read" in ran.log, ran.log
        assert "\nready" in ran.log, ran.log
        assert not self.mark.exists(), self.mark.read_text()
        assert sorted(self.job.workspace.rglob("*")) == before


def only(directory: Path, **programs: str) -> str:
    """A PATH with these programs, which read what version managers read."""
    directory.mkdir()
    for name, program in programs.items():
        path = directory / name
        path.write_text(f'#!/bin/bash\n[ ! -e .python-version ] || exit 1\nexec "{program}" "$@"\n')
        path.chmod(0o755)
    return str(directory)


@pytest.fixture
def python() -> str:
    return os.path.realpath("/proc/self/exe")


def test_with_uv_on_path(job: Job, tmp_path: Path, python: str, uv: str) -> None:
    job.path = only(tmp_path / "programs", uv=uv, python3=python)
    Trap(job).run()


def test_with_pip(job: Job, tmp_path: Path, python: str) -> None:
    job.path = only(tmp_path / "programs", python3=python)
    trap = Trap(job)
    with Mirror(lacks="uv") as mirror:
        job.variables["PIP_INDEX_URL"] = mirror.url
        trap.run()
    assert any(name.startswith("cryptography-") for name in mirror.seen)


def test_a_poisoned_cache_is_not_used(job: Job, tmp_path: Path, uv: str) -> None:
    """uv checks the hash of what it fetches, and believes its cache, which any step may have restored."""
    cache, requirements = tmp_path / "cache", ROOT / "action" / "requirements" / "base.txt"
    fill = [
        "pip",
        "install",
        "--quiet",
        "--target",
        tmp_path / "x",
        "--no-deps",
        "--require-hashes",
        "-r",
        requirements,
    ]
    subprocess.run([uv, *fill], env=os.environ | {"UV_CACHE_DIR": str(cache)}, check=True)
    mark = tmp_path / "pwned"
    poisoned = [*cache.rglob("pydantic/__init__.py"), *cache.rglob("yaml/__init__.py")]
    assert len(poisoned) == 2
    for path in poisoned:
        with path.open("a") as file:
            file.write(f"\nopen({str(mark)!r}, 'a').write(__file__)\n")
    home = job.temp.parent / "home"
    shutil.copytree(cache, home / ".cache" / "uv", symlinks=True)
    job.variables |= {"UV_CACHE_DIR": str(cache), "XDG_CACHE_HOME": str(home / ".cache")}
    (job.workspace / "ci-acme.yaml").write_text(CONFIG)
    ran = job.main(command="report", reports="nothing.json")
    assert "\nready" in ran.log, ran.log
    assert not mark.exists()


def test_a_forged_package_is_refused_by_uv_and_by_pip(job: Job, tmp_path: Path, python: str, uv: str) -> None:
    job.path = only(tmp_path / "programs", python3=python, uv=uv)
    with Mirror(lacks="uv", forges="pyyaml-") as mirror:
        job.variables["PIP_INDEX_URL"] = mirror.url
        ran = job.main(command="plan")
    assert ran.status == 2
    assert "uv says error: Failed to download `pyyaml" in ran.log
    assert "pip says ERROR: THESE PACKAGES DO NOT MATCH THE HASHES" in ran.log
    assert "s3cret" not in ran.log
    assert "ready" not in ran.log
