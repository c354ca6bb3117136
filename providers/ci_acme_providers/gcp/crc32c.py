"""CRC32C (Castagnoli), as Secret Manager checks payloads with; google-crc32c would be a compiled dependency for it."""

from __future__ import annotations

from typing import Final

_POLYNOMIAL: Final = 0x82F63B78


def _entry(index: int) -> int:
    for _ in range(8):
        index = (index >> 1) ^ (_POLYNOMIAL if index & 1 else 0)
    return index


_TABLE: Final = tuple(_entry(index) for index in range(256))


def crc32c(data: bytes) -> int:
    """The checksum as an unsigned number of 32 bits."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF
