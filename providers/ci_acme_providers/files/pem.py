"""As much of PEM (RFC 7468) as a store needs, without a cryptography library."""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import Final

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")
_SEQUENCE: Final = 0x30


def certificate_der(pem: bytes) -> bytes | None:
    """The DER of the first certificate; None if there is none."""
    match = _CERTIFICATE.search(pem)
    if match is None:
        return None
    try:
        der = binascii.a2b_base64(match.group(1))
    except binascii.Error:
        return None
    return der if der and der[0] == _SEQUENCE else None


def fingerprint(pem: bytes) -> str | None:
    """Hex SHA-256 of the first certificate; None if there is none."""
    der = certificate_der(pem)
    return None if der is None else hashlib.sha256(der).hexdigest()


def same_text(one: bytes, other: bytes) -> bool:
    """Whether two PEM texts differ in white space at most."""
    return one.split() == other.split()


def after(fullchain: bytes, certificate: bytes) -> bytes | None:
    """What follows the leaf in `fullchain`; None if it does not begin with `certificate`."""
    first = certificate_der(fullchain)
    if first is None or first != certificate_der(certificate):
        return None
    match = _CERTIFICATE.search(fullchain)
    assert match is not None
    return fullchain[match.end() :].lstrip()
