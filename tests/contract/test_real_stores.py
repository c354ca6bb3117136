"""The contract suite on real servers: Vault, OpenBao, Kubernetes. The workflow real-stores.yml runs it.

Vault or OpenBao: CI_ACME_TEST_VAULT_ADDR, and in CI_ACME_TEST_VAULT_TOKEN a root token of a development server.
Kubernetes: CI_ACME_TEST_KUBE_SERVER, _CA (a file), _NAMESPACE, _TOKEN (may do everything with secrets) and _READER
(a token that may get them alone); with CI_ACME_TEST_KUBECONFIG its client certificate is tried, too.
"""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from ci_acme.ports import CertificateStore, Present
from ci_acme.rest import RestClient
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme.testing.store_contract import StoreContract, soon
from ci_acme_providers.kubernetes.adapter import KubernetesStore
from ci_acme_providers.kubernetes.config import KubernetesSettings
from ci_acme_providers.vault.adapter import VaultStore
from ci_acme_providers.vault.config import VaultSettings
from tests.contract.support import context

GIVEN: Final = {
    name.removeprefix("CI_ACME_TEST_"): value
    for name, value in os.environ.items()
    if name.startswith(("CI_ACME_TEST_VAULT_", "CI_ACME_TEST_KUBE"))
}
if not GIVEN:
    pytest.skip("CI_ACME_TEST_… name no real server", allow_module_level=True)

if "VAULT_ADDR" in GIVEN:

    class TestRealVault(StoreContract):
        """A development server, whose engine at secret/ is KV version 2."""

        @pytest.fixture(autouse=True)
        def place(self) -> None:
            self.path = f"secret/ci-acme-test/{uuid.uuid4()}"
            self.environ = dict(GIVEN)

        def open_store(self) -> CertificateStore:
            settings = VaultSettings.model_validate({"path": self.path})
            return VaultStore(settings, context({}, environ=self.environ))

        @contextmanager
        def failing_writes(self) -> Generator[None]:
            """A token that may read alone."""
            client = self.client()
            rules = 'path "secret/*" { capabilities = ["read"] }'
            assert client.send("POST", "/sys/policies/acl/ci-acme-test", deadline=soon(), body={"policy": rules}).ok
            made = client.send("POST", "/auth/token/create", deadline=soon(), body={"policies": ["ci-acme-test"]})
            self.environ["VAULT_TOKEN"] = made.document["auth"]["client_token"]
            yield
            self.environ["VAULT_TOKEN"] = GIVEN["VAULT_TOKEN"]

        @contextmanager
        def metadata_rights(self) -> Generator[None]:
            """A token that may read metadata alone."""
            client = self.client()
            rules = 'path "secret/metadata/*" { capabilities = ["read"] }'
            assert client.send("POST", "/sys/policies/acl/ci-acme-plan", deadline=soon(), body={"policy": rules}).ok
            made = client.send("POST", "/auth/token/create", deadline=soon(), body={"policies": ["ci-acme-plan"]})
            self.environ["VAULT_TOKEN"] = made.document["auth"]["client_token"]
            yield
            self.environ["VAULT_TOKEN"] = GIVEN["VAULT_TOKEN"]

        @contextmanager
        def denied(self) -> Generator[None]:
            self.environ["VAULT_TOKEN"] = "hvs.nobody"
            yield
            self.environ["VAULT_TOKEN"] = GIVEN["VAULT_TOKEN"]

        def plant_foreign(self) -> bool:
            path = self.path.replace("secret/", "/secret/data/", 1)
            body = {"data": {"password": "somebody's"}}
            return self.client().send("POST", path, deadline=soon(), body=body).ok

        def client(self) -> RestClient:
            head = {"X-Vault-Token": GIVEN["VAULT_TOKEN"], "X-Vault-Request": "true"}
            return RestClient(f"{GIVEN['VAULT_ADDR']}/v1", headers=head)


if "KUBE_SERVER" in GIVEN:

    class TestRealKubernetes(StoreContract):
        """A cluster, by a service account's token."""

        @pytest.fixture(autouse=True)
        def place(self) -> None:
            self.name = f"test-{uuid.uuid4()}"
            self.secrets = {"env:TOKEN": GIVEN["KUBE_TOKEN"]}

        def open_store(self) -> CertificateStore:
            where = {"server": GIVEN["KUBE_SERVER"], "ca_bundle": GIVEN["KUBE_CA"], "token": "env:TOKEN"}
            entry = {"name": self.name, "namespace": GIVEN["KUBE_NAMESPACE"], **where}
            return KubernetesStore(KubernetesSettings.model_validate(entry), context(self.secrets))

        @contextmanager
        def failing_writes(self) -> Generator[None]:
            self.secrets["env:TOKEN"] = GIVEN["KUBE_READER"]
            yield
            self.secrets["env:TOKEN"] = GIVEN["KUBE_TOKEN"]

        @contextmanager
        def denied(self) -> Generator[None]:
            self.secrets["env:TOKEN"] = "nobody"
            yield
            self.secrets["env:TOKEN"] = GIVEN["KUBE_TOKEN"]

        def plant_foreign(self) -> bool:
            data = {name: base64.b64encode(b"mine").decode() for name in ("tls.crt", "tls.key")}
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.name}, "data": data}
            head = {"Authorization": f"Bearer {GIVEN['KUBE_TOKEN']}"}
            client = RestClient(GIVEN["KUBE_SERVER"], headers=head, ca_bundle=Path(GIVEN["KUBE_CA"]))
            path = f"/api/v1/namespaces/{GIVEN['KUBE_NAMESPACE']}/secrets"
            return client.send("POST", path, deadline=soon(), body=body).ok


@pytest.mark.skipif("KUBECONFIG" not in GIVEN, reason="CI_ACME_TEST_KUBECONFIG names no file")
def test_a_kubeconfig_with_a_client_certificate_is_enough() -> None:
    entry = {"name": f"test-{uuid.uuid4()}", "kubeconfig": GIVEN["KUBECONFIG"], "namespace": "default"}
    store = KubernetesStore(KubernetesSettings.model_validate(entry), context({}))
    bundle = make_bundle()
    store.probe(deadline=soon())
    store.publish(bundle, make_metadata(bundle), deadline=soon())
    assert isinstance(store.read(deadline=soon()), Present)
    store.retire(purge=False, deadline=soon())
