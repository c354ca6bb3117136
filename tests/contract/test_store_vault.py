"""The store `vault` keeps the contract of stores: on a strict fake over TLS, and on real servers where there are any.

With CI_ACME_TEST_VAULT_ADDR and CI_ACME_TEST_VAULT_TOKEN (a root token of a development server, Vault or OpenBao) the
same suite runs there; CI_ACME_TEST_VAULT_CACERT names its root.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ci_acme.ports import CertificateStore
from ci_acme.rest import RestClient
from ci_acme.testing.store_contract import StoreContract, soon
from ci_acme_providers.vault.adapter import VaultStore
from ci_acme_providers.vault.config import VaultSettings
from tests.clouds.api import Answer, Call, lose_reply, refuse
from tests.clouds.vault import ROOT, FakeVault
from tests.contract.support import context, failing, server_tls
from tests.servers.tls import TlsFiles, tls_files

PATH = "secret/team/tls"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return tls_files(tmp_path_factory.mktemp("tls"))


def is_write(call: Call) -> bool:
    return call.method == "POST" and "/data/" in call.path


class TestVaultStore(StoreContract):
    settings: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def server(self, tls: TlsFiles) -> Iterator[None]:
        self.tls = tls
        self.token = ROOT
        with FakeVault(server_tls(tls)) as self.vault:
            yield

    def open_store(self) -> CertificateStore:
        settings = VaultSettings.model_validate(
            {
                "provider": "vault",
                "address": self.vault.url,
                "ca_bundle": str(self.tls.ca_bundle),
                "path": PATH,
                "token": "env:TOKEN",
                **self.settings,
            }
        )
        return VaultStore(settings, context({"env:TOKEN": self.token, "env:P12": "changeit"}))

    def failing_writes(self) -> AbstractContextManager[None]:
        return failing(self.vault, is_write, refuse(Answer.of({"errors": ["no space left on device"]}, 500)))

    def lost_reply(self) -> AbstractContextManager[None]:
        return failing(self.vault, is_write, lose_reply, times=1)

    @contextmanager
    def denied(self) -> Generator[None]:
        rules, self.vault.tokens[ROOT].rules = self.vault.tokens[ROOT].rules, {}
        yield
        self.vault.tokens[ROOT].rules = rules

    @contextmanager
    def metadata_rights(self) -> Generator[None]:
        self.token = self.vault.grant("hvs.plan", {"secret/metadata/team/tls": {"read"}})
        yield
        self.token = ROOT

    def plant_foreign(self) -> bool:
        body = {"data": {"password": "somebody's"}}
        self.vault.handle(
            Call(
                "POST",
                f"/v1/{PATH.replace('secret/', 'secret/data/')}",
                headers=HEADERS,
                body=json.dumps(body).encode(),
            )
        )
        return True

    def writes(self) -> int:
        return self.vault.writes


HEADERS = {"x-vault-request": "true", "x-vault-token": ROOT}


class TestVaultStoreOfJava(TestVaultStore):
    settings: ClassVar = {"shape": "java", "pkcs12_password": "env:P12"}


class TestVaultStoreWithoutPatch(TestVaultStore):
    settings: ClassVar = {"shape": "kubernetes", "pending": False, "delete_version_after": "2160h"}

    @pytest.fixture(autouse=True)
    def server(self, tls: TlsFiles) -> Iterator[None]:
        self.tls = tls
        self.token = ROOT
        with FakeVault(server_tls(tls)) as self.vault:
            self.vault.patching = False
            self.vault.cas_required = True
            yield


@pytest.mark.skipif("CI_ACME_TEST_VAULT_ADDR" not in os.environ, reason="CI_ACME_TEST_VAULT_ADDR names no real server")
class TestRealVault(StoreContract):
    """A development server of Vault or OpenBao, with its engine at secret/."""

    @pytest.fixture(autouse=True)
    def server(self) -> None:
        self.path = f"secret/ci-acme-test/{uuid.uuid4()}"
        self.environ = {
            name: os.environ[f"CI_ACME_TEST_{name}"]
            for name in ("VAULT_ADDR", "VAULT_TOKEN", "VAULT_CACERT")
            if f"CI_ACME_TEST_{name}" in os.environ
        }

    def open_store(self) -> CertificateStore:
        settings = VaultSettings.model_validate({"provider": "vault", "path": self.path})
        return VaultStore(settings, context({}, environ=self.environ))

    @contextmanager
    def failing_writes(self) -> Generator[None]:
        token = self.environ["VAULT_TOKEN"]
        client = self._client(token)
        rules = 'path "secret/*" { capabilities = ["read"] }'
        assert client.send("POST", "/sys/policies/acl/ci-acme-test", deadline=soon(), body={"policy": rules}).ok
        made = client.send("POST", "/auth/token/create", deadline=soon(), body={"policies": ["ci-acme-test"]})
        self.environ["VAULT_TOKEN"] = made.document["auth"]["client_token"]
        yield
        self.environ["VAULT_TOKEN"] = token

    @contextmanager
    def denied(self) -> Generator[None]:
        token, self.environ["VAULT_TOKEN"] = self.environ["VAULT_TOKEN"], "hvs.nobody"
        yield
        self.environ["VAULT_TOKEN"] = token

    def plant_foreign(self) -> bool:
        path = self.path.replace("secret/", "/secret/data/", 1)
        client = self._client(self.environ["VAULT_TOKEN"])
        return client.send("POST", path, deadline=soon(), body={"data": {"password": "somebody's"}}).ok

    def _client(self, token: str) -> RestClient:
        bundle = self.environ.get("VAULT_CACERT")
        return RestClient(
            f"{self.environ['VAULT_ADDR']}/v1",
            headers={"X-Vault-Token": token, "X-Vault-Request": "true"},
            ca_bundle=Path(bundle) if bundle else None,
        )
