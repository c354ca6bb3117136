"""Whether a key is whole and of a certificate, told by its public part, without a cryptography library.

Loading one takes longer than everything else that a run does which has nothing to do.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

_KEY: Final = re.compile(rb"-----BEGIN (EC |RSA |)PRIVATE KEY-----\s+([A-Za-z0-9+/=\s]+?)-----END \1PRIVATE KEY-----")
_EC: Final = bytes.fromhex("06072a8648ce3d0201")
_RSA: Final = bytes.fromhex("06092a864886f70d010101")
_INTEGER, _BITS, _OCTETS, _SEQUENCE, _PUBLIC = 0x02, 0x03, 0x04, 0x30, 0xA1

_Item = tuple[int, bytes]


def is_key_of(pem: bytes, certificate: bytes) -> bool:
    """Whether PEM text holds the private key of a certificate (DER).

    The certificate shows the public part as the key has it. A key without one, or of another kind, is believed.
    """
    match = _KEY.search(pem)
    if match is None:
        return False
    try:
        public = _public(match[1], binascii.a2b_base64(match[2]))
    except ValueError:
        return False
    return public is None or public in certificate


def is_whole(der: bytes) -> bool:
    """Whether the bytes are one DER SEQUENCE, of which nothing is missing."""
    try:
        _inside(der)
    except ValueError:
        return False
    return True


def _public(kind: bytes, der: bytes) -> bytes | None:
    """The public part as a certificate has it; None if it cannot be told. Raises `ValueError` if the key is broken."""
    items = _inside(der)
    if kind == b"EC ":
        return _point(items)
    if kind == b"RSA ":
        return _modulus(items)
    (_, algorithm), (tag, inner) = items[1:3] if len(items) > 2 else _broken()
    if tag != _OCTETS:
        _broken()
    if algorithm.startswith(_EC):
        return _point(_inside(inner))
    return _modulus(_inside(inner)) if algorithm.startswith(_RSA) else None


def _point(items: list[_Item]) -> bytes | None:
    """Of an ECPrivateKey (RFC 5915); a compressed point is the beginning of the other one."""
    if len(items) < 2 or items[1][0] != _OCTETS:
        _broken()
    for tag, content in items[2:]:
        if tag == _PUBLIC:
            ((kind, bits),) = _items(content)
            if kind != _BITS or len(bits) < 2:
                _broken()
            return bits[1:] if bits[1] == 4 else bits[2:]
    return None


def _modulus(items: list[_Item]) -> bytes:
    """Of an RSAPrivateKey (RFC 8017), whose primes belong to it."""
    if len(items) < 9 or any(tag != _INTEGER for tag, _ in items[:9]):
        _broken()
    modulus, one, other = (int.from_bytes(items[index][1], "big") for index in (1, 4, 5))
    if one * other != modulus:
        _broken()
    return items[1][1]


def _inside(der: bytes) -> list[_Item]:
    """What a SEQUENCE holds, which is all of the bytes."""
    items = _items(der)
    if len(items) != 1 or items[0][0] != _SEQUENCE:
        _broken()
    return _items(items[0][1])


def _items(data: bytes) -> list[_Item]:
    """The tags and contents that follow each other (X.690, tags of one byte)."""
    items: list[_Item] = []
    at = 0
    while at < len(data):
        tag, size, start = data[at], int.from_bytes(data[at + 1 : at + 2], "big"), at + 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(data[at + 2 : start], "big")
        at = start + size
        if at > len(data) or start > len(data):
            _broken()
        items.append((tag, data[start:at]))
    return items


def _broken() -> list[_Item]:
    raise ValueError("is no DER of a key")
