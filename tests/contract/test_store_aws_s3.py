"""S3 keeps the contract of stores: botocore over loopback to a strict fake of the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import pytest

from ci_acme.ports import CertificateStore
from ci_acme.testing.store_contract import StoreContract
from ci_acme_providers.aws.s3 import S3Store
from ci_acme_providers.aws.store_config import S3Settings
from tests.clouds.api import lose_reply
from tests.clouds.s3 import S3
from tests.contract.aws_stores import broken, context, prepare

BUCKET = "certificates"


@pytest.fixture(scope="module")
def fake() -> Iterator[S3]:
    with S3(BUCKET) as running:
        yield running


class TestS3(StoreContract):
    settings: ClassVar[dict[str, Any]] = {}
    versioned: ClassVar = False

    @pytest.fixture(autouse=True)
    def service(self, monkeypatch: pytest.MonkeyPatch, fake: S3) -> None:
        self.fake, self.key = fake, f"preview/{prepare(monkeypatch)} 7/tls+1.json"
        fake.versioned = self.versioned

    def open_store(self) -> CertificateStore:
        given = {"bucket": BUCKET, "key": self.key, "endpoint": self.fake.url, **self.settings}
        return S3Store(S3Settings.model_validate(given), context())

    def failing_writes(self) -> AbstractContextManager[None]:
        return broken(self.fake, "InvalidRequest")

    def denied(self) -> AbstractContextManager[None]:
        return self.fake.iam.only()

    @contextmanager
    def lost_reply(self) -> Iterator[None]:
        self.fake.fail(lambda call: call.method == "PUT", lose_reply)
        yield
        assert self.fake._faults == []

    def metadata_rights(self) -> AbstractContextManager[None]:
        return self.fake.iam.only("s3:GetObjectTagging")

    def plant_foreign(self) -> bool:
        self.fake.plant(self.key, b"a file of an application", team="web")
        return True

    def writes(self) -> int:
        return self.fake.writes


class TestS3WithVersionsAndKms(TestS3):
    settings: ClassVar = {"kms_key": "alias/tls", "shape": "haproxy"}
    versioned: ClassVar = True


class TestS3WithPkcs12(TestS3):
    settings: ClassVar = {"shape": "java", "pkcs12_password": "env:PASSWORD", "keep_order": False}
