"""Keys, chains and metadata for tests: real ones, signed by a throw-away CA."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
from ci_acme.model.secret import Secret

_BEGIN = datetime(2030, 1, 1, tzinfo=timezone.utc)
_LIFE = timedelta(days=90)


def make_bundle(*names: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> Bundle:
    """A new P-256 key (or `key`) with a certificate for `names` (default `test.example`) and that of its CA."""
    ca_key, ca = _authority()
    key = key or ec.generate_private_key(ec.SECP256R1())
    alternatives = [x509.DNSName(name) for name in names or ("test.example",)]
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_BEGIN + _LIFE)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    pem_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Bundle(Secret(pem_key), leaf.public_bytes(Encoding.PEM), ca.public_bytes(Encoding.PEM))


def make_metadata(bundle: Bundle, name: str = "test") -> Metadata:
    """The record of a bundle of `make_bundle`."""
    leaf = x509.load_pem_x509_certificate(bundle.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    public = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Metadata(
        name=name,
        spec_digest="0" * 64,
        names=tuple(sorted(names.get_values_for_type(x509.DNSName))),
        authority="https://ca.example/directory",
        profile=None,
        key="ec-p256",
        owner=None,
        serial=f"{leaf.serial_number:x}",
        sha256=leaf.fingerprint(hashes.SHA256()).hex(),
        spki_sha256=_sha256(public),
        issuer=leaf.issuer.rfc4514_string(),
        not_before=_BEGIN,
        not_after=_BEGIN + _LIFE,
        renew_after=_BEGIN + _LIFE * 2 / 3,
        order="https://ca.example/order/1",
        run="run-1",
    )


def belongs_together(key: bytes, certificate: bytes) -> bool:
    """Whether the PEM certificate is for the PEM key."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    leaf = x509.load_pem_x509_certificate(certificate)
    return load_pem_private_key(key, None).public_key() == leaf.public_key()


@cache
def _authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_BEGIN + _LIFE * 10)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()
