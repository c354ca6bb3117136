"""AWS Secrets Manager keeps the contract of stores: botocore over loopback to a strict fake of the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import pytest

from ci_acme.ports import CertificateStore
from ci_acme.testing.store_contract import StoreContract
from ci_acme_providers.aws.secrets_manager import SecretsManagerStore
from ci_acme_providers.aws.store_config import SecretsManagerSettings
from tests.clouds.secretsmanager import SecretsManager
from tests.contract.aws_stores import broken, context, losing, prepare


@pytest.fixture(scope="module")
def fake() -> Iterator[SecretsManager]:
    with SecretsManager() as running:
        yield running


class TestSecretsManager(StoreContract):
    settings: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def service(self, monkeypatch: pytest.MonkeyPatch, fake: SecretsManager) -> None:
        self.fake, self.name = fake, f"preview/{prepare(monkeypatch)}/tls"

    def open_store(self) -> CertificateStore:
        settings = SecretsManagerSettings.model_validate(
            {"name": self.name, "endpoint": self.fake.url, **self.settings}
        )
        return SecretsManagerStore(settings, context())

    def failing_writes(self) -> AbstractContextManager[None]:
        return broken(self.fake, "EncryptionFailure")

    def denied(self) -> AbstractContextManager[None]:
        return self.fake.iam.only()

    def lost_reply(self) -> AbstractContextManager[None]:
        return losing(self.fake, "PutSecretValue", "TagResource", "UpdateSecretVersionStage")

    def metadata_rights(self) -> AbstractContextManager[None]:
        return self.fake.iam.only("secretsmanager:DescribeSecret")

    def plant_foreign(self) -> bool:
        self.fake.plant(self.name, '{"username": "postgres"}', team="web")
        return True

    def writes(self) -> int:
        return self.fake.writes


class TestSecretsManagerWithPkcs12(TestSecretsManager):
    settings: ClassVar = {"shape": "pkcs12", "pkcs12_password": "env:PASSWORD", "keep_order": False}


class TestSecretsManagerWithKubernetesFields(TestSecretsManager):
    settings: ClassVar = {"shape": "kubernetes", "base64": True, "kms_key": "alias/tls"}
