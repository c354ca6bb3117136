"""What is rendered in a shape comes back out of it, and never takes more room than was foretold."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_acme.model.material import Bundle, KeyType
from ci_acme.model.secret import Secret
from ci_acme.shapes import (
    PARTS,
    SHAPES,
    Shape,
    ShapeName,
    as_one,
    as_texts,
    estimate,
    fields_of,
    fingerprint,
    load,
    of_texts,
    public_part,
    recover,
    render,
    same,
)
from ci_acme.testing.material import make_bundle

PASSWORD = Secret(b"changeit")
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def key_of(kind: KeyType) -> Key:
    if kind in {KeyType.EC_P256, KeyType.EC_P384}:
        return ec.generate_private_key(ec.SECP256R1() if kind is KeyType.EC_P256 else ec.SECP384R1())
    return rsa.generate_private_key(65537, int(kind.value.removeprefix("rsa-")))


@cache
def bundles() -> list[Bundle]:
    """Without a chain, with one certificate in it, with two."""
    one, other = make_bundle(), make_bundle()
    longer = Bundle(one.key, one.certificate, one.chain + other.certificate)
    return [Bundle(one.key, one.certificate, b""), one, longer]


names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
parts = st.sampled_from(PARTS)
shapes = st.one_of(
    st.builds(Shape, st.sampled_from([SHAPES[name] for name in get_args(ShapeName)]), st.booleans()),
    st.builds(Shape, st.dictionaries(names, parts, min_size=1, max_size=6), st.booleans()),
)


@quick
@given(shapes, st.integers(0, 2))
def test_one_value_gives_back_what_was_rendered(shape: Shape, which: int) -> None:
    bundle = bundles()[which]
    fields = render(bundle, shape, name="web", password=PASSWORD)
    stored = fields_of(as_one(fields, shape), shape)
    assert stored == fields
    assert load(stored, shape, PASSWORD) == (bundle if shape.returns_bundle else None)
    assert of_texts(json.loads(json.dumps(as_texts(fields, shape))), shape) == fields


@quick
@given(shapes, st.integers(0, 2))
def test_the_same_is_known_again_although_pkcs12_is_salted(shape: Shape, which: int) -> None:
    bundle = bundles()[which]
    assert same(render(bundle, shape, name="web", password=PASSWORD), bundle, shape, PASSWORD)
    other = make_bundle()
    parts = set(shape.fields.values())
    if parts - {"chain", "truststore"}:
        assert not same(render(other, shape, name="web", password=PASSWORD), bundle, shape, PASSWORD)


@quick
@given(shapes)
def test_the_public_part_is_leaf_and_chain(shape: Shape) -> None:
    bundle = bundles()[2]
    found = public_part(render(bundle, shape, name="web", password=PASSWORD), shape)
    if shape.shows_certificate:
        assert found == (bundle.certificate, bundle.chain)
        assert found is not None
        leaf = x509.load_pem_x509_certificate(bundle.certificate)
        assert fingerprint(found[0]) == leaf.fingerprint(hashes.SHA256()).hex()


@quick
@given(shapes, st.integers(0, 2))
def test_a_bundle_is_recovered_from_another_shape(shape: Shape, which: int) -> None:
    bundle = bundles()[which]
    values = list(render(bundle, shape, name="web", password=PASSWORD).values())
    sha256 = fingerprint(bundle.certificate)
    assert sha256 is not None
    if shape.returns_bundle:
        assert recover(values, sha256, PASSWORD) == bundle
        assert recover([as_one(dict(zip(shape.fields, values, strict=True)), shape)], sha256, PASSWORD) == bundle
    assert recover(values, "0" * 64, PASSWORD) is None


@given(shapes, st.binary(min_size=6, max_size=60))
def test_content_of_others_is_no_bundle_and_is_never_quoted(shape: Shape, content: bytes) -> None:
    said = ""
    try:
        assert load(fields_of(content, shape), shape, PASSWORD) is None
    except ValueError as error:
        said = str(error)
    assert content.decode("latin-1") not in said


def test_fingerprints_tell_shapes_apart() -> None:
    made = [Shape(fields, flag) for fields in SHAPES.values() for flag in (False, True)]
    assert len({shape.fingerprint for shape in made}) == len(made)
    assert Shape({"a": "key", "b": "chain"}).fingerprint == Shape({"b": "chain", "a": "key"}).fingerprint


# --- size ------------------------------------------------------------------------------------------------------------


@cache
def authority() -> tuple[rsa.RSAPrivateKey, list[bytes]]:
    """Two intermediates of RSA 4096, signed by RSA 4096: as large as the public CAs' are, and larger."""
    key = rsa.generate_private_key(65537, 4096)
    return key, [_certificate(key.public_key(), key, [f"CA {index} of a long name"], 250) for index in range(2)]


def _certificate(public: object, key: rsa.RSAPrivateKey, names: Sequence[str], extensions: int) -> bytes:
    begin = datetime(2030, 1, 1, tzinfo=timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:60])])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)  # type: ignore[arg-type]
        .serial_number(1 << 150)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), b"s" * extensions),
            critical=False,
        )
        .sign(key, hashes.SHA384())
    )
    return made.public_bytes(Encoding.PEM)


@pytest.mark.parametrize("kind", KeyType)
@pytest.mark.parametrize("count", [1, 100])
def test_an_estimate_is_never_too_small(kind: KeyType, count: int) -> None:
    ca, chain = authority()
    names = [f"service-{index:03}.pr-4711.preview.example.com" for index in range(count)]
    key = key_of(kind)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    bundle = Bundle(Secret(pem), _certificate(key.public_key(), ca, names, 700), b"".join(chain))
    every = [Shape(fields) for name, fields in SHAPES.items() if name not in {"pkcs12", "application-gateway"}]
    every += [Shape(SHAPES["json"], base64=True), *(Shape({part: part}) for part in PARTS)]  # type: ignore[dict-item]
    for shape in every:
        size = len(as_one(render(bundle, shape, name="web", password=PASSWORD), shape))
        assert size <= estimate(shape, kind, names) <= 2.6 * size + 3_000, shape
    shorter = _certificate(key.public_key(), ca, [name[:33] for name in names], 700)
    shape = Shape(SHAPES["json"])
    size = len(as_one(render(Bundle(bundle.key, shorter, bundle.chain), shape, name="web"), shape))
    assert size <= estimate(shape, kind, count)


# --- Java ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("keytool") is None, reason="there is no Java here")
@pytest.mark.parametrize("kind", [KeyType.EC_P256, KeyType.RSA_2048])
def test_java_reads_key_store_and_trust_store(tmp_path: Path, kind: KeyType) -> None:
    shape = Shape(SHAPES["java"])
    for name, data in render(make_bundle(key=key_of(kind)), shape, name="web", password=PASSWORD).items():
        (tmp_path / name).write_bytes(data)
    listed = {}
    for name in shape.fields:
        command = ["keytool", "-list", "-keystore", tmp_path / name, "-storepass", "changeit", "-J-Duser.language=en"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        listed[name] = done.stdout
    assert "web" in listed["keystore.p12"]
    assert "PrivateKeyEntry" in listed["keystore.p12"]
    assert "trustedCertEntry" in listed["truststore.p12"]
