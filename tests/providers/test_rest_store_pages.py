"""The examples of the pages about the stores over REST are configs that work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_acme.config.load import load_text

PAGES = Path(__file__).parents[2] / "docs" / "providers"
WHOLE: dict[str, Any] = {
    "version": 1,
    "authorities": {"letsencrypt": {"directory": "letsencrypt", "agree_terms": True}},
    "dns": [
        {
            "zone": "example.com",
            "provider": "rfc2136",
            "server": "127.0.0.1:53",
            "tsig_name": "ci",
            "tsig_secret": "env:TSIG",
        }
    ],
    "certificates": {"web": {"names": ["www.example.com"], "stores": [{"provider": "file", "directory": "certs"}]}},
}


@pytest.mark.parametrize("name", ["vault", "kubernetes", "github-secrets", "gitlab-variables"])
def test_the_examples_are_valid_configs(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert f"provider: {name}" in examples[0]
    for example in examples:
        document = WHOLE | yaml.safe_load(example)
        document["authorities"]["letsencrypt"].setdefault("agree_terms", True)
        load_text(yaml.safe_dump(document).encode(), f"{name}.md", environ={}, environment=None)
    assert "never run against the live service" in " ".join(page.split())
    assert len([line for line in page.splitlines() if line.strip()]) <= 60
