"""Azure on loopback for one test module: sign-in host, management API and vault, all over TLS of a throw-away CA."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ci_acme.clock import SystemClock
from ci_acme.errors import SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import Clock, ProviderContext
from tests.clouds.entra import CLIENT, SECRET, TENANT
from tests.servers.tls import TlsFiles, tls_files


class QuickClock(SystemClock):
    """Waits take no time, and are noted; the time of deadlines goes by with them."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []
        self._skipped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._skipped

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._skipped += seconds
        self.check()


class Loopback:
    """The TLS of the fakes, and contexts of adapters that trust it."""

    def __init__(self, directory: Path) -> None:
        self.files: TlsFiles = tls_files(directory)

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.files.certificate, self.files.key)
        return context

    def access(self, authority: str, **more: Any) -> dict[str, Any]:
        """Settings that sign in with the application's secret."""
        return {
            "tenant": TENANT,
            "client": CLIENT,
            "client_secret": "env:SECRET",
            "authority": authority,
            "ca_bundle": str(self.files.ca_bundle),
            **more,
        }


def no_identity(audience: str) -> Secret:
    raise SecretError(f"this job has no identity token for {audience}", fix="give the job permissions: id-token: write")


def context(
    *,
    secret: str = SECRET,
    environ: Mapping[str, str] | None = None,
    identity: Callable[[str], Secret] = no_identity,
    certificate: str = "test",
    warn: Callable[[str], None] = lambda _: None,
    clock: Clock | None = None,
) -> ProviderContext:
    """What an adapter is made with: nothing of this process's environment."""
    return ProviderContext(
        lambda _: Secret(secret.encode()),
        clock or SystemClock(),
        certificate=certificate,
        environ={} if environ is None else environ,
        identity=identity,
        warn=warn,
    )
