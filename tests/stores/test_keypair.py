"""Keys are told from others by their public parts, in every form that OpenSSL writes."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.model.keypair import is_key_of, is_whole
from ci_acme.testing.material import make_bundle
from ci_acme_providers.files import pem

KEYS: dict[str, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
}
OTHER = pem.certificate_der(make_bundle().certificate) or b""


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("kind", KEYS)
def test_a_key_belongs_to_its_certificate_alone_and_only_whole(kind: str, form: PrivateFormat) -> None:
    key = KEYS[kind]
    own = pem.certificate_der(make_bundle(key=key).certificate)
    assert own is not None
    text = key.private_bytes(Encoding.PEM, form, NoEncryption())
    assert is_key_of(text, own)
    assert is_key_of(b"before\n" + text.replace(b"\n", b"\r\n") + b"after", own)
    assert not is_key_of(text, OTHER)
    lines = text.splitlines(keepends=True)
    for number in range(len(lines)):
        assert not is_key_of(b"".join(lines[:number] + lines[number + 1 :]), own), number


def test_a_key_of_another_kind_is_believed() -> None:
    text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert is_key_of(text, OTHER)


@given(st.binary(max_size=200))
def test_nothing_is_worse_than_no_key(inside: bytes) -> None:
    import base64

    for kind in (b"", b"EC ", b"RSA "):
        body = base64.encodebytes(inside)
        text = b"-----BEGIN " + kind + b"PRIVATE KEY-----\n" + body + b"-----END " + kind + b"PRIVATE KEY-----\n"
        assert is_key_of(text, OTHER) in {True, False}
    assert is_whole(inside) in {True, False}
