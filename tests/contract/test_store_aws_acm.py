"""ACM keeps the contract of stores: botocore over loopback to a strict fake of the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import pytest

from ci_acme.ports import CertificateStore
from ci_acme.testing.material import make_bundle
from ci_acme.testing.store_contract import StoreContract
from ci_acme_providers.aws.acm import AcmStore
from ci_acme_providers.aws.store_config import AcmSettings
from tests.clouds.acm import Acm, in_2030
from tests.contract.aws_stores import broken, context, losing, prepare


@pytest.fixture(scope="module")
def fake() -> Iterator[Acm]:
    with Acm(in_2030) as running:
        yield running


class TestAcm(StoreContract):
    settings: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def service(self, monkeypatch: pytest.MonkeyPatch, fake: Acm) -> None:
        self.fake, self.name = fake, f"preview/{prepare(monkeypatch)}"
        fake.certificates.clear()
        for _ in range(3):
            self.plant("of somebody else")

    def plant(self, name: str) -> str:
        bundle = make_bundle()
        return self.fake.plant(bundle.certificate, bundle.chain, bundle.key.reveal(), Name=name)

    def open_store(self) -> CertificateStore:
        settings = AcmSettings.model_validate({"name": self.name, "endpoint": self.fake.url, **self.settings})
        return AcmStore(settings, context())

    def failing_writes(self) -> AbstractContextManager[None]:
        return broken(self.fake, "ConflictException")

    def denied(self) -> AbstractContextManager[None]:
        return self.fake.iam.only()

    def lost_reply(self) -> AbstractContextManager[None]:
        return losing(self.fake, "AddTagsToCertificate", "ImportCertificate")

    def metadata_rights(self) -> AbstractContextManager[None]:
        return self.fake.iam.only("acm:ListCertificates", "acm:ListTagsForCertificate", "acm:GetCertificate")

    def plant_foreign(self) -> bool:
        bundle = make_bundle()
        tags = {"ci-acme-store": self.name}
        self.fake.plant(bundle.certificate, bundle.chain, bundle.key.reveal(), **tags)
        return True

    def writes(self) -> int:
        return self.fake.writes
