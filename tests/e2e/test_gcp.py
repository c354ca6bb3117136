"""A GitHub job that gets a certificate by Cloud DNS into Secret Manager, with nothing but its identity token."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from ci_acme.ports import PermissionRequest
from ci_acme.sandbox.dns import SandboxDns
from ci_acme_providers.gcp import permissions
from ci_acme_providers.gcp.config import GoogleCloudDnsSettings, SecretManagerSettings
from ci_acme_providers.gcp.needs import SECRET_ACCESS
from tests.clouds.api import lose_reply
from tests.clouds.google import Iam
from tests.clouds.google_dns import GoogleDns
from tests.clouds.google_secrets import GoogleSecrets, Secret, Version
from tests.clouds.google_support import ACCESS, PROJECT
from tests.clouds.google_tokens import ACCOUNT, MEMBER, CiTokens, GoogleTokens
from tests.e2e.lab import ZONE, Lab
from tests.servers.pebble import Pebble

pytestmark = pytest.mark.servers
NAMES = [ZONE, f"*.{ZONE}", f"www.{ZONE}"]
SECRETS = f"projects/{PROJECT}/secrets"
PRINCIPAL = f"serviceAccount:{ACCOUNT}"


class _Server:
    """What `Lab` reads of a name server."""

    def __init__(self, server: SandboxDns) -> None:
        self.address = server.address
        self.zones = [ZONE]


class Job(Lab):
    """The laboratory, with Google in place of a name server's own protocol."""

    def __init__(self, directory: Path, pebble: Pebble, server: SandboxDns, stack: ExitStack) -> None:
        super().__init__(directory, pebble, _Server(server))  # type: ignore[arg-type] - what is read of it is the same
        iam = Iam()
        self.iam = iam
        self.ci = stack.enter_context(CiTokens(time.time))
        self.tokens = stack.enter_context(GoogleTokens(iam))
        self.dns = stack.enter_context(GoogleDns(iam, server))
        self.secrets = stack.enter_context(GoogleSecrets(iam))
        self.dns.zone(ZONE.replace(".", "-"), ZONE, nameServers=[f"ns.{ZONE}."])
        self._account_key()
        self.config["authorities"]["pebble"]["account_key"] = "gcp-secret-manager:acme-account"
        self.config["dns"] = [{"zone": ZONE, "provider": "google-cloud-dns", **ACCESS, "endpoint": self.dns.url}]
        store = {"provider": "gcp-secret-manager", "name": "web-tls", **ACCESS, "endpoint": self.secrets.url}
        self.web.update(names=NAMES, stores=[store])
        self._grant()

    def _account_key(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.secrets.secrets[f"{SECRETS}/acme-account"] = Secret({"name": f"{SECRETS}/acme-account"}, [Version(pem)])

    def _grant(self) -> None:
        """Exactly what `ci-acme permissions` prints for this config."""
        self.iam.grant(MEMBER, ["iam.serviceAccounts.getAccessToken"], f"serviceAccounts/{ACCOUNT}")
        self.iam.grant(PRINCIPAL, SECRET_ACCESS, f"{SECRETS}/acme-account")
        dns = GoogleCloudDnsSettings.model_validate(self.config["dns"][0])
        store = SecretManagerSettings.model_validate(self.web["stores"][0])
        zone = f"projects/{PROJECT}/managedZones/{ZONE.replace('.', '-')}"
        places = {
            "ciAcmeDns": zone,
            "ciAcmeDnsList": f"projects/{PROJECT}",
            "ciAcmeSecret": f"{SECRETS}/web-tls",
            "ciAcmeSecretCreate": f"projects/{PROJECT}",
        }
        names = tuple(f"_acme-challenge.{name}" for name in (ZONE, f"www.{ZONE}"))
        documents = [
            *permissions.dns(PermissionRequest(dns, names=names, zone=ZONE)),
            *permissions.secret_manager(PermissionRequest(store, certificate="web")),
        ]
        for document in documents:
            for role, place in places.items():
                if document.title.startswith(f"custom role {role},"):
                    self.iam.grant(PRINCIPAL, json.loads(document.text)["includedPermissions"], place)

    @property
    def job_environment(self) -> dict[str, str]:
        environment = {**self.tokens.environment, **self.ci.environment}
        del environment["GITHUB_ACTIONS"]  # outputs and summaries are another test's matter
        return {
            **environment,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "NO_GCE_CHECK": "true",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": self.secrets.url,
            "CI_ACME_GCP_WORKLOAD_IDENTITY_PROVIDER": ACCESS["workload_identity_provider"],
            "CI_ACME_GCP_SERVICE_ACCOUNT": ACCOUNT,
        }

    def payload(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.secrets.secrets[f"{SECRETS}/web-tls"].versions[-1].data)
        return document


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    with ExitStack() as stack:
        server = stack.enter_context(SandboxDns([ZONE]))
        (tmp_path / "pebble").mkdir()
        (tmp_path / "work").mkdir()
        pebble = stack.enter_context(Pebble(tmp_path / "pebble", dns_server=server.address))
        yield Job(tmp_path / "work", pebble, server, stack)


def test_issue_keep_and_retire_with_the_printed_permissions(job: Job) -> None:
    zone = ZONE.replace(".", "-")
    job.dns.put(zone, f"_acme-challenge.{ZONE}", "TXT", 300, '"a neighbour"')
    job.dns.lag = 0.4  # a change is `done` long before the name servers have it

    ran = job.issue("--allow-new-account", environ=job.job_environment)
    assert (ran.status, ran.certificate["action"]) == (0, "issued"), ran.stderr
    leaf, *_ = x509.load_pem_x509_certificates(job.payload()["fullchain"].encode())
    key = load_pem_private_key(job.payload()["private_key"].encode(), None)
    assert key.public_key() == leaf.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(names.get_values_for_type(x509.DNSName)) == sorted(NAMES)
    assert job.dns.values(zone, f"_acme-challenge.{ZONE}") == {"a neighbour": 300}
    assert job.dns.values(zone, f"_acme-challenge.www.{ZONE}") == {}
    assert job.dns.count("POST", "/changes") == 2, "one change to add, one to remove"
    assert len(job.tokens.exchanged) == 1, "DNS, store and secret source have one identity"

    job.secrets.calls.clear()
    job.dns.calls.clear()
    ran = job.issue(environ=job.job_environment)
    assert (ran.status, ran.certificate["action"]) == (0, "kept"), ran.stderr
    assert not any(call.path.endswith(":access") for call in job.secrets.calls), "no payload was read"
    assert {call.one("updateMask") for call in job.secrets.calls if call.method != "GET"} <= {"annotations"}
    assert (job.dns.calls, job.orders()) == ([], 1)

    ran = job.run("retire", "web", environ=job.job_environment)
    assert ran.status == 0, ran.stderr
    assert list(job.secrets.secrets) == [f"{SECRETS}/acme-account"]


def test_lost_answers_at_every_change_cost_nothing(job: Job) -> None:
    for fake in (job.dns, job.secrets):
        for when in ("/changes", ":addVersion", "/secrets"):
            fake.fail(lambda call, when=when: call.method == "POST" and call.path.endswith(when), lose_reply)
    ran = job.issue("--allow-new-account", environ=job.job_environment)
    assert (ran.status, ran.certificate["action"]) == (0, "issued"), ran.stderr
    assert len(job.secrets.secrets[f"{SECRETS}/web-tls"].versions) == 1
    assert job.dns.sets[ZONE.replace(".", "-")] == {}


def test_a_lacking_permission_is_named_and_costs_no_order(job: Job) -> None:
    job.iam.denied.add("secretmanager.versions.add")
    job.secrets.secrets[f"{SECRETS}/web-tls"] = Secret({"name": f"{SECRETS}/web-tls"})
    ran = job.issue("--allow-new-account", environ=job.job_environment)
    assert ran.status == 2, ran.stderr
    assert "secretmanager.versions.add" in json.dumps(ran.document)
    assert job.orders() == 0
