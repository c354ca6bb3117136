"""What the action installs is what uv.lock has: the same versions, hashes that it knows, and a file for each extra."""

from __future__ import annotations

import re

import pytest

from tests.structure.project import ROOT, toml_arrays

FILES = sorted((ROOT / "action" / "requirements").glob("*.txt"))
LOCK = (ROOT / "uv.lock").read_text(encoding="utf-8")
LOCKED = dict(re.findall(r'^name = "([^"]+)"\nversion = "([^"]+)"', LOCK, flags=re.MULTILINE))


def pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([\w.!+-]+)", text, flags=re.MULTILINE))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_package_is_the_locked_one_with_its_hashes(file: object) -> None:
    text = ROOT.joinpath(str(file)).read_text(encoding="utf-8")
    found = pins(text)
    assert found
    for name, version in found.items():
        assert LOCKED[name] == version, f"{name}: run scripts/export-requirements"
    hashes = re.findall(r"--hash=(sha256:\w{64})", text)
    assert len(hashes) >= len(found)
    assert [one for one in hashes if one not in LOCK] == []


def test_there_is_a_file_for_each_extra_that_needs_a_package_and_all_that_is_needed_is_in_it() -> None:
    extras = {name: items for name, items in toml_arrays("project.optional-dependencies").items() if items}
    extras.pop("all")
    assert {file.stem for file in FILES} == {"base", *extras}
    base = pins((ROOT / "action" / "requirements" / "base.txt").read_text(encoding="utf-8"))
    (needed,) = re.findall(
        r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE
    )
    assert {name.lower() for name in re.findall(r'^\s*"([\w-]+)', needed, flags=re.MULTILINE)} <= set(base)
    for name, items in extras.items():
        wanted = {re.split(r"[\[>=<~ ]", item)[0].lower() for item in items}
        assert wanted <= set(base) | set(pins((ROOT / "action" / "requirements" / f"{name}.txt").read_text()))
