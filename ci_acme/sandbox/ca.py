"""`SandboxCa`: an ACME CA (RFC 8555) on loopback that validates for real and that nobody trusts."""

from __future__ import annotations

import os
import ssl
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Final, final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ci_acme.model.secret import Secret
from ci_acme.sandbox.core import VALIDITY, Core, Hierarchy
from ci_acme.sandbox.faults import Faults, RequestLog
from ci_acme.sandbox.http import HttpServer
from ci_acme.sandbox.issue import make_authority, pem, sign_leaf
from ci_acme.sandbox.loopback import host_port, require_loopback, split_host_port
from ci_acme.sandbox.orders import run_validation
from ci_acme.sandbox.records import Records
from ci_acme.sandbox.service import Service

_VALIDATORS: Final = 16
_TLS_LIFE: Final = timedelta(days=90)


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


@final
class SandboxCa:
    """A context manager that runs the CA; all of its state is in memory and gone at the end.

    Args:
        dns_server: ``ip[:port]`` of the server that is asked for TXT records, authoritative or recursive.
        directory: where `root`, `alternate_root` and `ca_bundle` are written as PEM; made if it is missing.
        host: a loopback address; anything else is a `ValueError`.
        port: 0 takes a free one.
        validity: profile -> length of validity; overrides or adds to `classic` (90 days, also the default of orders
            without a profile) and `shortlived` (160 hours).
        external_accounts: key id -> HMAC key (the bytes, not base64url) for external account binding.
        external_account_required: whether newAccount demands one of them.
        now: the wall clock that certificates and expiry follow.
    """

    def __init__(
        self,
        *,
        dns_server: str,
        directory: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Faults | None = None,
        validity: Mapping[str, timedelta] | None = None,
        external_accounts: Mapping[str, Secret | bytes] | None = None,
        external_account_required: bool = False,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.host = require_loopback(host)
        self.port = port
        self.faults = faults or Faults()
        self.log = RequestLog()
        self.root = directory / "root.pem"
        self.alternate_root = directory / "alternate-root.pem"
        self.ca_bundle = directory / "ca-bundle.pem"
        self._dns = split_host_port(dns_server, default_port=53)
        self._directory = directory
        self._validity = {**VALIDITY, **(validity or {})}
        keys = (external_accounts or {}).items()
        self._external_accounts = {name: key.reveal() if isinstance(key, Secret) else key for name, key in keys}
        self._external_account_required = external_account_required
        self._now = now
        self._closing = threading.Event()

    @property
    def directory_url(self) -> str:
        """Where an ACME client starts."""
        return f"{self._base}/directory"

    @property
    def crashes(self) -> list[str]:
        """Tracebacks of defects of the sandbox itself; a test may assert that there are none."""
        return self._service.crashes

    @property
    def _base(self) -> str:
        return f"https://{host_port(self.host, self.port)}"

    def __enter__(self) -> SandboxCa:
        self._directory.mkdir(parents=True, exist_ok=True)
        hierarchy = Hierarchy.make(self._now())
        self.root.write_text(pem(hierarchy.roots[0].certificate), encoding="ascii")
        self.alternate_root.write_text(pem(hierarchy.roots[1].certificate), encoding="ascii")
        context = _tls_identity(self.host, self.ca_bundle)
        self._validators = ThreadPoolExecutor(_VALIDATORS, thread_name_prefix="sandbox-va")
        self._http = HttpServer(self.host, self.port, context)
        self.port = self._http.port
        self._core = Core(
            records=Records(self._base),
            faults=self.faults,
            hierarchy=hierarchy,
            validity=self._validity,
            external_accounts=self._external_accounts,
            external_account_required=self._external_account_required,
            now=self._now,
            validate=self._validate,
        )
        self._service = Service(self._core, self.log, self._closing)
        self._http.start(self._service.handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._http.close()
        self._validators.shutdown(wait=True, cancel_futures=True)

    def _validate(self, url: str) -> None:
        self._validators.submit(
            self._service.guard, lambda: run_validation(self._core, url, self._dns, self._closing.wait)
        )


def _tls_identity(host: str, bundle: Path) -> ssl.SSLContext:
    """A server context with a certificate for `host` and ``localhost``; `bundle` gets what a client has to trust."""
    now = _utc_now()
    issuer = make_authority("TLS root", now - timedelta(hours=1))
    key = ec.generate_private_key(ec.SECP256R1())
    names = [host, "localhost"]
    leaf = sign_leaf(issuer, names, key.public_key(), now - timedelta(hours=1), now + _TLS_LIFE)
    bundle.write_text(pem(issuer.certificate), encoding="ascii")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    descriptor, name = tempfile.mkstemp(dir=bundle.parent, suffix=".pem")  # 0600; ssl reads keys from files only
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(private + pem(leaf))
        context.load_cert_chain(name)
    finally:
        Path(name).unlink()
    return context
