"""The store `kubernetes` keeps the contract of stores, on a strict fake over TLS (real ones: test_real_stores.py)."""

from __future__ import annotations

import base64
import json
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import pytest

from ci_acme.ports import CertificateStore
from ci_acme.testing.store_contract import StoreContract
from ci_acme_providers.kubernetes.adapter import KubernetesStore
from ci_acme_providers.kubernetes.config import KubernetesSettings
from tests.clouds.api import Answer, Call, lose_reply, refuse
from tests.clouds.kubernetes import ADMIN, FakeKubernetes
from tests.contract.support import context, failing, server_tls
from tests.servers.tls import TlsFiles, tls_files


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return tls_files(tmp_path_factory.mktemp("tls"))


def is_write(call: Call) -> bool:
    return call.method in {"POST", "PUT"} and "/secrets" in call.path and call.one("dryRun") is None


class TestKubernetesStore(StoreContract):
    settings: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def server(self, tls: TlsFiles) -> Iterator[None]:
        self.tls = tls
        with FakeKubernetes(server_tls(tls)) as self.cluster:
            yield

    def open_store(self) -> CertificateStore:
        settings = KubernetesSettings.model_validate(
            {
                "provider": "kubernetes",
                "server": self.cluster.url,
                "ca_bundle": str(self.tls.ca_bundle),
                "token": "env:TOKEN",
                "namespace": "web",
                "name": "site-tls",
                **self.settings,
            }
        )
        return KubernetesStore(settings, context({"env:TOKEN": ADMIN, "env:P12": "changeit"}))

    def failing_writes(self) -> AbstractContextManager[None]:
        return failing(self.cluster, is_write, refuse(Answer.of({"kind": "Status", "reason": "InternalError"}, 507)))

    def lost_reply(self) -> AbstractContextManager[None]:
        return failing(self.cluster, is_write, lose_reply, times=1)

    @contextmanager
    def denied(self) -> Generator[None]:
        self.cluster.users[ADMIN] = []
        yield
        self.cluster.users[ADMIN] = None

    def plant_foreign(self) -> bool:
        self.put({"tls.crt": b"mine", "tls.key": b"mine"})
        return True

    def put(self, data: dict[str, bytes], **more: Any) -> None:
        """What `kubectl` would make."""
        encoded = {name: base64.b64encode(value).decode() for name, value in data.items()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "site-tls"}, "data": encoded, **more}
        head = {"authorization": f"Bearer {ADMIN}"}
        answer = self.cluster.handle(
            Call("POST", "/api/v1/namespaces/web/secrets", headers=head, body=json.dumps(body).encode())
        )
        assert answer.status == 201, answer

    def put_beside(self, name: str, data: bytes) -> bool:
        self.cluster.secrets["web", "site-tls"]["data"][name] = base64.b64encode(data).decode()
        return True

    def beside(self, name: str) -> bytes | None:
        data = self.cluster.secrets["web", "site-tls"]["data"]
        return base64.b64decode(data[name]) if name in data else None

    def writes(self) -> int:
        return self.cluster.writes


class TestKubernetesStoreOfJava(TestKubernetesStore):
    settings: ClassVar = {"shape": "java", "pkcs12_password": "env:P12", "pending": False, "labels": {"team": "web"}}
