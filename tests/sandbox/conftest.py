from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ci_acme.sandbox import Sandbox, SandboxCa, SandboxDns
from tests.sandbox.raw_client import Key, RawClient

ZONE = "demo.test"
TSIG_SECRET = b"c2FuZGJveC10ZXN0cy1zZWNyZXQtb2YtMzItYnl0ZXM="


@pytest.fixture
def dns() -> Iterator[SandboxDns]:
    with SandboxDns([ZONE, "other.test"], {"ci-acme": TSIG_SECRET}) as server:
        yield server


@pytest.fixture
def make_ca(dns: SandboxDns, tmp_path: Path) -> Iterator[Callable[..., SandboxCa]]:
    with ExitStack() as stack:

        def make(**settings: Any) -> SandboxCa:
            ca = stack.enter_context(SandboxCa(dns_server=dns.address, directory=tmp_path / "ca", **settings))
            stack.callback(lambda: _assert_no_crash(ca))
            return ca

        yield make


@pytest.fixture
def ca(make_ca: Callable[..., SandboxCa]) -> SandboxCa:
    return make_ca()


@pytest.fixture
def connect() -> Iterator[Callable[..., RawClient]]:
    """Make a client of a CA, registered unless told otherwise."""
    with ExitStack() as stack:

        def make(ca: SandboxCa, key: Key | None = None, *, register: bool = True) -> RawClient:
            client = RawClient(ca.directory_url, ca.ca_bundle, key)
            stack.callback(client.close)
            if register:
                assert client.register().status == 201
            return client

        yield make


@pytest.fixture
def client(ca: SandboxCa, connect: Callable[..., RawClient]) -> RawClient:
    return connect(ca)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "sandbox") as running:
        yield running
        _assert_no_crash(running.ca)


def _assert_no_crash(ca: SandboxCa) -> None:
    assert not ca.crashes, "\n".join(ca.crashes)
