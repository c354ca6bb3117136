"""The examples of the pages on Google Cloud validate, and the pages name every setting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_acme.settings import DnsSettings, StoreSettings
from ci_acme_providers.gcp.config import (
    CertificateManagerSettings,
    GoogleAccess,
    GoogleCloudDnsSettings,
    SecretManagerSettings,
)

PAGES = Path(__file__).parents[2] / "docs" / "providers"
COMMON = {*GoogleAccess.model_fields, *StoreSettings.model_fields, *DnsSettings.model_fields}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("google-cloud-dns", GoogleCloudDnsSettings),
        ("gcp-secret-manager", SecretManagerSettings),
        ("gcp-certificate-manager", CertificateManagerSettings),
    ],
)
def test_the_page_of_a_provider(name: str, settings: Any) -> None:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    document = yaml.safe_load(example)
    entries = document.get("dns") or [
        store for section in document["certificates"].values() for store in section["stores"]
    ]
    for entry in entries:
        assert settings.model_validate(entry).provider == name
    own = set(settings.model_fields) - COMMON
    assert [field for field in sorted(own) if field not in text] == []
    assert "never run against the live service" in re.sub(r"\s+", " ", text)


def test_what_all_entries_share_is_on_the_page_of_cloud_dns() -> None:
    text = (PAGES / "google-cloud-dns.md").read_text(encoding="utf-8")
    assert [field for field in GoogleAccess.model_fields if field not in text] == []
