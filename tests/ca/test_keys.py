"""Signatures, keys and requests, checked by independent means."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode, urlsafe_b64encode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.ca.jws import b64, dns01_value, external_account_binding, sign, thumbprint, unb64
from ci_acme.ca.keys import (
    LocalSigner,
    PrivateKey,
    build_csr,
    generate_key,
    key_from_pem,
    key_to_pem,
    load_signer,
    parse_hmac_key,
    public_jwk,
    refuse_account_key,
)
from ci_acme.errors import AccountError
from ci_acme.model.material import KeyType
from ci_acme.model.secret import Secret
from ci_acme.ports import Signer

KEYS = {kind: generate_key(kind) for kind in (KeyType.EC_P256, KeyType.EC_P384, KeyType.RSA_2048)}


def verify(key: PrivateKey, data: bytes, signature: bytes) -> None:
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(signature, data, padding.PKCS1v15(), SHA256())
        return
    half = len(signature) // 2
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    digest = SHA256() if half == 32 else SHA384()
    assert half in {32, 48}
    public.verify(encode_dss_signature(r, s), data, ec.ECDSA(digest))


@given(st.binary(max_size=200))
def test_base64url_is_exact(data: bytes) -> None:
    text = b64(data)
    assert text == urlsafe_b64encode(data).decode().rstrip("=")
    assert unb64(text) == data


@pytest.mark.parametrize("text", ["YQ==", "YR", "Y Q", "Y+Q/", "YQ\n", "ü", "Y"])
def test_what_is_not_base64url_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # any reason
        unb64(text)


@pytest.mark.parametrize(("kind", "alg"), [("ec-p256", "ES256"), ("ec-p384", "ES384"), ("rsa-2048", "RS256")])
@given(payload=st.none() | st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3), known=st.booleans())
def test_a_jws_is_verified_by_its_own_header(kind: str, alg: str, payload: dict[str, str] | None, known: bool) -> None:
    key = KEYS[KeyType(kind)]
    signer: Signer = LocalSigner(key)
    kid = "https://ca.example/acct/1" if known else None
    jws = json.loads(sign(signer, url="https://ca.example/x", nonce="n0", payload=payload, kid=kid))
    assert set(jws) == {"protected", "payload", "signature"}
    header = json.loads(unb64(jws["protected"]))
    who = {"kid": kid} if known else {"jwk": public_jwk(key.public_key())}
    assert header == {"alg": alg, "url": "https://ca.example/x", "nonce": "n0", **who}
    assert jws["payload"] == "" if payload is None else json.loads(unb64(jws["payload"])) == payload
    verify(key, f"{jws['protected']}.{jws['payload']}".encode(), unb64(jws["signature"]))


def test_the_inner_jws_of_a_key_change_has_no_nonce() -> None:
    jws = json.loads(sign(LocalSigner(KEYS[KeyType.EC_P256]), url="https://x", nonce=None, payload={}))
    assert "nonce" not in json.loads(unb64(jws["protected"]))


def test_thumbprint_of_rfc_7638() -> None:
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj"
        "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ"
        "vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK"
        "nqDKgw"
    )
    assert thumbprint({"kty": "RSA", "n": modulus, "e": "AQAB"}) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_the_txt_value_of_a_token() -> None:
    expected = urlsafe_b64encode(hashlib.sha256(b"token.print").digest()).rstrip(b"=").decode()
    assert dns01_value("token", "print") == expected


def test_coordinates_and_signatures_are_padded() -> None:
    """RFC 7518 sections 3.4 and 6.2.1.2; one number in 256 begins with a zero byte."""
    found = 0
    for number in range(1, 2000):
        key = ec.derive_private_key(number, ec.SECP256R1())
        jwk = public_jwk(key.public_key())
        found += unb64(jwk["x"])[0] == 0
        assert [len(unb64(jwk[member])) for member in ("x", "y")] == [32, 32]
    assert found > 0
    signer = LocalSigner(KEYS[KeyType.EC_P256])
    signatures = [signer.sign(b"data") for _ in range(2000)]
    assert {len(signature) for signature in signatures} == {64}
    assert any(signature[0] == 0 for signature in signatures)


# external accounts


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_external_account_binding(alg: str) -> None:
    jwk = public_jwk(KEYS[KeyType.EC_P256].public_key())
    key = b"k" * 32
    jws = external_account_binding(jwk, key_id="kid", hmac_key=key, url="https://ca.example/new-acct", alg=alg)
    assert json.loads(unb64(jws["protected"])) == {"alg": alg, "kid": "kid", "url": "https://ca.example/new-acct"}
    assert json.loads(unb64(jws["payload"])) == jwk
    mac = hmac.new(key, f"{jws['protected']}.{jws['payload']}".encode(), f"sha{alg[2:]}").digest()
    assert unb64(jws["signature"]) == mac


@given(st.binary(min_size=16, max_size=80), st.booleans(), st.booleans(), st.sampled_from(["", "\n", "  ", "\r\n\t"]))
def test_an_hmac_key_is_read_as_it_is_pasted(key: bytes, url_safe: bool, padded: bool, space: str) -> None:
    text = (urlsafe_b64encode(key) if url_safe else b64encode(key)).decode()
    text = text if padded else text.rstrip("=")
    pasted = space + text[:10] + space + text[10:] + space
    assert parse_hmac_key(Secret(pasted.encode()), "env:X").reveal() == key


@pytest.mark.parametrize(
    "text", [b"", b"ab", b"c2hvcnQ", b"not base64 at all!", b"\xff\xfe", b"A" * 41, b"QUFB" * 9 + b"*"]
)
def test_a_bad_hmac_key_is_refused_and_not_shown(text: bytes) -> None:
    with pytest.raises(AccountError, match="env:EAB") as raised:
        parse_hmac_key(Secret(text), "env:EAB")
    if len(text) > 4:
        assert text.decode("latin1") not in str(raised.value.as_dict())


# keys


@pytest.mark.parametrize("kind", list(KEYS))
def test_keys_survive_pem(kind: KeyType) -> None:
    pem = key_to_pem(KEYS[kind])
    assert pem.reveal().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert key_to_pem(key_from_pem(pem)) == pem
    assert load_signer(pem, "file:x").jwk == public_jwk(KEYS[kind].public_key())


def test_keys_of_openssl_are_read() -> None:
    key = KEYS[KeyType.EC_P256]
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert load_signer(Secret(pem), "file:x").alg == "ES256"


def test_keys_that_cannot_be_used_say_why() -> None:
    private = KEYS[KeyType.EC_P256]
    locked = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2"))
    edwards = ed25519.Ed25519PrivateKey.generate()
    cases = {
        "encrypted": locked,
        "neither EC nor RSA": edwards.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "1024 bits": _pem(rsa.generate_private_key(65537, 1024)),
        "secp521r1": _pem(ec.generate_private_key(ec.SECP521R1())),
        "not PEM": b"",
        "not a private key": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    }
    for reason, pem in cases.items():
        with pytest.raises(AccountError, match=reason) as raised:
            load_signer(Secret(pem), "file:account.pem")
        assert "file:account.pem" in raised.value.message
        assert "MI" not in raised.value.message


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("kind", list(KEYS))
def test_a_request_names_the_names_and_nothing_else(kind: KeyType) -> None:
    names = ["b.example.com", "*.a.example.com"]
    csr = x509.load_der_x509_csr(build_csr(KEYS[kind], names))
    assert csr.is_signature_valid
    assert list(csr.subject) == []
    assert [extension.oid for extension in csr.extensions] == [x509.SubjectAlternativeName.oid]
    san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == names
    assert csr.public_key() == KEYS[kind].public_key()


def test_the_account_key_is_refused_as_certificate_key() -> None:
    key = KEYS[KeyType.EC_P256]
    refuse_account_key(key, LocalSigner(KEYS[KeyType.EC_P384]).jwk)
    with pytest.raises(AccountError):
        refuse_account_key(key, LocalSigner(key).jwk)
