"""The examples of the pages about providers over REST are configs that work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ci_acme.config.load import load_text
from tests.clouds.rigs import RIGS

PAGES = Path(__file__).parents[2] / "docs" / "providers"
REST = """
version: 1
authorities:
  le: {directory: letsencrypt, agree_terms: true}
certificates:
  web:
    names: [www.example.com]
    stores: [{provider: file, directory: certs}]
"""


@pytest.mark.parametrize("name", [rig.name for rig in RIGS])
def test_the_example_is_a_valid_config(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert examples
    for example in examples:
        loaded = load_text((example + REST).encode(), f"{name}.md", environ={}, environment=None)
        assert [entry.provider for entry in loaded.config.dns] == [name]
    assert "Never run" in page
    assert len([line for line in page.splitlines() if line.strip()]) < 60
