"""Parameter Store keeps the contract of stores: botocore over loopback to a strict fake of the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import pytest

from ci_acme.ports import CertificateStore
from ci_acme.testing.store_contract import StoreContract
from ci_acme_providers.aws.ssm import SsmStore
from ci_acme_providers.aws.store_config import SsmSettings
from tests.clouds.ssm import Ssm
from tests.contract.aws_stores import broken, context, losing, prepare


@pytest.fixture(scope="module")
def fake() -> Iterator[Ssm]:
    with Ssm() as running:
        yield running


class TestSsm(StoreContract):
    settings: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def service(self, monkeypatch: pytest.MonkeyPatch, fake: Ssm) -> None:
        self.fake, self.name = fake, f"/preview/{prepare(monkeypatch)}/tls"

    def open_store(self) -> CertificateStore:
        settings = SsmSettings.model_validate({"name": self.name, "endpoint": self.fake.url, **self.settings})
        return SsmStore(settings, context())

    def failing_writes(self) -> AbstractContextManager[None]:
        return broken(self.fake, "ParameterLimitExceeded")

    def denied(self) -> AbstractContextManager[None]:
        return self.fake.iam.only()

    def lost_reply(self) -> AbstractContextManager[None]:
        return losing(self.fake, "AddTagsToResource", "PutParameter")

    def metadata_rights(self) -> AbstractContextManager[None]:
        return self.fake.iam.only("ssm:DescribeParameters", "ssm:ListTagsForResource")

    def plant_foreign(self) -> bool:
        self.fake.plant(self.name, "a setting of an application")
        return True

    def writes(self) -> int:
        return self.fake.writes


class TestSsmAdvancedJson(TestSsm):
    settings: ClassVar = {"shape": "json", "tier": "advanced", "kms_key": "alias/tls"}


class TestSsmWithPkcs12(TestSsm):
    settings: ClassVar = {"shape": "pkcs12", "base64": True}
