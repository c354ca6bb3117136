"""What a certificate says about itself. Imports nothing of the ACME engine: it serves the path that keeps one."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ci_acme.model.material import CertificateFacts, KeyType
from ci_acme.model.secret import Secret

_BEGIN: Final = re.compile(rb"-----BEGIN ([^\r\n]*?)-----")
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_EC: Final = {"secp256r1": KeyType.EC_P256, "secp384r1": KeyType.EC_P384}
_RSA: Final = {2048: KeyType.RSA_2048, 3072: KeyType.RSA_3072, 4096: KeyType.RSA_4096}


def split_pem(pem: bytes) -> list[bytes]:
    """The certificates of a PEM file, each ending in one newline. Raises `ValueError`.

    Anything but certificates is refused (RFC 8555 section 11.4); text between them is dropped.
    """
    labels = _BEGIN.findall(pem)
    foreign = [label for label in labels if label != b"CERTIFICATE"]
    if foreign:
        raise ValueError(f"it holds a PEM block {foreign[0][:40].decode('ascii', 'replace')!r}")
    blocks = _CERTIFICATE.findall(pem)
    if not blocks or len(blocks) != len(labels):
        raise ValueError("it is not a PEM certificate")
    return [block.replace(b"\r\n", b"\n") + b"\n" for block in blocks]


@contextmanager
def readable() -> Generator[None, None, None]:
    """Everything that cryptography raises for a certificate that cannot be read becomes a `ValueError`."""
    try:
        yield
    except (
        OverflowError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise ValueError(f"the certificate cannot be read: {error}") from None


def load(pem: bytes) -> x509.Certificate:
    """The first certificate of a PEM file. Raises `ValueError`."""
    block = split_pem(pem)[0]
    with readable():
        certificate = x509.load_pem_x509_certificate(block)
    if certificate.serial_number <= 0:
        raise ValueError("the certificate's serial number is not positive (RFC 5280 section 4.1.2.2)")
    return certificate


def describe(pem: bytes) -> CertificateFacts:
    """The facts of the first certificate of a PEM file. Raises `ValueError` for anything that is not a certificate."""
    certificate = load(pem)
    with readable():
        return CertificateFacts(
            names=dns_names(certificate),
            serial=_serial_hex(certificate.serial_number),
            sha256=sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
            spki_sha256=sha256(_spki(certificate)).hexdigest(),
            issuer=_harmless(certificate.issuer.rfc4514_string()),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            key_type=_key_type(certificate),
            ari_id=certificate_id(certificate),
            tbs_sha256=sha256(_precertificate(certificate)).hexdigest(),
        )


def _precertificate(certificate: x509.Certificate) -> bytes:
    """The TBSCertificate without its SCTs: what the CA signed for the CT logs (RFC 6962 section 3.2)."""
    try:
        return certificate.tbs_precertificate_bytes
    except ValueError:  # there are no SCTs in it
        return certificate.tbs_certificate_bytes


def dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of the subject alternative name, sorted, lower-case."""
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(sorted(name.lower() for name in san.get_values_for_type(x509.DNSName)))


def certificate_id(certificate: x509.Certificate) -> str | None:
    """The CertID of RFC 9773 section 4.1; None without an authority key identifier."""
    try:
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return None
    if authority.key_identifier is None:
        return None
    number = certificate.serial_number
    # The content of the DER INTEGER: with a leading zero where the first bit would make it negative.
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return f"{_b64(authority.key_identifier)}.{_b64(serial)}"


def key_matches(key_pem: Secret, certificate_pem: bytes) -> bool:
    """Whether a private key belongs to the first certificate of a PEM file. False for garbage of either kind."""
    try:
        key = load_pem_private_key(key_pem.reveal(), password=None)
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        with readable():
            return spki == _spki(load(certificate_pem))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _key_type(certificate: x509.Certificate) -> KeyType | None:
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _EC.get(key.curve.name)
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA.get(key.key_size)
    return None


def _harmless(name: str) -> str:
    """One line without controls: it is shown on terminals and in CI logs, and a CA may write anything into it."""
    return "".join(character if character.isprintable() else " " for character in name)


def _serial_hex(number: int) -> str:
    """Whole bytes, as openssl prints it."""
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big").hex()


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
