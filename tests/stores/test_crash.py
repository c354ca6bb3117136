"""SIGKILL at every instant of every writing operation: nothing is lost, nothing is mixed, nothing stays."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.stores.support import run_driver

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")


@pytest.mark.parametrize("how", ["exchange", "rename"])
@pytest.mark.parametrize("operation", ["publish", "first", "stage", "unstage", "annotate"])
def test_a_kill_at_any_instant_is_survived(tmp_path: Path, how: str, operation: str) -> None:
    kills, absent = map(int, run_driver("crash_driver", str(tmp_path), how, operation).stdout.split())
    assert kills > 8
    if operation in {"publish", "annotate"}:
        assert (absent > 0) == ((how, operation) == ("rename", "publish"))
