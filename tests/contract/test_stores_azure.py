"""The contract of stores, by Azure's SDKs on a strict fake of a vault over TLS."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ci_acme.ports import CertificateStore
from ci_acme.testing.store_contract import StoreContract
from ci_acme_providers.azure.config import KeyVaultSecretSettings, KeyVaultSettings
from ci_acme_providers.azure.key_vault import KeyVault
from ci_acme_providers.azure.key_vault_secret import KeyVaultSecret
from tests.clouds.api import lose_reply
from tests.clouds.azure import Loopback, context
from tests.clouds.azure_rbac import Assignment
from tests.clouds.entra import CLIENT, Entra
from tests.clouds.key_vault import VAULT, KeyVaultApi

_names = itertools.count()


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Loopback:
    return Loopback(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def shared(loopback: Loopback) -> Iterator[KeyVaultApi]:
    with Entra(loopback.server()) as entra, KeyVaultApi(loopback.server(), entra) as vault:
        yield vault


class VaultContract(StoreContract):
    """What the two stores have in common; each test has a name of its own in the vault."""

    chain_is_secret = True
    family: ClassVar[str]
    write: ClassVar[tuple[str, str]]
    metadata: ClassVar[tuple[str, ...]]
    settings: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def place(self, shared: KeyVaultApi, loopback: Loopback, tmp_path: Path) -> None:
        self.vault = shared
        self.name = f"tls-{next(_names)}"
        self.values = {
            "vault": shared.url,
            "name": self.name,
            **loopback.access(shared.entra.url),
            **self.settings,
        }

    @contextmanager
    def failing_writes(self) -> Generator[None]:
        """The vault does not take anything: what it refuses for good, it refuses at once."""
        self.vault.access.assignments[CLIENT] = [Assignment(VAULT, data=self.metadata)]
        try:
            yield
        finally:
            self.vault.access.assignments[CLIENT] = [Assignment(VAULT, data=("*",))]

    @contextmanager
    def _rights(self, *data: str) -> Generator[None]:
        self.vault.access.assignments[CLIENT] = [Assignment(VAULT, data=data)]
        try:
            yield
        finally:
            self.vault.access.assignments[CLIENT] = [Assignment(VAULT, data=("*",))]

    def denied(self) -> AbstractContextManager[None]:
        return self._rights()

    def metadata_rights(self) -> AbstractContextManager[None]:
        return self._rights(*self.metadata)

    @contextmanager
    def lost_reply(self) -> Generator[None]:
        method, end = self.write
        lost = len(self.vault.calls)
        self.vault.fail(
            lambda call: call.method == method and call.path.endswith(end.format(self.name)) and bool(call.body),
            lose_reply,
        )
        yield
        assert any(call.method == method for call in self.vault.calls[lost:])

    def writes(self) -> int:
        return self.vault.written

    def put_beside(self, name: str, data: bytes) -> bool:
        self.vault.current(self.family, self.name).tags[name] = data.decode()
        return True

    def beside(self, name: str) -> bytes | None:
        tag = self.vault.current(self.family, self.name).tags.get(name)
        return None if tag is None else tag.encode()


class TestKeyVault(VaultContract):
    family = "certificates"
    write = ("POST", "/certificates/{}/import")
    metadata = ("Microsoft.KeyVault/vaults/certificates/read",)

    def open_store(self) -> CertificateStore:
        return KeyVault(KeyVaultSettings.model_validate(self.values), context())

    def plant_foreign(self) -> bool:
        from ci_acme.testing.material import make_bundle, make_metadata

        bundle = make_bundle()
        self.open_store().publish(bundle, make_metadata(bundle), deadline=_soon())
        self.vault.current(self.family, self.name).tags.clear()
        return True


class TestKeyVaultSecret(VaultContract):
    family = "secrets"
    write = ("PUT", "/secrets/{}")
    metadata = ("Microsoft.KeyVault/vaults/secrets/readMetadata/action",)

    def open_store(self) -> CertificateStore:
        return KeyVaultSecret(KeyVaultSecretSettings.model_validate(self.values), context())

    def plant_foreign(self) -> bool:
        self.vault.put_secret(self.name, "somebody else's")
        return True


class TestKeyVaultSecretForApplicationGateway(TestKeyVaultSecret):
    settings: ClassVar = {"shape": "application-gateway"}


def _soon() -> Any:
    from ci_acme.testing.store_contract import soon

    return soon()
