"""The contract of stores on Secret Manager, with Google's description of the API as the judge."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from ci_acme.model.secret import Secret
from ci_acme.ports import CertificateStore
from ci_acme.testing.store_contract import StoreContract
from ci_acme_providers.gcp.config import SecretManagerSettings
from ci_acme_providers.gcp.secret_manager import SecretManagerStore
from tests.clouds.api import Answer, lose_reply, refuse
from tests.clouds.google import Iam
from tests.clouds.google_secrets import GoogleSecrets, Version
from tests.clouds.google_secrets import Secret as Stored
from tests.clouds.google_support import ACCESS, PROJECT, context, trust
from tests.clouds.google_tokens import CiTokens, GoogleTokens

NAME = f"projects/{PROJECT}/secrets/web-tls"


def is_write(call: Any) -> bool:
    return call.method != "GET" and not call.path.endswith(":testIamPermissions")


class TestSecretManager(StoreContract):
    settings: ClassVar[dict[str, Any]] = {}
    name: ClassVar[str] = NAME

    @pytest.fixture(autouse=True)
    def cloud(self) -> Iterator[None]:
        self.iam = Iam()
        with GoogleSecrets(self.iam) as self.api, GoogleTokens(self.iam) as self.tokens, CiTokens(time.time) as self.ci:
            trust(self.tokens)
            yield

    def open_store(self) -> CertificateStore:
        settings = SecretManagerSettings.model_validate(
            {"name": "web-tls", **ACCESS, "endpoint": self.api.url, **self.settings}
        )
        made = context(self.tokens, ci=self.ci, secrets=lambda _: Secret(b"changeit"))
        return SecretManagerStore(settings, made)

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

    @contextmanager
    def metadata_rights(self) -> Generator[None]:
        self.iam.denied |= {"secretmanager.versions.access", "secretmanager.versions.get"}
        yield
        self.iam.denied.clear()

    def put_beside(self, name: str, data: bytes) -> bool:
        self.api.secrets[self.name].fields["annotations"][name] = data.decode()
        return True

    def beside(self, name: str) -> bytes | None:
        found = self.api.secrets[self.name].fields["annotations"].get(name)
        return None if found is None else str(found).encode()

    def plant_foreign(self) -> bool:
        fields = {"name": self.name, "replication": {"automatic": {}}, "createTime": "2026-01-01T00:00:00Z"}
        self.api.secrets[self.name] = Stored(fields, [Version(b"somebody's", created="2026-01-01T00:00:00Z")])
        return True

    def writes(self) -> int | None:
        return sum(is_write(call) for call in self.api.calls)


class TestRegionalWithAliasAndPending(TestSecretManager):
    settings: ClassVar[dict[str, Any]] = {
        "location": "europe-west3",
        "alias": "current",
        "hold_orders": True,
        "keep_versions": 1,
        "labels": {"team": "web"},
    }
    name: ClassVar[str] = f"projects/{PROJECT}/locations/europe-west3/secrets/web-tls"


class TestPkcs12KeptEmpty(TestSecretManager):
    settings: ClassVar[dict[str, Any]] = {
        "shape": "java",
        "pkcs12_password": "env:PASSWORD",
        "keep_secret": True,
        "expire_after": 86400,
    }
