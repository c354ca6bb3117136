"""Modules stay small enough to be read in one sitting."""

from __future__ import annotations

from tests.structure.project import CORE, PROVIDERS

LIMIT = 350


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    too_long = {}
    for root in (CORE, PROVIDERS):
        for path in root.rglob("*.py"):
            lines = sum(1 for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
            if lines > LIMIT:
                too_long[str(path.relative_to(root.parent))] = lines
    assert too_long == {}
