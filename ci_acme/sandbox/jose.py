"""JWK and JWS, parsed and verified as strictly as RFC 8555 section 6.2 wants it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import re
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ci_acme.dataclass import dataclass
from ci_acme.sandbox.problems import Problem

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

ALGORITHMS: Final = ("ES256", "ES384", "RS256")
MAC_ALGORITHMS: Final = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*\Z")
_CURVES: Final[dict[str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm, int]]] = {
    "P-256": ("ES256", ec.SECP256R1(), hashes.SHA256(), 32),
    "P-384": ("ES384", ec.SECP384R1(), hashes.SHA384(), 48),
}


def b64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64url(text: Any) -> bytes:
    """The inverse of `b64url`, strict: no padding, no other alphabet. Raises `Problem`."""
    if isinstance(text, str) and _BASE64URL.match(text):
        with contextlib.suppress(binascii.Error):
            return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    raise Problem("malformed", "a member is not base64url without padding (RFC 8555 section 6.1)")


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object. Raises `Problem`."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Problem("malformed", f"{what} is not a JSON object")
    return document


@dataclass(frozen=True)
class Jwk:
    """A public key as it came: its JWK members that count, the key, and the RFC 7638 thumbprint."""

    members: dict[str, str]
    key: PublicKey
    alg: str
    thumbprint: str

    @classmethod
    def parse(cls, document: Any) -> Jwk:
        """Raises `Problem` for anything that is no EC P-256, EC P-384 or RSA (2048 to 4096 bits) public key."""
        if not isinstance(document, dict):
            raise Problem("malformed", "jwk is not a JSON object")
        if "d" in document:
            raise Problem("malformed", "jwk holds a private key")
        kind = document.get("kty")
        if kind == "EC":
            members, key, alg = _parse_ec(document)
        elif kind == "RSA":
            members, key, alg = _parse_rsa(document)
        else:
            raise Problem("badPublicKey", f"key type {kind!r} is neither EC nor RSA")
        canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode("ascii")
        return cls(members, key, alg, b64url(hashlib.sha256(canonical).digest()))

    def verify(self, alg: str, signature: bytes, data: bytes) -> None:
        """Raises `Problem` when the signature is not by this key."""
        if alg != self.alg:
            raise Problem("malformed", f"alg is {alg} and the key is for {self.alg}")
        try:
            if isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
            else:
                _, _, digest, size = _CURVES[self.members["crv"]]
                self.key.verify(_der_signature(signature, size), data, ec.ECDSA(digest))
        except InvalidSignature:
            raise Problem("malformed", "the JWS signature does not verify") from None


def _der_signature(signature: bytes, size: int) -> bytes:
    """R and S side by side (RFC 7518 section 3.4) as DER. Raises `InvalidSignature`."""
    if len(signature) != 2 * size:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))


def _parse_ec(document: dict[str, Any]) -> tuple[dict[str, str], PublicKey, str]:
    curve = _CURVES.get(str(document.get("crv")))
    if curve is None:
        raise Problem("badPublicKey", "the curve is neither P-256 nor P-384")
    alg, parameters, _, size = curve
    x, y = unb64url(document.get("x")), unb64url(document.get("y"))
    if len(x) != size or len(y) != size:
        raise Problem("malformed", f"x and y of {document['crv']} have {size} bytes")
    try:
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), parameters)
        key = numbers.public_key()
    except ValueError:
        raise Problem("badPublicKey", "the point is not on the curve") from None
    return {"crv": document["crv"], "kty": "EC", "x": document["x"], "y": document["y"]}, key, alg


def _parse_rsa(document: dict[str, Any]) -> tuple[dict[str, str], PublicKey, str]:
    n, e = int.from_bytes(unb64url(document.get("n")), "big"), int.from_bytes(unb64url(document.get("e")), "big")
    if not 2048 <= n.bit_length() <= 4096:
        raise Problem("badPublicKey", f"an RSA key has 2048 to 4096 bits, this one {n.bit_length()}")
    try:
        key = rsa.RSAPublicNumbers(e, n).public_key()
    except ValueError:
        raise Problem("badPublicKey", "not an RSA public key") from None
    return {"e": document["e"], "kty": "RSA", "n": document["n"]}, key, "RS256"


@dataclass(frozen=True)
class Jws:
    """A flattened JWS, parsed and not yet verified."""

    protected: dict[str, Any]
    payload: bytes
    signature: bytes
    signed: bytes

    @classmethod
    def parse(cls, body: bytes | dict[str, Any]) -> Jws:
        """Raises `Problem` for the other serialisations, for unprotected headers and for ``crit``."""
        document = body if isinstance(body, dict) else parse_json(body, "the request body")
        if set(document) != {"protected", "payload", "signature"}:
            raise Problem("malformed", "the JWS needs protected, payload and signature, and nothing else")
        protected = parse_json(unb64url(document["protected"]), "the protected header")
        if "crit" in protected or protected.get("b64") is False:
            raise Problem("malformed", "no JWS extension is understood")
        signed = f"{document['protected']}.{document['payload']}".encode()
        return cls(protected, unb64url(document["payload"]), unb64url(document["signature"]), signed)

    def require_known_alg(self) -> str:
        """The signature algorithm. Raises `Problem` with the list of those that are taken."""
        alg = self.protected.get("alg")
        if alg not in ALGORITHMS:
            raise Problem("badSignatureAlgorithm", f"alg {alg!r} is not taken here", algorithms=list(ALGORITHMS))
        return str(alg)

    def verify(self, jwk: Jwk) -> None:
        """Raises `Problem` unless `jwk` signed this."""
        jwk.verify(self.require_known_alg(), self.signature, self.signed)

    def verify_mac(self, key: bytes) -> None:
        """Raises `Problem` unless the HMAC key made this (external account binding)."""
        digest = MAC_ALGORITHMS.get(str(self.protected.get("alg")))
        if digest is None:
            raise Problem("badSignatureAlgorithm", "an external account binding uses HS256, HS384 or HS512")
        if not hmac.compare_digest(hmac.new(key, self.signed, digest).digest(), self.signature):
            raise Problem("unauthorized", "the external account binding does not verify")
