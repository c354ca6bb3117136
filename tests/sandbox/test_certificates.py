"""What is issued, how it is revoked, and when it shall be renewed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from ci_acme.sandbox import SandboxCa, SandboxDns
from tests.sandbox.raw_client import RawClient, b64, ec_key, jwk_of

Connect = Callable[..., RawClient]


def chain_of(reply: Any) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(reply.body)


def ari_id(leaf: x509.Certificate) -> str:
    key_id = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    serial = leaf.serial_number
    return f"{b64(key_id)}.{b64(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


def when(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@pytest.mark.parametrize("key", [ec_key(), ec_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
def test_chains_verify_to_both_roots(ca: SandboxCa, dns: SandboxDns, client: RawClient, key: Any) -> None:
    _, reply = client.issue(dns, "www.demo.test", key=key)
    (alternate_url,) = reply.links("alternate")
    for body, root in ((reply, ca.root), (client.post(alternate_url), ca.alternate_root)):
        leaf, *intermediates = chain_of(body)
        anchors = x509.load_pem_x509_certificates(root.read_bytes())
        verifier = PolicyBuilder().store(Store(anchors)).build_server_verifier(x509.DNSName("www.demo.test"))
        assert len(verifier.verify(leaf, intermediates)) == 3
        assert leaf.public_key() == key.public_key()


def test_leaf_follows_the_rules_of_today_s_public_cas(dns: SandboxDns, client: RawClient) -> None:
    leaf, intermediate = chain_of(client.issue(dns, "demo.test")[1])
    assert not list(leaf.subject)
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=90) - timedelta(seconds=1)
    assert "ci-acme sandbox" in intermediate.subject.rfc4514_string()
    assert "not trusted" in intermediate.subject.rfc4514_string()


def test_profiles_and_configured_validity(make_ca: Callable[..., SandboxCa], dns: SandboxDns, connect: Connect) -> None:
    ca = make_ca(validity={"classic": timedelta(minutes=5), "week": timedelta(days=7)})
    client = connect(ca)
    assert set(client.directory["meta"]["profiles"]) == {"classic", "shortlived", "week"}
    lives = {"classic": timedelta(minutes=5), "shortlived": timedelta(hours=160), "week": timedelta(days=7)}
    for profile, life in lives.items():
        (leaf, _) = chain_of(client.issue(dns, "demo.test", profile=profile)[1])
        assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == life - timedelta(seconds=1)


def test_certificates_are_the_account_s_own(
    ca: SandboxCa, dns: SandboxDns, client: RawClient, connect: Connect
) -> None:
    done, _ = client.issue(dns, "demo.test")
    url = done.json["certificate"]
    assert connect(ca).post(url).problem == "unauthorized"
    assert client.post(url, {}).problem == "malformed"
    assert [client.post(f"{url}{tail}").status for tail in ("/2", "/x", "x")] == [404, 404, 404]


def test_revocation_by_account_and_by_certificate_key(dns: SandboxDns, client: RawClient) -> None:
    url = client.directory["revokeCert"]
    key = ec_key()
    for by_key in (False, True):
        leaf = chain_of(client.issue(dns, "demo.test", key=key)[1])[0]
        der = b64(leaf.public_bytes(Encoding.DER))
        signer: dict[str, Any] = {"key": key, "jwk": jwk_of(key)} if by_key else {}
        for reason in (7, 2, True, "1"):
            assert client.post(url, {"certificate": der, "reason": reason}, **signer).problem == "badRevocationReason"
        assert client.post(url, {"certificate": der, "reason": 4}, **signer).status == 200
        assert client.post(url, {"certificate": der}, **signer).problem == "alreadyRevoked"


def test_revocation_by_others(ca: SandboxCa, dns: SandboxDns, client: RawClient, connect: Connect) -> None:
    url = client.directory["revokeCert"]
    document = {"certificate": b64(chain_of(client.issue(dns, "demo.test")[1])[0].public_bytes(Encoding.DER))}
    other, stray = connect(ca), ec_key()
    assert other.post(url, document).problem == "unauthorized"
    assert client.post(url, document, key=stray, jwk=jwk_of(stray)).problem == "unauthorized"
    other.issue(dns, "demo.test")
    assert other.post(url, document).status == 200, "it holds an authorization for every name"
    assert client.post(url, {"certificate": "AAAA"}).status == 404


@pytest.mark.parametrize(("profile", "share"), [("classic", 2 / 3), ("shortlived", 1 / 2)])
def test_renewal_info(dns: SandboxDns, client: RawClient, profile: str, share: float) -> None:
    leaf = chain_of(client.issue(dns, "demo.test", profile=profile)[1])[0]
    reply = client.request("GET", f"{client.directory['renewalInfo']}/{ari_id(leaf)}")
    assert (reply.status, reply.headers["Retry-After"]) == (200, "21600")
    start, end = (when(reply.json["suggestedWindow"][side]) for side in ("start", "end"))
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert start < end
    assert abs(start + (end - start) / 2 - leaf.not_valid_before_utc - life * share) < timedelta(seconds=2)


def test_renewal_info_after_revocation_is_in_the_past(dns: SandboxDns, client: RawClient) -> None:
    leaf = chain_of(client.issue(dns, "demo.test")[1])[0]
    client.post(client.directory["revokeCert"], {"certificate": b64(leaf.public_bytes(Encoding.DER))})
    window = client.request("GET", f"{client.directory['renewalInfo']}/{ari_id(leaf)}").json["suggestedWindow"]
    assert when(window["end"]) < datetime.now(timezone.utc)


def test_renewal_info_of_nothing(client: RawClient) -> None:
    base = client.directory["renewalInfo"]
    assert [client.request("GET", f"{base}/{tail}").status for tail in ("x", "AAAA.AAAA", "")] == [400, 404, 400]


def test_replaces(ca: SandboxCa, dns: SandboxDns, client: RawClient, connect: Connect) -> None:
    identifier = ari_id(chain_of(client.issue(dns, "demo.test", "www.demo.test")[1])[0])
    assert connect(ca).new_order("demo.test", replaces=identifier).problem == "unauthorized"
    assert client.new_order("else.demo.test", replaces=identifier).problem == "malformed"
    order = client.new_order("demo.test", replaces=identifier)
    assert (order.status, order.json["replaces"]) == (201, identifier)
    again = client.new_order("demo.test", replaces=identifier)
    assert (again.status, again.problem) == (409, "alreadyReplaced")
    client.post(order.json["authorizations"][0], {"status": "deactivated"})
    assert client.new_order("demo.test", replaces=identifier).status == 201, "the first successor became invalid"
