"""docs/conformance.md names tests that exist, and leaves no requirement out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (A?\d+) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", TEXT, re.MULTILINE)
PROOF = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PENDING = {"20", "21", "32", "34"}
"""What is not built yet. Take a row out of here and out of the section when its tests are there."""


@cache
def names_in(path: str) -> frozenset[str]:
    """The test functions of a file, as pytest collects them."""
    file = ROOT / path
    if not file.exists() or not file.name.startswith("test_"):
        return frozenset()
    return frozenset(
        node.name
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def test_no_requirement_is_left_out() -> None:
    numbers = [row[0] for row in ROWS]
    assert len(numbers) == len(set(numbers))
    assert {number for number in numbers if not number.startswith("A")} == {str(number) for number in range(1, 37)}
    assert {number for number in numbers if number.startswith("A")} == {f"A{number}" for number in range(1, 15)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_requirement_has_tests_that_exist(row: tuple[str, ...]) -> None:
    number, _section, _requirement, _what, proof = row
    named = PROOF.findall(proof)
    assert proof.startswith("pending") == (number in PENDING)
    assert named or number in PENDING
    for path, name in named:
        assert name in names_in(path), f"{path}::{name} is no test"


def test_the_tests_that_the_text_names_exist() -> None:
    named = PROOF.findall(TEXT)
    assert len(named) > 80
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []


def test_pending_requirements_are_told() -> None:
    """`pytest -rP` shows what is left to do."""
    for number, section, requirement, _what, proof in ROWS:
        if proof.startswith("pending"):
            print(f"pending: {number} (RFC 8555 section {section}): {requirement}")  # noqa: T201  # what -rP shows
    assert len(PENDING) <= 4
