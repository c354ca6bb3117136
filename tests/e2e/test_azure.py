"""All of Azure in one pipeline job without a secret: its zone, its vault, and the identity token of the job.

The product runs as a process, with Azure's own SDKs; Pebble validates what they wrote, over real DNS.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from tests.clouds.azure import Loopback
from tests.clouds.azure_dns import SUBSCRIPTION, AzureDnsApi, FakeZone
from tests.clouds.azure_rbac import Assignment
from tests.clouds.entra import AUDIENCE, CLIENT, SUBJECT, TENANT, Entra, GitHubTokens
from tests.clouds.key_vault import VAULT, KeyVaultApi
from tests.e2e.lab import ZONE, Lab
from tests.servers.pebble import Pebble

pytestmark = pytest.mark.servers
NAMES = [ZONE, f"*.{ZONE}", f"www.{ZONE}"]


@dataclass
class Azure:
    """The lab, and the fakes that it runs against."""

    lab: Lab
    entra: Entra
    dns: AzureDnsApi
    vault: KeyVaultApi
    github: GitHubTokens
    environ: dict[str, str]


@dataclass
class _Served:
    """The name server of the fake, as a lab wants it."""

    address: str
    zones: tuple[str, ...] = ()


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[Azure]:
    folders = [tmp_path / name for name in ("tls", "pebble", "work")]
    for folder in folders:
        folder.mkdir()
    loopback = Loopback(folders[0])
    with (
        Entra(loopback.server()) as entra,
        AzureDnsApi(loopback.server(), entra, [FakeZone(ZONE)]) as dns,
        KeyVaultApi(loopback.server(), entra) as vault,
        GitHubTokens() as github,
        Pebble(folders[1], dns_server=dns.dns.address) as pebble,
    ):
        github.issuer = github.url  # as a GitHub Enterprise Server is its own issuer
        entra.applications[CLIENT].federated = {(github.url, SUBJECT, AUDIENCE)}
        served: Any = _Served(dns.dns.address)
        lab = Lab(folders[2], pebble, served)
        lab.config["dns"] = [{"zone": ZONE, "provider": "azure-dns", "endpoint": dns.url}]
        lab.web["names"] = NAMES
        lab.web["stores"] = [
            {"provider": "azure-key-vault", "vault": vault.url, "name": "web-tls"},
            {"provider": "azure-key-vault-secret", "name": f"{vault.url}/web-pfx", "shape": "application-gateway"},
        ]
        environ = {
            **github.environment,
            "AZURE_CLIENT_ID": CLIENT,
            "AZURE_TENANT_ID": TENANT,
            "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
            "AZURE_AUTHORITY_HOST": entra.url,
            "REQUESTS_CA_BUNDLE": str(loopback.files.ca_bundle),
        }
        yield Azure(lab, entra, dns, vault, github, environ)


def test_a_job_issues_into_both_stores_and_the_next_keeps(azure: Azure) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    azure.vault.put_secret("account-key", key.decode())
    azure.lab.config["authorities"]["pebble"]["account_key"] = f"azure-key-vault:{azure.vault.url}/account-key"
    first = azure.lab.issue(environ=azure.environ)
    assert first.status == 0, first.stderr
    result = first.certificate
    assert (result["action"], [store["action"] for store in result["stores"]]) == ("issued", ["written", "written"])
    check_stores(azure, result["serial"])
    assert not any(found.values for found in azure.dns.zone(ZONE).sets.values()), "nothing is left in the zone"
    assert azure.github.given, "the job signed in with its identity token"
    assert len(azure.entra.assertions) == len(set(azure.entra.assertions)), "each a fresh one"
    for said in azure.github.given:
        assert said not in first.stdout + first.stderr

    orders, written, changes = azure.lab.orders(), azure.vault.written, len(azure.dns.calls)
    azure.vault.access.assignments[CLIENT] = [  # what keeping needs: metadata, and the account key where that is
        Assignment(VAULT, data=("Microsoft.KeyVault/vaults/certificates/read",)),
        Assignment(VAULT, data=("Microsoft.KeyVault/vaults/secrets/readMetadata/action",)),
    ]
    second = azure.lab.issue(environ=azure.environ)
    assert second.status == 0, second.stderr
    assert second.certificate["action"] == "kept"
    assert (azure.lab.orders(), azure.vault.written, len(azure.dns.calls)) == (orders, written, changes)


def check_stores(azure: Azure, serial: str) -> None:
    """Both hold the key and the whole chain, in order."""
    pfx = base64.b64decode(azure.vault.current("secrets", "web-pfx").value)
    for data in (pfx, base64.b64decode(azure.vault.current("certificates", "web-tls").value)):
        key, leaf, chain = pkcs12.load_key_and_certificates(data, None if data is not pfx else b"")
        assert key is not None
        assert leaf is not None
        assert key.public_key() == leaf.public_key()
        assert leaf.serial_number == int(serial, 16)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert sorted(names.get_values_for_type(x509.DNSName)) == sorted(NAMES)
        for one, issuer in zip([leaf, *chain], chain, strict=False):
            one.verify_directly_issued_by(issuer)
        assert chain


def test_a_store_that_refuses_is_delivered_to_by_the_next_run(azure: Azure) -> None:
    prefix = "Microsoft.KeyVault/vaults"
    everything = azure.vault.access.assignments[CLIENT]
    azure.vault.access.assignments[CLIENT] = [
        Assignment(VAULT, data=("*",), excluded=(f"{prefix}/secrets/setSecret/action",))
    ]
    first = azure.lab.issue(environ=azure.environ)
    assert first.status == 6, first.stderr
    failed = first.certificate["stores"][1]
    assert failed["action"] == "failed"
    assert f"{prefix}/secrets/setSecret/action" in failed["error"]["fix"]
    orders = azure.lab.orders()
    azure.vault.access.assignments[CLIENT] = everything
    second = azure.lab.issue(environ=azure.environ)
    assert second.status == 0, second.stderr
    assert second.certificate["action"] == "delivered"
    assert azure.lab.orders() == orders
    check_stores(azure, second.certificate["serial"])


def test_retire_and_issue_again_revives_the_names(azure: Azure) -> None:
    assert azure.lab.issue(environ=azure.environ).status == 0
    retired = azure.lab.run("retire", "--output", "json", environ=azure.environ)
    assert retired.status == 0, retired.stderr
    assert [thing.deleted for thing in azure.vault.things.values()] == [True, True]
    again = azure.lab.issue(environ=azure.environ)
    assert again.status == 0, again.stderr
    assert again.certificate["action"] == "issued"
    check_stores(azure, again.certificate["serial"])


def test_a_job_without_the_right_to_an_identity_token_is_told_so(azure: Azure) -> None:
    environ = {key: value for key, value in azure.environ.items() if not key.startswith("ACTIONS_")}
    ran = azure.lab.issue(environ={**environ, "PATH": "/usr/bin:/bin"})
    assert ran.status == 2, ran.stderr
    assert ran.certificate["error"]["code"] == "store.read"
    assert "identity token" in ran.certificate["error"]["message"]
    assert azure.lab.seen() == 0
