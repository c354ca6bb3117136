"""What the CA remembers, in memory only: accounts, orders, authorizations, challenges, certificates, nonces."""

from __future__ import annotations

import secrets
import threading
import time
from datetime import datetime
from typing import Any, Final

from cryptography import x509

from ci_acme.dataclass import dataclass, field
from ci_acme.sandbox.jose import Jwk, b64url
from ci_acme.sandbox.problems import Problem

_MAX_NONCES: Final = 50_000


@dataclass
class Account:
    """RFC 8555 section 7.1.2."""

    url: str
    jwk: Jwk
    contact: list[str]
    status: str = "valid"
    orders: list[str] = field(default_factory=list[str])
    external_account: dict[str, Any] | None = None


@dataclass
class Challenge:
    """RFC 8555 section 7.1.5."""

    url: str
    kind: str
    token: str
    status: str = "pending"
    validated: datetime | None = None
    error: dict[str, Any] | None = None


@dataclass
class Authorization:
    """RFC 8555 section 7.1.4; `name` is without ``*.``."""

    url: str
    account: Account
    name: str
    wildcard: bool
    expires: datetime
    challenges: list[Challenge] = field(default_factory=list[Challenge])
    deactivated: bool = False

    def status(self, now: datetime) -> str:
        """Follows from the challenges."""
        states = {challenge.status for challenge in self.challenges}
        if self.deactivated:
            return "deactivated"
        if "invalid" in states:
            return "invalid"
        if now >= self.expires:
            return "expired" if "valid" in states else "invalid"
        return "valid" if "valid" in states else "pending"


@dataclass
class IssuedCertificate:
    """A certificate, its chains (the first is the default), and what became of it."""

    url: str
    account: Account
    leaf: x509.Certificate
    names: tuple[str, ...]
    chains: list[str]
    revoked: datetime | None = None
    replaced_by: Order | None = None

    @property
    def ari_id(self) -> str:
        """The identifier of RFC 9773 section 4.1."""
        return ari_id(self.leaf)


@dataclass
class Order:
    """RFC 8555 section 7.1.3."""

    url: str
    account: Account
    names: tuple[str, ...]
    authorizations: list[Authorization]
    expires: datetime
    profile: str
    not_before: datetime | None = None
    not_after: datetime | None = None
    replaces: str | None = None
    certificate: IssuedCertificate | None = None
    done_at: float = 0.0

    def status(self, now: datetime) -> str:
        """Follows from the authorizations, which expire with the order, and once finalized from the time."""
        if self.certificate is not None:
            return "valid" if time.monotonic() >= self.done_at else "processing"
        states = {authorization.status(now) for authorization in self.authorizations}
        if states - {"pending", "valid"}:
            return "invalid"
        return "pending" if "pending" in states else "ready"

    @property
    def error(self) -> dict[str, Any] | None:
        """The first challenge's error that made the order invalid."""
        failed = (c for a in self.authorizations for c in a.challenges if c.status == "invalid")
        return next((challenge.error for challenge in failed), None)


def ari_id(certificate: x509.Certificate) -> str:
    """base64url(authority key identifier) "." base64url(DER content of the serial number)."""
    extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    key_id = extension.value.key_identifier
    assert key_id is not None
    serial = certificate.serial_number
    return f"{b64url(key_id)}.{b64url(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


class Records:
    """The tables and the lock that guards them. Handlers hold `lock` while they read or change anything."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.lock = threading.RLock()
        self.accounts: dict[str, Account] = {}
        self.orders: dict[str, Order] = {}
        self.authorizations: dict[str, Authorization] = {}
        self.challenges: dict[str, tuple[Authorization, Challenge]] = {}
        self.certificates: dict[str, IssuedCertificate] = {}
        self.bindings: set[str] = set()
        self._nonces: dict[str, None] = {}

    def new_url(self, kind: str) -> str:
        """A URL that nobody can guess."""
        return f"{self.base}/{kind}/{secrets.token_urlsafe(9)}"

    def new_nonce(self) -> str:
        """A nonce that can be used once; of very many unused ones the oldest are forgotten."""
        nonce = secrets.token_urlsafe(16)
        with self.lock:
            self._nonces[nonce] = None
            if len(self._nonces) > _MAX_NONCES:
                del self._nonces[next(iter(self._nonces))]
        return nonce

    def use_nonce(self, nonce: Any) -> bool:
        """Whether `nonce` was ours and unused; it no longer is."""
        with self.lock:
            known = isinstance(nonce, str) and nonce in self._nonces
            if known:
                del self._nonces[nonce]
            return known

    def account_by_key(self, jwk: Jwk) -> Account | None:
        """The account of this key."""
        return next((account for account in self.accounts.values() if account.jwk.thumbprint == jwk.thumbprint), None)

    def certificate_by_ari_id(self, identifier: str) -> IssuedCertificate:
        """Raises `Problem`: 400 for what is no identifier, 404 for an unknown one."""
        if identifier.count(".") != 1:
            raise Problem("malformed", "a certificate identifier is KEYID.SERIAL (RFC 9773 section 4.1)")
        for certificate in self.certificates.values():
            if certificate.ari_id == identifier:
                return certificate
        raise Problem("malformed", "no certificate with this identifier was issued here", status=404)
