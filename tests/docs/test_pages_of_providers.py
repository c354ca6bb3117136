"""Every DNS provider and every store has a page; its examples are configs that work, and it names its settings."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from ci_acme.config.load import load_text
from ci_acme.registry import load_settings
from ci_acme.settings import DnsSettings, ShapedSettings, StoreSettings
from ci_acme.spec import Kind, ProviderSpec
from ci_acme_providers import CATALOGUE
from tests.structure.project import ROOT

PAGES = ROOT / "docs" / "providers"
ROWS = [row for row in CATALOGUE if row.kind in {Kind.DNS, Kind.STORE}]
SHARED = {*StoreSettings.model_fields, *DnsSettings.model_fields, *ShapedSettings.model_fields}
rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
WHOLE: dict[str, Any] = {
    "version": 1,
    "authorities": {"letsencrypt": {"directory": "letsencrypt", "agree_terms": True}},
    "dns": [{"zone": "example.com", "provider": "rfc2136", "server": "ns1.example.com"}],
    "certificates": {"web": {"names": ["www.example.com"], "stores": [{"provider": "file", "directory": "certs"}]}},
}


def page(row: ProviderSpec) -> str:
    return (PAGES / f"{row.name}.md").read_text(encoding="utf-8")


def examples(text: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)


@rows
@pytest.mark.parametrize("optional", [False, True], ids=["as it is", "with what is commented out"])
def test_the_examples_are_configs(row: ProviderSpec, optional: bool) -> None:
    found = examples(page(row))
    assert found, "a page shows how to configure it"
    names = []
    for example in found:
        text = re.sub(r"^( +)# (\w+: [^…]*)$", r"\1\2", example, flags=re.MULTILINE) if optional else example
        document = WHOLE | yaml.safe_load(text)
        loaded = load_text(yaml.safe_dump(document).encode(), f"{row.name}.md", environ={}, environment="preview")
        names += [entry.provider for entry in loaded.config.dns]
        names += [store.provider for one in loaded.config.certificates.values() for store in one.stores]
    assert row.name in names


@rows
def test_the_page_names_every_setting_and_what_was_not_tried(row: ProviderSpec) -> None:
    text = page(row)
    assert text.startswith(f"# `{row.name}`\n")
    platform = row.adapter.split(".")[1]
    pages = "\n".join(page(other) for other in ROWS if other.adapter.split(".")[1] == platform)
    own = set(load_settings(row).model_fields) - SHARED
    assert [name for name in sorted(own) if name not in pages] == [], "settings that no page of the platform names"
    assert re.search(r"never (been )?run|not (been )?(run|tried)", " ".join(text.split()), re.IGNORECASE)
    assert len([line for line in text.splitlines() if line.strip()]) <= 65


def test_there_is_no_page_of_what_is_not_there() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {row.name for row in ROWS}
