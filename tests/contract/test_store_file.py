"""The file store keeps the contract of stores, by exchange of names and by two renames."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from ci_acme.clock import SystemClock
from ci_acme.model.secret import Secret
from ci_acme.ports import CertificateStore, ProviderContext
from ci_acme.testing.store_contract import StoreContract
from ci_acme_providers.files import slot
from ci_acme_providers.files.adapter import FileStore
from ci_acme_providers.files.config import FileSettings

resource = pytest.importorskip("resource", reason="the system has no file size limits to fail with")


def no_secrets(reference: str) -> Secret:
    raise AssertionError(reference)


class TestFileStore(StoreContract):
    formats: ClassVar = ["pem"]

    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "certs"

    def open_store(self) -> CertificateStore:
        settings = FileSettings.model_validate(
            {"provider": "file", "directory": str(self.directory), "formats": self.formats}
        )
        return FileStore(settings, ProviderContext(no_secrets, SystemClock(), certificate="test"))

    @contextmanager
    def failing_writes(self) -> Generator[None]:
        """No file of this process may grow beyond 100 bytes: what a full disk does, without needing one."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
            assert not any(path.name.startswith(".") for path in self.directory.iterdir())

    def plant_foreign(self) -> bool:
        (self.directory / "test").mkdir(parents=True)
        (self.directory / "test" / "privkey.pem").write_text("mine")
        return True

    def put_beside(self, name: str, data: bytes) -> bool:
        (self.directory / "test" / name).write_bytes(data)
        return True

    def beside(self, name: str) -> bytes | None:
        path = self.directory / "test" / name
        return path.read_bytes() if path.exists() else None


class TestFileStoreWithPkcs12(TestFileStore):
    formats: ClassVar = ["pem", "pkcs12"]


class TestFileStoreWithoutExchange(TestFileStore):
    @pytest.fixture(autouse=True)
    def no_exchange(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slot, "exchange", lambda one, other: False)


def test_the_suite_is_not_empty() -> None:
    assert sum(name.startswith("test_") for name in dir(TestFileStore)) >= 14
