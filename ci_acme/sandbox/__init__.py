"""A CA and a DNS server on loopback: what `ci-acme demo` runs on, and the fault injector of the tests.

`SandboxDns` is an authoritative name server with signed dynamic updates, `SandboxCa` an RFC 8555 CA that looks at real
DNS records over real sockets. Both refuse to listen anywhere but on loopback and keep everything in memory; the CA's
keys are made anew each time, and its certificates say in their names that they are not to be trusted. `Sandbox` starts
one of each, made for one another.

Both are servers in their own right, not mirrors of our client: certbot and lego issue from them in the tests.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, final

from ci_acme.model.secret import Secret
from ci_acme.sandbox.ca import SandboxCa
from ci_acme.sandbox.dns import SandboxDns

__all__ = ["DEMO_ZONE", "Sandbox", "SandboxCa", "SandboxDns"]

DEMO_ZONE: Final = "demo.test"


@final
class Sandbox:
    """A context manager that runs a `SandboxDns` and a `SandboxCa` which asks it.

    Args:
        directory: for the CA's PEM files.
        zones: zone names, or zone name -> records in master file form.

    `tsig_secret` is base64 text, as a config reference to it should give; the algorithm is ``hmac-sha256``.
    """

    tsig_algorithm: Final = "hmac-sha256"

    def __init__(self, directory: Path, zones: Mapping[str, str] | Iterable[str] = (DEMO_ZONE,)) -> None:
        self.tsig_name = "ci-acme"
        self.tsig_secret = Secret(base64.b64encode(secrets.token_bytes(32)))
        self.dns = SandboxDns(zones, {self.tsig_name: self.tsig_secret})
        self._directory = directory

    def __enter__(self) -> Sandbox:
        with ExitStack() as stack:
            stack.enter_context(self.dns)
            self.ca = stack.enter_context(SandboxCa(dns_server=self.dns.address, directory=self._directory))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def directory_url(self) -> str:
        """Where an ACME client starts."""
        return self.ca.directory_url

    @property
    def ca_bundle(self) -> Path:
        """PEM file to trust for TLS to the CA."""
        return self.ca.ca_bundle

    @property
    def root(self) -> Path:
        """PEM file of the root that issued certificates chain to."""
        return self.ca.root

    @property
    def dns_address(self) -> str:
        """``host:port`` of the name server, for queries and updates."""
        return self.dns.address
