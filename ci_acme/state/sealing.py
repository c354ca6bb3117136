"""Private keys in state: only ever sealed, under a secret that is not in the state.

AES-256-GCM under a key of HKDF-SHA256 (RFC 5869) from the secret and a random salt. What the key is for goes in as
associated data, so that a sealed key serves for nothing else.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ci_acme.errors import SecretError
from ci_acme.model.secret import Secret

LEAST_BYTES: Final = 32
_FORMAT: Final = b"\x01"
_SALT: Final = 32
_NONCE: Final = 12


def seal(secret: Secret, content: Secret, purpose: str, *, reference: str) -> bytes:
    """`content` sealed for `purpose`. Raises `SecretError` for a secret of less than 32 bytes."""
    if len(secret.reveal()) < LEAST_BYTES:
        raise SecretError(
            f"the state key in {reference} has less than {LEAST_BYTES} bytes",
            fix="give it 32 random bytes or more, such as `openssl rand -base64 32` prints",
        )
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    sealed = AESGCM(_derive(secret, salt)).encrypt(nonce, content.reveal(), _bound(purpose))
    return _FORMAT + salt + nonce + sealed


def unseal(secret: Secret, sealed: bytes, purpose: str) -> Secret | None:
    """What was sealed; None if it was for another purpose, under another secret, or has changed since."""
    if not sealed.startswith(_FORMAT):
        return None
    salt, rest = sealed[1 : 1 + _SALT], sealed[1 + _SALT :]
    try:
        return Secret(AESGCM(_derive(secret, salt)).decrypt(rest[:_NONCE], rest[_NONCE:], _bound(purpose)))
    except (InvalidTag, ValueError):
        return None


def _derive(secret: Secret, salt: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=salt, info=b"ci-acme/state-key/1").derive(secret.reveal())


def _bound(purpose: str) -> bytes:
    return b"ci-acme/pending/1\0" + purpose.encode()
