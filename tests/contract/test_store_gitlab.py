"""The store `gitlab-variables` keeps the contract of stores, on a strict fake."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import pytest

from ci_acme.ports import CertificateStore
from ci_acme.testing.store_contract import StoreContract
from ci_acme_providers.gitlab.adapter import GitlabStore
from ci_acme_providers.gitlab.config import GitlabSettings
from tests.clouds.api import Answer, Call, lose_reply, refuse
from tests.clouds.gitlab import OWNER, TOKEN, FakeGitLab, Token
from tests.contract.support import context, failing


def is_write(call: Call) -> bool:
    return call.method in {"PUT", "POST"} and not call.path.endswith("SITE_TLS_METADATA")


class TestGitlabStore(StoreContract):
    settings: ClassVar[dict[str, Any]] = {"project": "web/site"}
    owner: ClassVar = "projects/7"

    @pytest.fixture(autouse=True)
    def server(self) -> Iterator[None]:
        with FakeGitLab() as self.gitlab:
            yield
            assert self.gitlab.problems == []

    def open_store(self) -> CertificateStore:
        settings = GitlabSettings.model_validate(
            {"api": self.gitlab.url, "name": "SITE_TLS", "token": "env:TOKEN", **self.settings}
        )
        return GitlabStore(settings, context({"env:TOKEN": TOKEN, "env:P12": "changeit"}))

    def failing_writes(self) -> AbstractContextManager[None]:
        return failing(self.gitlab, is_write, refuse(Answer.of({"message": "500 Internal Server Error"}, 507)))

    def lost_reply(self) -> AbstractContextManager[None]:
        return failing(self.gitlab, is_write, lose_reply, times=1)

    @contextmanager
    def denied(self) -> Generator[None]:
        self.gitlab.tokens[TOKEN] = Token(30, ["api"])
        yield
        self.gitlab.tokens[TOKEN] = Token(OWNER, ["api"])

    @contextmanager
    def metadata_rights(self) -> Generator[None]:
        """The smallest right that reads: GitLab does not tell metadata and values apart."""
        self.gitlab.tokens[TOKEN] = Token(OWNER, ["read_api"])
        yield
        self.gitlab.tokens[TOKEN] = Token(OWNER, ["api"])

    def plant_foreign(self) -> bool:
        self.gitlab.put(self.owner, "SITE_TLS", "mine", self.settings.get("environment_scope", "*"))
        return True

    def writes(self) -> int:
        return self.gitlab.writes


class TestGitlabStoreOfAGroup(TestGitlabStore):
    settings: ClassVar = {
        "group": "web",
        "shape": "pkcs12",
        "environment_scope": "live/*",
        "pkcs12_password": "env:P12",
    }
    owner: ClassVar = "groups/web"

    @pytest.fixture(autouse=True)
    def neighbour(self, server: None) -> None:
        """The same key in another scope, which is nobody's business."""
        self.gitlab.put(self.owner, "SITE_TLS", "another environment's", "test/*")


class TestGitlabStoreThatHides(TestGitlabStore):
    settings: ClassVar = {"project": "web/site", "hidden": True, "type": "file", "protected": True, "shape": "json"}
