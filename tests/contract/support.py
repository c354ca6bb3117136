"""What the contract tests of stores over REST share."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ci_acme.clock import SystemClock
from ci_acme.errors import SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import Clock, ProviderContext
from tests.clouds.api import Call, FakeApi, Fault
from tests.servers.tls import TlsFiles


def context(
    secrets: Mapping[str, str],
    *,
    environ: Mapping[str, str] | None = None,
    certificate: str = "test",
    clock: Clock | None = None,
    identity: Callable[[str], Secret] | None = None,
    warnings: list[str] | None = None,
) -> ProviderContext:
    """A context whose secret references are these and no others."""

    def reveal(reference: str) -> Secret:
        if reference not in secrets:
            raise SecretError(f"{reference} cannot be read: it is not set", fix=f"set {reference}")
        return Secret(secrets[reference].encode())

    more = {} if identity is None else {"identity": identity}
    return ProviderContext(
        reveal,
        clock or SystemClock(),
        certificate=certificate,
        environ=environ or {},
        warn=(warnings if warnings is not None else []).append,
        **more,
    )


def server_tls(files: TlsFiles) -> ssl.SSLContext:
    """TLS of a server on loopback."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files.certificate, files.key)
    return tls


@contextmanager
def failing(fake: FakeApi, when: Callable[[Call], bool], fault: Fault, times: int = 1000) -> Generator[None]:
    """Within, calls that fit fail; what was not used up is taken back."""
    fake.fail(when, fault, times)
    try:
        yield
    finally:
        with fake.lock:
            fake._faults.clear()


def key_lines(pem: bytes) -> list[bytes]:
    """The lines that no one else may see."""
    return pem.splitlines()[1:-1]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
