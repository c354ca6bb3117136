"""bundle.p12: PKCS#12 (RFC 7292) that OpenSSL 3 and Java read, with a password or with an empty one.

`cryptography` writes files with a password. Without one it writes a plain key bag, in which Java finds no entry at all
(measured with 17); so the file with the empty password, whose key bag is a shrouded one, is laid out here.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from ci_acme.model.material import Bundle
from ci_acme.model.secret import Secret

_ITERATIONS: Final = 2048
"""OpenSSL's default. It guards nothing here: the password is empty."""

_PKCS: Final = "1.2.840.113549.1"


def make(bundle: Bundle, name: str, password: Secret | None) -> bytes:
    """The PKCS#12 file of a bundle; `name` is its friendly name (Java's alias). Raises `ValueError`."""
    if password:
        return _with_password(bundle, name, BestAvailableEncryption(password.reveal()))
    key = load_pem_private_key(bundle.key.reveal(), None)
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return _with_empty_password(pkcs8, [one.public_bytes(Encoding.DER) for one in _certificates(bundle)], name)


def make_dated(bundle: Bundle, name: str, password: Secret) -> bytes:
    """A PKCS#12 file with Triple DES and SHA-1, for services that read nothing newer. Raises `ValueError`.

    Its encryption guards nothing to speak of: send it over TLS, with a password that is used once.
    """
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(_ITERATIONS)
    dated = builder.key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC).hmac_hash(hashes.SHA1())  # noqa: S303 - they read no other
    return _with_password(bundle, name, dated.build(password.reveal()))


def make_truststore(bundle: Bundle, password: Secret | None) -> bytes:
    """A PKCS#12 trust store that Java reads: the CA certificates of the chain, the leaf if there are none.

    Java finds no entry in one without a password (its default is `changeit`). Raises `ValueError` without one.
    """
    if password is None:
        raise ValueError("a trust store needs a password")
    chain = x509.load_pem_x509_certificates(bundle.chain if bundle.chain.strip() else bundle.certificate)
    entries = [
        pkcs12.PKCS12Certificate(certificate, f"ca-{index}".encode()) for index, certificate in enumerate(chain, 1)
    ]
    return pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(password.reveal()))


def load(data: bytes, password: Secret | None) -> Bundle:
    """The bundle of a PKCS#12 file of ours. Raises `ValueError`; its text never shows what is in it."""
    try:
        key, certificate, chain = pkcs12.load_key_and_certificates(data, password.reveal() if password else b"")
    except Exception:  # what the library raises for broken files is of many kinds, and may quote them
        raise ValueError("is no PKCS#12 file that the password opens") from None
    if key is None or certificate is None:
        raise ValueError("is a PKCS#12 file without a key and its certificate")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    rest = b"".join(one.public_bytes(Encoding.PEM) for one in chain)
    return Bundle(Secret(pem), certificate.public_bytes(Encoding.PEM), rest)


def trusted(data: bytes, password: Secret | None) -> list[bytes]:
    """The certificates of a trust store of ours, PEM, in their order. Raises `ValueError`."""
    try:
        found = pkcs12.load_pkcs12(data, password.reveal() if password else b"")
    except Exception:  # as above
        raise ValueError("is no trust store that the password opens") from None
    return [entry.certificate.public_bytes(Encoding.PEM) for entry in found.additional_certs]


def _with_password(bundle: Bundle, name: str, encryption: KeySerializationEncryption) -> bytes:
    key = load_pem_private_key(bundle.key.reveal(), None)
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        raise ValueError(f"PKCS#12 holds no {type(key).__name__}")  # noqa: TRY004 - the bundle is what is wrong
    certificate, *chain = _certificates(bundle)
    return pkcs12.serialize_key_and_certificates(name.encode(), key, certificate, chain, encryption)


def _certificates(bundle: Bundle) -> list[x509.Certificate]:
    """The leaf, then the chain."""
    chain = x509.load_pem_x509_certificates(bundle.chain) if bundle.chain.strip() else []
    return [x509.load_pem_x509_certificate(bundle.certificate), *chain]


