"""Accounts, JWS rules and nonces, as RFC 8555 sections 6 and 7.3 want them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ci_acme.sandbox import SandboxCa
from tests.sandbox.raw_client import RawClient, b64, eab, ec_key, jwk_of, jws

Connect = Callable[..., RawClient]
HMAC_KEY = b"0123456789abcdef0123456789abcdef"


def test_directory_says_what_it_is(ca: SandboxCa, connect: Connect) -> None:
    directory = connect(ca, register=False).directory
    assert set(directory) == {"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo", "meta"}
    meta = directory["meta"]
    assert "sandbox" in meta["website"]
    assert "not-trusted" in meta["website"]
    assert set(meta["profiles"]) == {"classic", "shortlived"}
    assert meta["caaIdentities"]
    assert meta["externalAccountRequired"] is False
    assert b"nobody trusts" in connect(ca, register=False).request("GET", meta["termsOfService"]).body


def test_nonces_by_head_and_get(ca: SandboxCa, connect: Connect) -> None:
    client = connect(ca, register=False)
    head = client.request("HEAD", client.directory["newNonce"])
    get = client.request("GET", client.directory["newNonce"])
    assert (head.status, get.status) == (200, 204)
    assert head.headers["Replay-Nonce"] != get.headers["Replay-Nonce"]
    assert head.headers["Cache-Control"] == "no-store"
    assert head.links("index") == [ca.directory_url]


@pytest.mark.parametrize("key", [ec_key(), ec_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
def test_account_is_made_found_shown_updated_and_deactivated(ca: SandboxCa, connect: Connect, key: Any) -> None:
    client = connect(ca, key, register=False)
    missing = client.register(onlyReturnExisting=True)
    assert (missing.status, missing.problem) == (400, "accountDoesNotExist")
    made = client.register(contact=["mailto:a@example.com"])
    assert (made.status, made.json["status"], made.json["contact"]) == (201, "valid", ["mailto:a@example.com"])
    found = client.register(onlyReturnExisting=True)
    assert (found.status, found.headers["Location"]) == (200, made.headers["Location"])
    assert client.post(client.kid).json == found.json
    updated = client.post(client.kid, {"contact": ["mailto:b@example.com"]})
    assert updated.json["contact"] == ["mailto:b@example.com"]
    assert client.post(client.kid, {"status": "deactivated"}).json["status"] == "deactivated"
    refused = client.new_order("demo.test")
    assert (refused.status, refused.problem) == (401, "unauthorized")
    assert client.register().problem == "unauthorized"


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"termsOfServiceAgreed": False}, "userActionRequired"),
        ({"contact": ["tel:+1"]}, "unsupportedContact"),
        ({"contact": ["mailto:nobody"]}, "invalidContact"),
        ({"contact": ["mailto:a@example.com,b@example.com"]}, "invalidContact"),
        ({"contact": "mailto:a@example.com"}, "malformed"),
    ],
)
def test_accounts_that_are_not_made(ca: SandboxCa, connect: Connect, members: dict[str, Any], problem: str) -> None:
    client = connect(ca, register=False)
    reply = client.register(**members)
    assert reply.problem == problem
    assert bool(reply.links("terms-of-service")) == (problem == "userActionRequired")
    assert client.register(onlyReturnExisting=True).problem == "accountDoesNotExist"


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_external_account_binding(make_ca: Callable[..., SandboxCa], connect: Connect, alg: str) -> None:
    ca = make_ca(external_accounts={"kid-1": HMAC_KEY}, external_account_required=True)
    client = connect(ca, register=False)
    assert client.directory["meta"]["externalAccountRequired"] is True
    url = client.directory["newAccount"]
    assert client.register().problem == "externalAccountRequired"
    wrong = {
        "unauthorized": [
            eab("kid-1", b"wrong" * 8, url, client.key, alg),
            eab("kid-2", HMAC_KEY, url, client.key, alg),
        ],
        "malformed": [eab("kid-1", HMAC_KEY, url + "x", client.key, alg), eab("kid-1", HMAC_KEY, url, ec_key(), alg)],
    }
    for problem, bindings in wrong.items():
        for binding in bindings:
            assert client.register(externalAccountBinding=binding).problem == problem
    assert client.register(externalAccountBinding=eab("kid-1", HMAC_KEY, url, client.key, alg)).status == 201


def test_key_change(ca: SandboxCa, connect: Connect) -> None:
    client, other = connect(ca), connect(ca)
    url, old, new = client.directory["keyChange"], client.key, ec_key(ec.SECP384R1())

    def inner(key: Any, *, account: str | None = None, old_key: Any = old, **protected: Any) -> dict[str, str]:
        payload = {"account": account or client.kid, "oldKey": jwk_of(old_key)}
        return jws(key, {"jwk": jwk_of(key), "url": url, **protected}, payload)

    forged = jws(
        ec_key(), {"jwk": jwk_of(new), "url": url, "alg": "ES384"}, {"account": client.kid, "oldKey": jwk_of(old)}
    )
    assert client.post(url, forged).problem == "malformed"
    for broken in (
        inner(new, account=other.kid),
        inner(new, old_key=new),
        inner(new, url=url + "x"),
        inner(new, nonce="n"),
    ):
        assert client.post(url, broken).problem == "malformed"
    taken = client.post(url, inner(other.key))
    assert (taken.status, taken.headers["Location"]) == (409, other.kid)
    assert client.post(url, inner(new)).status == 200
    assert client.post(client.kid).problem == "malformed", "the old key is no longer the account's"
    client.key = new
    assert client.post(client.kid).status == 200


def test_a_nonce_is_used_once(client: RawClient) -> None:
    nonce = client.fresh_nonce()
    assert client.post(client.kid, nonce=nonce).status == 200
    again = client.post(client.kid, nonce=nonce)
    assert (again.status, again.problem) == (400, "badNonce")
    assert again.headers["Replay-Nonce"]
    assert client.post(client.kid).status == 200, "the nonce of the error can be used"


def test_jws_rules(ca: SandboxCa, client: RawClient, connect: Connect) -> None:
    stranger = connect(ca)
    cases = [
        ("malformed", client.post(client.kid, key=ec_key())),
        ("malformed", client.post(client.kid, jwk=jwk_of(client.key))),
        ("malformed", client.post(client.kid, kid=client.kid, jwk=jwk_of(client.key))),
        ("malformed", client.post(client.directory["newAccount"], {"termsOfServiceAgreed": True})),
        ("malformed", client.post(client.directory["newAccount"], {}, kid=client.kid, jwk=jwk_of(client.key))),
        ("malformed", client.post(client.kid, crit=["exp"])),
        ("malformed", client.post(client.kid, b"[]")),
        ("malformed", client.post(client.kid, b"not json")),
        ("accountDoesNotExist", client.post(client.kid, kid=f"{client.kid}x")),
        ("unauthorized", client.post(client.kid, url=client.directory["newOrder"])),
        ("unauthorized", stranger.post(client.kid)),
        ("badNonce", client.post(client.kid, nonce="bm90IG9uZQ")),
        ("badNonce", client.post(client.kid, nonce=None)),
        ("badSignatureAlgorithm", client.post(client.kid, alg="none")),
        ("badSignatureAlgorithm", client.post(client.kid, alg="HS256")),
        ("badSignatureAlgorithm", client.post(client.kid, alg="ES512")),
        ("malformed", client.post(client.kid, alg="RS256")),
    ]
    assert [reply.problem for _, reply in cases] == [problem for problem, _ in cases]
    unknown = client.post(client.kid, alg="ES512")
    assert unknown.json["algorithms"] == ["ES256", "ES384", "RS256"]


def test_ecdsa_signatures_have_exactly_one_form(ca: SandboxCa, connect: Connect) -> None:
    client = connect(ca)
    head = {"kid": client.kid, "url": client.kid, "nonce": client.fresh_nonce()}
    body = jws(client.key, head, None)
    raw = base64.urlsafe_b64decode(body["signature"] + "==")
    longer = {**body, "signature": b64(raw[:32] + b"\0" + raw[32:])}
    headers = {"Content-Type": "application/jose+json"}
    assert client.request("POST", client.kid, json.dumps(longer).encode(), headers).problem == "malformed"
    assert client.request("POST", client.kid, json.dumps(body).encode(), headers).status == 200


def test_keys_that_are_no_account_keys(ca: SandboxCa, connect: Connect) -> None:
    small = connect(ca, rsa.generate_private_key(65537, 1024), register=False)
    assert small.register().problem == "badPublicKey"
    client = connect(ca, register=False)
    jwk = jwk_of(client.key)
    url, agreed = client.directory["newAccount"], {"termsOfServiceAgreed": True}
    off_curve = {**jwk, "y": b64(b"\1" * 32)}
    for problem, broken in (
        ("badPublicKey", off_curve),
        ("badPublicKey", {"kty": "oct", "k": "AAAA"}),
        ("badPublicKey", {**jwk, "crv": "P-521"}),
        ("malformed", {**jwk, "x": jwk["x"] + "="}),
        ("malformed", {**jwk, "d": "AAAA"}),
        ("malformed", "jwk"),
    ):
        assert client.post(url, agreed, jwk=broken).problem == problem, broken


def test_http_rules(ca: SandboxCa, client: RawClient) -> None:
    assert client.post(client.kid, content_type="application/json").status == 415
    assert client.request("GET", client.kid).status == 405
    assert client.request("POST", client.directory["newNonce"], b"{}").status == 405
    assert client.post(ca.directory_url.replace("directory", "nothing")).status == 404
    assert client.post(client.directory["newOrder"] + "/x", {}).status == 404
    assert client.post(client.kid + "x").status == 404
    assert client.request("GET", ca.directory_url, headers={"User-Agent": ""}).problem == "malformed"
    unflattened = {
        **jws(client.key, {"kid": client.kid, "nonce": client.fresh_nonce(), "url": client.kid}, None),
        "header": {},
    }
    reply = client.request(
        "POST", client.kid, json.dumps(unflattened).encode(), {"Content-Type": "application/jose+json"}
    )
    assert reply.problem == "malformed"


def test_one_connection_serves_many_requests(ca: SandboxCa, client: RawClient) -> None:
    sock = client._connection.sock
    for _ in range(5):
        assert client.post(client.kid).status == 200
    assert client._connection.sock is sock
    assert ca.log.counts()["account"] == 5
