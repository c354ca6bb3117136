"""The store `vault` keeps the contract of stores, on a strict fake over TLS (on real servers: test_real_stores.py)."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import pytest

from ci_acme.ports import CertificateStore
from ci_acme.testing.store_contract import StoreContract
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
        return failing(self.vault, is_write, refuse(Answer.of({"errors": ["no space left on device"]}, 507)))

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
        body = {"data": {"password": "somebody's"}, "options": {"cas": 0}}
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
