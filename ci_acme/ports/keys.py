"""Account keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Signer(Protocol):
    """An account key that can sign, wherever it lives."""

    @property
    def alg(self) -> str:
        """JWS algorithm: ES256, ES384, RS256."""
        ...

    @property
    def jwk(self) -> Mapping[str, str]:
        """The public key as a JWK with exactly the members of RFC 7638 section 3.2."""
        ...

    def sign(self, data: bytes) -> bytes:
        """A JWS signature over `data`: raw r||s for EC (RFC 7518 section 3.4)."""
        ...
