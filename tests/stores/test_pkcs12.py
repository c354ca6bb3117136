"""bundle.p12 as those who use it read it: OpenSSL, Java, cryptography."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.errors import DeliveryError, SecretError
from ci_acme.model.secret import Secret
from ci_acme.pkcs12 import _integer, _oid, _tagged, make
from ci_acme.testing.material import make_bundle, make_metadata
from tests.stores.support import soon, store_in, visible

BUNDLE = make_bundle("one.example")
PASSWORDS = [None, "correct horse"]


@pytest.fixture(params=PASSWORDS, ids=["empty", "given"])
def password(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    monkeypatch.setenv("P12_PASSWORD", request.param or "")
    return request.param


@pytest.fixture
def bundle_file(tmp_path: Path, password: str | None) -> Path:
    secret = {"pkcs12_password": "env:P12_PASSWORD"} if password else {}
    store = store_in(tmp_path, "preview", formats=["pem", "pkcs12"], **secret)
    store.probe(deadline=soon())
    store.publish(BUNDLE, make_metadata(BUNDLE), deadline=soon())
    return tmp_path / "preview" / "bundle.p12"


def test_cryptography_reads_it(bundle_file: Path, password: str | None) -> None:
    data = bundle_file.read_bytes()
    for given_password in [password.encode()] if password else [None, b""]:
        check(pkcs12.load_pkcs12(data, given_password))
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_pkcs12(data, b"wrong")


def check(found: pkcs12.PKCS12KeyAndCertificates) -> None:
    assert found.key is not None
    assert found.cert is not None
    assert found.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) == BUNDLE.key.reveal()
    assert found.cert.certificate.public_bytes(Encoding.PEM) == BUNDLE.certificate
    assert found.cert.friendly_name == b"preview"
    assert b"".join(one.certificate.public_bytes(Encoding.PEM) for one in found.additional_certs) == BUNDLE.chain


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_reads_it(bundle_file: Path, password: str | None) -> None:
    command = ["openssl", "pkcs12", "-in", str(bundle_file), "-nodes", "-passin", "env:P12_PASSWORD"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    for part in (BUNDLE.key.reveal(), BUNDLE.certificate, BUNDLE.chain):
        assert part in done.stdout
    assert b"friendlyName: preview" in done.stdout
    info = subprocess.run([*command, "-info", "-noout"], capture_output=True, check=True).stderr
    assert b"MAC: sha256" in info
    assert b"AES-256-CBC" in info
    assert b"RC2" not in info


@pytest.mark.skipif(shutil.which("keytool") is None, reason="Java is not installed")
def test_java_finds_key_and_chain(bundle_file: Path, password: str | None) -> None:
    command = ["keytool", "-list", "-v", "-storetype", "PKCS12", "-keystore", str(bundle_file)]
    options = ["-J-Duser.language=en", "-J-Xshare:auto", "-J-XX:TieredStopAtLevel=1", "-J-Dfile.encoding=UTF-8"]
    done = subprocess.run(
        [*command, "-storepass:env", "P12_PASSWORD", *options],
        capture_output=True,
        env={"P12_PASSWORD": password or "", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        check=False,
    )
    text = done.stdout.decode()
    assert done.returncode == 0, text
    assert "Alias name: preview" in text
    assert "Entry type: PrivateKeyEntry" in text
    assert "Certificate chain length: 2" in text


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
@pytest.mark.parametrize("secret", [None, Secret(b"secret")])
def test_every_key_type_and_an_empty_chain(key: object, secret: Secret | None) -> None:
    bundle = replace(make_bundle(key=key), chain=b"")
    data = make(bundle, "näme", secret)
    found = pkcs12.load_pkcs12(data, secret.reveal() if secret else None)
    assert found.key is not None
    assert found.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) == bundle.key.reveal()
    assert pkcs12.load_pkcs12(data, secret.reveal() if secret else None).additional_certs == []


def test_a_missing_password_is_found_before_anything_is_ordered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("P12_PASSWORD", raising=False)
    store = store_in(tmp_path, formats=["pem", "pkcs12"], pkcs12_password="env:P12_PASSWORD")
    with pytest.raises(SecretError):
        store.probe(deadline=soon())
    with pytest.raises(DeliveryError, match=r"env:P12_PASSWORD") as caught:
        store.publish(BUNDLE, make_metadata(BUNDLE), deadline=soon())
    assert "set P12_PASSWORD" in caught.value.fix
    assert visible(tmp_path) == []


def test_a_password_that_java_cannot_take_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P12_PASSWORD", "motdepassé")
    store = store_in(tmp_path, formats=["pkcs12"], pkcs12_password="env:P12_PASSWORD")
    with pytest.raises(SecretError, match="not ASCII") as caught:
        store.probe(deadline=soon())
    assert "motdepass" not in f"{caught.value!r}{caught.value.as_dict()}"


def test_a_key_that_cannot_be_read_is_never_shown(tmp_path: Path) -> None:
    canary = b"-----BEGIN PRIVATE KEY-----\nQ0FOQVJZ-CANARY\n-----END PRIVATE KEY-----\n"
    store = store_in(tmp_path, formats=["pkcs12"])
    with pytest.raises(DeliveryError) as caught:
        store.publish(replace(BUNDLE, key=Secret(canary)), make_metadata(BUNDLE), deadline=soon())
    error = caught.value
    assert "CANARY" not in f"{error!r}{error.as_dict()}{error.__cause__!r}"
    assert error.__suppress_context__


@given(st.integers(0, 2**40), st.binary(max_size=70_000))
def test_der_lengths_and_integers(number: int, content: bytes) -> None:
    assert int.from_bytes(_integer(number)[2:], "big", signed=True) == number
    encoded = _tagged(0x04, content)
    head = 2 if len(content) < 128 else 2 + (encoded[1] & 0x7F)
    size = encoded[1] if head == 2 else int.from_bytes(encoded[2:head], "big")
    assert (size, encoded[head:]) == (len(content), content)


def test_object_identifiers() -> None:
    assert _oid("1.2.840.113549.1.7.1").hex() == "06092a864886f70d010701"
    assert _oid("2.16.840.1.101.3.4.2.1").hex() == "0609608648016503040201"
