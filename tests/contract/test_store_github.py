"""The store `github-secrets` keeps the contract of stores, on a fake that GitHub's OpenAPI description judges."""

from __future__ import annotations

import base64
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import pytest
from nacl.public import SealedBox

from ci_acme import shapes
from ci_acme.model.material import Bundle
from ci_acme.ports import CertificateStore
from ci_acme.testing.store_contract import StoreContract
from ci_acme_providers.github.adapter import GithubStore
from ci_acme_providers.github.config import GithubSettings
from tests.clouds.api import Answer, Call, lose_reply, refuse
from tests.clouds.github import TOKEN, FakeGitHub, quicken
from tests.contract.support import context, failing


def is_write(call: Call) -> bool:
    return call.method == "PUT" and "/secrets/" in call.path


class TestGithubStore(StoreContract):
    settings: ClassVar[dict[str, Any]] = {"repository": "octo/site"}
    place: ClassVar = "/repos/octo/site"

    @pytest.fixture(autouse=True)
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        quicken(monkeypatch)
        with FakeGitHub() as self.github:
            yield
            assert self.github.problems == []

    def open_store(self) -> CertificateStore:
        return GithubStore(self._settings(), context({"env:TOKEN": TOKEN}))

    def _settings(self) -> GithubSettings:
        return GithubSettings.model_validate(
            {"api": self.github.url, "name": "SITE_TLS", "token": "env:TOKEN", **self.settings}
        )

    def assert_holds(self, bundle: Bundle) -> None:
        """What a workflow would see, too."""
        super().assert_holds(bundle)
        shape = self._settings().made
        value = self.github.places[self.place].value("SITE_TLS")
        assert shapes.load(shapes.fields_of(value.encode(), shape), shape) == bundle

    def failing_writes(self) -> AbstractContextManager[None]:
        return failing(self.github, is_write, refuse(Answer.of({"message": "Server Error"}, 507)))

    def lost_reply(self) -> AbstractContextManager[None]:
        return failing(self.github, is_write, lose_reply, times=1)

    @contextmanager
    def denied(self) -> Generator[None]:
        rights = self.github.tokens.pop(TOKEN)
        yield
        self.github.tokens[TOKEN] = rights

    @contextmanager
    def metadata_rights(self) -> Generator[None]:
        self.github.tokens[TOKEN] = {"read"}
        yield
        self.github.tokens[TOKEN] = {"read", "write"}

    def plant_foreign(self) -> bool:
        place = self.github.places[self.place]
        sealed = base64.b64encode(SealedBox(place.key.public_key).encrypt(b"somebody's")).decode()
        body = {"encrypted_value": sealed, "key_id": place.key_id, "visibility": "all"}
        assert self.github._put(place, "SITE_TLS", body).status == 201
        return True

    def writes(self) -> int:
        return self.github.writes


class TestGithubStoreOfAnEnvironment(TestGithubStore):
    settings: ClassVar = {"repository": "octo/site", "environment": "live site", "shape": "json"}
    place: ClassVar = "/repos/octo/site/environments/live site"
