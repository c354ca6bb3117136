"""The laboratory of the end-to-end tests, for GitLab pipelines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import lab, make_lab
from tests.gitlab.pipeline import Project

__all__ = ["lab", "make_lab"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A GitLab project without files."""
    return Project(tmp_path / "project")
