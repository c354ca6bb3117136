"""The wheel holds what users need and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.structure.project import ROOT, toml_arrays

pytest.importorskip("hatchling", reason="part of the test group of uv.lock; `make test` has it")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


def build(target: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(target.glob("*.whl"))


def test_both_packages_are_in_and_typed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"ci_acme", "ci_acme_providers"}
    assert {"ci_acme/py.typed", "ci_acme_providers/py.typed"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_metadata_names_the_command_and_the_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = next(name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = Parser().parsestr(archive.read(info).decode())
        points = archive.read(info.replace("METADATA", "entry_points.txt")).decode()
    assert "ci-acme = ci_acme.cli:main" in points
    assert set(metadata.get_all("Provides-Extra") or []) == set(toml_arrays("project.optional-dependencies"))
    assert metadata["License-Expression"] == "Apache-2.0"