def _with_empty_password(pkcs8: bytes, certificates: Sequence[bytes], name: str) -> bytes:
    """A PFX (RFC 7292 section 4) with open certificate bags, a shrouded key bag, and a MAC."""
    leaf = _attributes(name, hashlib.sha1(certificates[0], usedforsecurity=False).digest())
    bags = [_certificate_bag(der, b"" if index else leaf) for index, der in enumerate(certificates)]
    key_bag = _sequence(_oid(f"{_PKCS}.12.10.1.2"), _tagged(0xA0, _encrypted(pkcs8)), leaf)
    safe = _sequence(_data(_sequence(*bags)), _data(_sequence(key_bag)))
    return _sequence(_integer(3), _data(safe), _mac(safe))


def _certificate_bag(der: bytes, attributes: bytes) -> bytes:
    value = _sequence(_oid(f"{_PKCS}.9.22.1"), _tagged(0xA0, _octets(der)))
    return _sequence(_oid(f"{_PKCS}.12.10.1.3"), _tagged(0xA0, value), attributes)


def _attributes(name: str, key_id: bytes) -> bytes:
    friendly = _sequence(_oid(f"{_PKCS}.9.20"), _tagged(0x31, _tagged(0x1E, name.encode("utf-16-be"))))
    local = _sequence(_oid(f"{_PKCS}.9.21"), _tagged(0x31, _octets(key_id)))
    return _tagged(0x31, friendly + local)


def _encrypted(pkcs8: bytes) -> bytes:
    """An EncryptedPrivateKeyInfo: PBES2, PBKDF2 with HMAC-SHA-256, AES-256-CBC (RFC 8018), empty password."""
    salt, iv = os.urandom(16), os.urandom(16)
    key = hashlib.pbkdf2_hmac("sha256", b"", salt, _ITERATIONS, 32)
    padding = 16 - len(pkcs8) % 16
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    sealed = encryptor.update(pkcs8 + bytes([padding]) * padding) + encryptor.finalize()
    prf = _sequence(_oid("1.2.840.113549.2.9"), _NULL)
    derivation = _sequence(_oid(f"{_PKCS}.5.12"), _sequence(_octets(salt), _integer(_ITERATIONS), prf))
    cipher = _sequence(_oid("2.16.840.1.101.3.4.1.42"), _octets(iv))
    return _sequence(_sequence(_oid(f"{_PKCS}.5.13"), _sequence(derivation, cipher)), _octets(sealed))


def _mac(safe: bytes) -> bytes:
    """MacData with HMAC-SHA-256; its key by RFC 7292 appendix B.2, id 3, from the empty BMPString (two zero bytes)."""
    salt = os.urandom(16)
    key = b"\x03" * 64 + salt * 4 + b"\x00" * 64
    for _ in range(_ITERATIONS):
        key = hashlib.sha256(key).digest()
    digest = hmac.digest(key, safe, "sha256")
    algorithm = _sequence(_oid("2.16.840.1.101.3.4.2.1"), _NULL)
    return _sequence(_sequence(algorithm, _octets(digest)), _octets(salt), _integer(_ITERATIONS))


# --- DER (X.690) -------------------------------------------------------------------------------------------------

_NULL: Final = b"\x05\x00"


def _tagged(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _sequence(*items: bytes) -> bytes:
    return _tagged(0x30, b"".join(items))


def _octets(content: bytes) -> bytes:
    return _tagged(0x04, content)


def _integer(value: int) -> bytes:
    return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _data(content: bytes) -> bytes:
    """A ContentInfo of type data (RFC 5652 section 4)."""
    return _sequence(_oid(f"{_PKCS}.7.1"), _tagged(0xA0, _octets(content)))


def _oid(text: str) -> bytes:
    first, second, *rest = (int(part) for part in text.split("."))
    encoded = bytearray([first * 40 + second])
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        encoded.extend(reversed(groups))
    return _tagged(0x06, bytes(encoded))
