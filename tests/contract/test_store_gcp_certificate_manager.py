"""The contract of stores on Certificate Manager, with Google's description of the API as the judge."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ci_acme.ports import CertificateStore
from ci_acme.testing.store_contract import StoreContract
from ci_acme_providers.gcp.certificate_manager import CertificateManagerStore
from ci_acme_providers.gcp.config import CertificateManagerSettings
from tests.clouds.api import Answer, lose_reply, refuse
from tests.clouds.google import Iam
from tests.clouds.google_certificates import GoogleCertificates
from tests.clouds.google_support import ACCESS, PROJECT, context, trust
from tests.clouds.google_tokens import CiTokens, GoogleTokens

NAME = f"projects/{PROJECT}/locations/global/certificates/web"


def is_write(call: Any) -> bool:
    return bool(call.method != "GET")


class TestCertificateManager(StoreContract):
    @pytest.fixture(autouse=True)
    def cloud(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr("ci_acme_providers.gcp.certificate_manager._POLL", (0.005, 0.02))
        monkeypatch.setattr("ci_acme_providers.gcp.store_base.backoff", lambda _: 0.01)
        self.iam = Iam()
        with (
            GoogleCertificates(self.iam) as self.api,
            GoogleTokens(self.iam) as self.tokens,
            CiTokens(time.time) as self.ci,
        ):
            trust(self.tokens)
            yield

    def open_store(self) -> CertificateStore:
        settings = CertificateManagerSettings.model_validate({"name": "web", **ACCESS, "endpoint": self.api.url})
        return CertificateManagerStore(settings, context(self.tokens, ci=self.ci))

    @contextmanager
    def failing_writes(self) -> Generator[None]:
        self.api.fail(is_write, refuse(Answer.of({"error": {"code": 403, "status": "PERMISSION_DENIED"}}, 403)), 50)
        yield
        self.api.forgive()

    @contextmanager
    def denied(self) -> Generator[None]:
        bindings, self.iam.bindings = self.iam.bindings, [b for b in self.iam.bindings if b.permissions is not None]
        yield
        self.iam.bindings = bindings

    @contextmanager
    def lost_reply(self) -> Generator[None]:
        self.api.fail(is_write, lose_reply)
        yield

    def plant_foreign(self) -> bool:
        self.api.certificates[NAME] = {
            "name": NAME,
            "managed": {"domains": ["www.example.com"], "state": "ACTIVE"},
            "sanDnsnames": ["www.example.com"],
        }
        return True

    def put_beside(self, name: str, data: bytes) -> bool:
        self.api.certificates[NAME]["labels"][name] = data.decode()
        return True

    def beside(self, name: str) -> bytes | None:
        found = self.api.certificates[NAME]["labels"].get(name)
        return None if found is None else str(found).encode()

    def writes(self) -> int | None:
        return sum(is_write(call) for call in self.api.calls)
