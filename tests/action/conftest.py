"""The laboratory of the end-to-end tests, for the action."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.action.job import Job
from tests.e2e.conftest import lab, make_lab

__all__ = ["lab", "make_lab"]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job with an empty workspace."""
    return Job(tmp_path / "job")
