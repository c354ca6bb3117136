"""The examples of the pages about Azure are configs that work, and its settings load none of its SDKs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_acme.config.load import load_text

ROOT = Path(__file__).parents[2]
WHOLE: dict[str, Any] = {
    "version": 1,
    "authorities": {"letsencrypt": {"directory": "letsencrypt", "agree_terms": True}},
    "dns": [{"zone": "example.com", "provider": "azure-dns"}],
    "certificates": {"web": {"names": ["www.example.com"], "stores": [{"provider": "file", "directory": "certs"}]}},
}


@pytest.mark.parametrize("name", ["azure-dns", "azure-key-vault", "azure-key-vault-secret"])
def test_the_examples_are_valid_configs(name: str) -> None:
    page = (ROOT / "docs" / "providers" / f"{name}.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert examples
    for example in examples:
        document = WHOLE | yaml.safe_load(example)
        document["authorities"]["letsencrypt"].setdefault("agree_terms", True)
        load_text(yaml.safe_dump(document).encode(), f"{name}.md", environ={}, environment=None)
    assert name in examples[0]
    assert "never run against the live service" in " ".join(page.split())
    assert len([line for line in page.splitlines() if line.strip()]) <= 60


def test_what_needs_no_request_needs_no_sdk() -> None:
    """Making adapters and printing permissions; only a request imports an SDK."""
    program = (
        "import sys\n"
        "from ci_acme.clock import SystemClock\n"
        "from ci_acme.ports import ProviderContext\n"
        "from ci_acme_providers.azure import config, dns, key_vault, key_vault_secret, permissions, secret_source\n"
        "context = ProviderContext(lambda _: None, SystemClock(), environ={})\n"
        "dns.AzureDns(config.AzureDnsSettings(zone='example.com'), context)\n"
        "key_vault.KeyVault(config.KeyVaultSettings(name='web/tls'), context)\n"
        "key_vault_secret.KeyVaultSecret(config.KeyVaultSecretSettings(name='web/tls'), context)\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'azure', 'msal', 'requests', 'cryptography'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'providers'}"},
    )
    assert done.stdout == "[]\n", done.stderr
