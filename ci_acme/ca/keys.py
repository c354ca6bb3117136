"""Account keys, certificate keys and certificate requests."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ci_acme.ca.jws import b64, unb64
from ci_acme.errors import AccountError, InternalError
from ci_acme.model.material import KeyType
from ci_acme.model.secret import Secret

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

MIN_RSA_BITS: Final = 2048
MIN_HMAC_BYTES: Final = 16
"""RFC 7518 section 3.2 wants 32 for HS256; less than this is a truncated paste and no key of any CA."""

_CURVES: Final[dict[str, tuple[str, str, int, HashAlgorithm]]] = {
    "secp256r1": ("ES256", "P-256", 32, SHA256()),
    "secp384r1": ("ES384", "P-384", 48, SHA384()),
}
_RSA_BITS: Final = {KeyType.RSA_2048: 2048, KeyType.RSA_3072: 3072, KeyType.RSA_4096: 4096}
_NEW_KEY: Final = "use an EC P-256, EC P-384 or RSA key of 2048 bits or more, as unencrypted PEM"


def generate_key(key_type: KeyType = KeyType.EC_P256) -> PrivateKey:
    """A fresh private key. RSA takes 0.1 s and more."""
    if key_type is KeyType.EC_P256:
        return ec.generate_private_key(ec.SECP256R1())
    if key_type is KeyType.EC_P384:
        return ec.generate_private_key(ec.SECP384R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS[key_type])


def key_to_pem(key: PrivateKey) -> Secret:
    """PKCS #8, not encrypted: the store protects it."""
    return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def key_from_pem(pem: Secret) -> PrivateKey:
    """An EC P-256, P-384 or RSA key. Raises `ValueError` with a reason that holds nothing of the key."""
    if b"-----BEGIN" not in pem.reveal():
        raise ValueError("it is not PEM")
    try:
        key = load_pem_private_key(pem.reveal(), password=None)
    except TypeError:
        raise ValueError("it is encrypted with a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it is not a private key") from None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if key.curve.name not in _CURVES:
            raise ValueError(f"its curve is {key.curve.name}")
        return key
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            raise ValueError(f"it has {key.key_size} bits")
        return key
    raise ValueError("it is neither EC nor RSA")


def public_jwk(key: PublicKey) -> dict[str, str]:
    """The JWK with exactly the members of RFC 7638 section 3.2."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"e": _integer(numbers.e), "kty": "RSA", "n": _integer(numbers.n)}
    _, curve, size, _ = _CURVES[key.curve.name]
    point = key.public_numbers()
    return {
        "crv": curve,
        "kty": "EC",
        "x": b64(point.x.to_bytes(size, "big")),
        "y": b64(point.y.to_bytes(size, "big")),
    }


class LocalSigner:
    """`Signer` with a private key in memory: ES256, ES384 or RS256 by the kind of key."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self._jwk = public_jwk(key.public_key())
        self._alg = "RS256" if isinstance(key, rsa.RSAPrivateKey) else _CURVES[key.curve.name][0]

    @property
    def alg(self) -> str:
        """JWS algorithm."""
        return self._alg

    @property
    def jwk(self) -> Mapping[str, str]:
        """The public key."""
        return self._jwk

    def sign(self, data: bytes) -> bytes:
        """A JWS signature over `data`."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(data, padding.PKCS1v15(), SHA256())
        _, _, size, digest = _CURVES[self._key.curve.name]
        r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def load_signer(pem: Secret, where: str) -> LocalSigner:
    """The account key that the secret reference `where` gave. Raises `AccountError`, which never shows the key."""
    try:
        return LocalSigner(key_from_pem(pem))
    except ValueError as error:
        raise AccountError(f"the account key in {where} cannot be used: {error}", fix=_NEW_KEY) from None


def build_csr(key: PrivateKey, names: Sequence[str]) -> bytes:
    """A certificate request (DER) for exactly `names` (RFC 8555 section 7.4): no subject, all names in the SAN.

    The SAN is not marked critical: that is for the CA to decide, and a CA that copies extensions is not surprised.
    """
    builder = x509.CertificateSigningRequestBuilder(subject_name=x509.Name([]))
    san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return builder.add_extension(san, critical=False).sign(key, SHA256()).public_bytes(Encoding.DER)


def refuse_account_key(key: PrivateKey, account_jwk: Mapping[str, str]) -> None:
    """Raise if the account's key would become a certificate's key (RFC 8555 section 11.1)."""
    if public_jwk(key.public_key()) == dict(account_jwk):
        raise AccountError(
            "the account key must not be the key of a certificate (RFC 8555 section 11.1)",
            fix="remove the key of the certificate; a fresh one is made",
        )


def refuse_certificate_key(account_jwk: Mapping[str, str], where: str, certificates: Collection[object]) -> None:
    """The same from the other side: raise if the account key, which `where` names, is already a certificate's.

    `certificates` are the SHA-256 of public keys (SPKI) in hexadecimal.
    """
    if certificates and spki_sha256(account_jwk) in certificates:
        raise AccountError(
            f"the account key in {where} is the key of a certificate, and must not be used for anything else "
            "(RFC 8555 section 11.1)",
            fix="set account_key to a key of its own; a file that is not there is made",
        )


def spki_sha256(jwk: Mapping[str, str]) -> str:
    """The SHA-256 of a public key as a certificate has it, in hexadecimal. Inverse of `public_jwk` before the hash."""
    number = {name: int.from_bytes(unb64(jwk[name]), "big") for name in ("x", "y", "n", "e") if name in jwk}
    key: PublicKey
    if jwk["kty"] == "EC":
        curve = ec.SECP256R1() if jwk["crv"] == "P-256" else ec.SECP384R1()
        key = ec.EllipticCurvePublicNumbers(number["x"], number["y"], curve).public_key()
    else:
        key = rsa.RSAPublicNumbers(number["e"], number["n"]).public_key()
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def parse_hmac_key(text: Secret, where: str) -> Secret:
    """The HMAC key of an external account: base64url or base64, whitespace and padding ignored. Raises `AccountError`.

    Nothing of the key is ever shown.
    """
    fix = "copy the HMAC key again from the CA's console, whole, as base64"
    try:
        characters = re.sub(r"\s+", "", text.reveal().decode("ascii")).rstrip("=")
        standard = characters.replace("-", "+").replace("_", "/")
        key = b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except ValueError:
        raise AccountError(f"the external account's HMAC key in {where} is not base64", fix=fix) from None
    if len(key) < MIN_HMAC_BYTES:
        raise AccountError(
            f"the external account's HMAC key in {where} has {len(key)} bytes; {MIN_HMAC_BYTES} is the least", fix=fix
        )
    return Secret(key)


def certificate_public_key(certificate: x509.Certificate) -> PublicKey:
    """The public key of a certificate for a key of ours. Raises `ValueError`, `UnsupportedAlgorithm` for others."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise ValueError("neither EC nor RSA")  # noqa: TRY004  # the value of the certificate is wrong, not a type of ours
    return key


def _integer(value: int) -> str:
    if value <= 0:
        raise InternalError("a public key has no numbers")
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
