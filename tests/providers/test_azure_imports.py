"""Azure's settings, adapters and permissions load none of its SDKs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
