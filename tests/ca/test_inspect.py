"""What is read from certificates, checked against openssl's view and the vector of RFC 9773."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import subprocess
import sys
from base64 import encodebytes
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.ca.inspect import certificate_id, describe, key_matches, split_pem
from ci_acme.ca.keys import generate_key, key_to_pem
from ci_acme.ca.verify import verify_chain
from ci_acme.errors import CertificateRejected
from ci_acme.model.material import KeyType
from ci_acme.model.secret import Secret
from tests.ca.support import UTC, Issuer

NOW = dt.datetime(2026, 11, 25, tzinfo=UTC)
ROOT = Issuer("Test Root", NOW)
KEY = generate_key()
PEM = ROOT.leaf(KEY.public_key(), ["B.example.com", "*.a.example.com"])


def with_serial(serial: int, key_identifier: bytes | None) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ROOT.name)
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(NOW)
        .not_valid_after(NOW + dt.timedelta(days=1))
    )
    if key_identifier is not None:
        extension = x509.AuthorityKeyIdentifier(key_identifier, None, None)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(ROOT.key, SHA256())


def test_certificate_id_of_rfc_9773() -> None:
    aki = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    certificate = with_serial(0x87654321, aki)
    assert certificate_id(certificate) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    assert describe(certificate.public_bytes(Encoding.PEM)).ari_id == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


def test_the_hash_of_ct_logs_leaves_their_timestamps_out() -> None:
    """RFC 6962 section 3.2: the same for a certificate, and for what it was before the logs had signed for it."""
    plain = (
        x509.CertificateBuilder(issuer_name=ROOT.name, subject_name=x509.Name([]), public_key=KEY.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.example.com")]), critical=False)
    )
    one = bytes(1 + 32 + 8 + 2) + b"\x04\x03" + b"\x00\x04" + b"sign"  # v1, log, time, no extensions, ECDSA, signature
    scts = (len(one) + 2).to_bytes(2, "big") + len(one).to_bytes(2, "big") + one
    octets = b"\x04" + bytes([len(scts)]) + scts
    timestamps = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), octets)
    before = plain.sign(ROOT.key, SHA256())
    logged = plain.add_extension(timestamps, critical=False).sign(ROOT.key, SHA256())
    expected = hashlib.sha256(before.tbs_certificate_bytes).hexdigest()
    assert describe(before.public_bytes(Encoding.PEM)).tbs_sha256 == expected
    assert describe(logged.public_bytes(Encoding.PEM)).tbs_sha256 == expected
    assert logged.tbs_certificate_bytes != before.tbs_certificate_bytes


def test_no_name_of_a_ca_speaks_to_a_terminal_or_a_ci_log() -> None:
    hostile = Issuer("Root\r\n::error::owned\x1b[2J", NOW)
    issuer = describe(hostile.leaf(KEY.public_key(), ["a.example.com"])).issuer
    assert "Root" in issuer
    assert not any(ord(character) < 32 for character in issuer)


def test_without_authority_key_identifier_there_is_no_certificate_id() -> None:
    assert certificate_id(with_serial(1, None)) is None


@given(st.integers(1, 2**159 - 1))
def test_the_serial_is_the_content_of_its_der(serial: int) -> None:
    from base64 import urlsafe_b64decode

    identifier = certificate_id(with_serial(serial, b"k"))
    assert identifier is not None
    content = urlsafe_b64decode(identifier.split(".")[1] + "==")
    assert int.from_bytes(content, "big", signed=True) == serial
    assert len(content) == 1 or content[0] != 0 or content[1] >= 0x80


def test_the_facts() -> None:
    facts = describe(PEM + ROOT.pem)
    certificate = x509.load_pem_x509_certificate(PEM)
    der = certificate.public_bytes(Encoding.DER)
    spki = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert facts.names == ("*.a.example.com", "b.example.com")
    assert int(facts.serial, 16) == certificate.serial_number
    assert len(facts.serial) % 2 == 0
    assert facts.sha256 == hashlib.sha256(der).hexdigest()
    assert facts.spki_sha256 == hashlib.sha256(spki).hexdigest()
    assert facts.issuer == "CN=Test Root"
    assert facts.not_before == NOW - dt.timedelta(hours=1)
    assert facts.not_after.tzinfo is not None
    assert facts.key_type is KeyType.EC_P256


def test_key_types() -> None:
    for kind in (KeyType.EC_P384, KeyType.RSA_2048):
        assert describe(ROOT.leaf(generate_key(kind).public_key(), ["a.example.com"])).key_type is kind


def test_a_key_and_its_certificate() -> None:
    assert key_matches(key_to_pem(KEY), PEM)
    assert not key_matches(key_to_pem(generate_key()), PEM)
    assert not key_matches(Secret(b"garbage"), PEM)
    assert not key_matches(key_to_pem(KEY), b"garbage")


def test_a_pem_file_is_split_and_tidied() -> None:
    untidy = b"subject=/CN=x\r\n" + PEM.replace(b"\n", b"\r\n") + b"\n\nissuer\n" + ROOT.pem + b"trailing"
    assert split_pem(untidy) == [PEM, ROOT.pem]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pem: b"",
        lambda pem: b"\xff\x00",
        lambda pem: pem[: len(pem) // 2],
        lambda pem: pem + pem[:60],
        lambda pem: pem.replace(b"-----END", b"----END"),
        lambda pem: pem + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        lambda pem: pem.replace(b"MII", b"AAA"),
        lambda pem: b"-----BEGIN CERTIFICATE-----" + b"\n" * 200_000 + b"!",  # in linear time
        lambda pem: b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        lambda pem: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_garbage_is_a_value_error(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # any reason
        describe(spoil(PEM))


@pytest.mark.filterwarnings("ignore:Parsed a")
def test_no_flipped_byte_is_a_crash() -> None:
    certificate = x509.load_pem_x509_certificate(PEM)
    der = certificate.public_bytes(Encoding.DER)
    unused_bits = len(der) - len(certificate.signature) - 1
    names = ["b.example.com", "*.a.example.com"]
    for place in set(range(len(der))) - {unused_bits}:
        for flip in (0x01, 0x02, 0x80, 0xFF):
            spoilt = bytearray(der)
            spoilt[place] ^= flip
            pem = b"-----BEGIN CERTIFICATE-----\n" + encodebytes(spoilt) + b"-----END CERTIFICATE-----\n"
            with contextlib.suppress(ValueError):
                describe(pem)
            # Every other byte of a certificate is signed, says how, or is the signature.
            with pytest.raises(CertificateRejected):
                verify_chain(pem + ROOT.pem, key=KEY.public_key(), names=names, now=NOW, url="https://ca.example/1")


def test_reading_a_certificate_does_not_load_the_engine() -> None:
    code = (
        "import sys, ci_acme.ca.inspect; print([m for m in sys.modules if m.startswith('ci_acme.ca.') or m == 'ssl'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['ci_acme.ca.inspect']"


def test_renewal_information_does_not_load_the_keys() -> None:
    code = "import sys, ci_acme.ca.renewal; print('cryptography' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
