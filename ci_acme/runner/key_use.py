"""What an account key must not be besides: the key of a certificate (RFC 8555 section 11.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ci_acme.errors import StateError

if TYPE_CHECKING:
    from ci_acme.runner.services import Services


def keys_of_certificates(services: Services) -> set[object]:
    """The keys of all certificates in the inventory: SHA-256 of their SPKI. Empty if the state cannot be read."""
    from ci_acme.state.ledger import Ledger

    try:
        return {entry["spki_sha256"] for entry in Ledger(services.state()).entries() if entry.get("spki_sha256")}
    except StateError:
        return set()
