"""Certificates that a client must refuse."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ci_acme.sandbox.faults import Flaw
from ci_acme.sandbox.issue import Issuer, SubjectKey, make_authority, pem, sign_leaf

_GARBAGE: Final = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n"
_EXTRA: Final = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


def flawed(
    flaw: Flaw, issuer: Issuer, names: Sequence[str], key: SubjectKey, validity: tuple[datetime, datetime]
) -> tuple[x509.Certificate, str]:
    """A leaf and its PEM chain, wrong in exactly one way."""
    start, end = validity
    if flaw is Flaw.OTHER_KEY:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
    elif flaw is Flaw.OTHER_NAMES:
        names = [f"other.{names[0].removeprefix('*.')}"]
    elif flaw is Flaw.EXPIRED:
        start, end = start - timedelta(days=2), start - timedelta(days=1)
    leaf = sign_leaf(issuer, names, key, start, end)
    if flaw is Flaw.GARBAGE_CHAIN:
        return leaf, pem(leaf) + _GARBAGE
    if flaw is Flaw.FOREIGN_CHAIN:
        return leaf, pem(leaf, make_authority("stranger", start).certificate)
    chain = pem(leaf, issuer.certificate)
    return leaf, chain + _EXTRA if flaw is Flaw.EXTRA_BLOCK else chain
