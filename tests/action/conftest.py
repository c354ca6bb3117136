"""The laboratory of the end-to-end tests, for the action."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.action.job import ROOT, Job
from tests.e2e.conftest import lab, make_lab
from tests.servers.tools import find

__all__ = ["lab", "make_lab"]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job with an empty workspace."""
    return Job(tmp_path / "job")


@pytest.fixture(scope="session")
def uv(tmp_path_factory: pytest.TempPathFactory) -> str:
    """uv itself, fetched as the action does it, and not a version manager's script in front of it."""
    path = tmp_path_factory.mktemp("uv") / "uv"
    subprocess.run([find("node"), ROOT / "action" / "uv.mjs", path], check=True)
    return str(path)
