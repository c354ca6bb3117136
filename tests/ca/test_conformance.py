"""Clauses of RFC 8555 and RFC 9773 that no other test has: what is on the wire, and what a reply may not do."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.http import Http, HttpResponse
from ci_acme.ca.jws import unb64
from ci_acme.ca.keys import LocalSigner, generate_key
from ci_acme.ca.messages import Directory
from ci_acme.ca.order import OrderRequest, obtain
from ci_acme.ca.transport import Reply
from ci_acme.errors import AccountError
from tests.ca.support import BASE, UTC, Fake, FakeCa, FakeClock, NoDns, fake, problem, response

KEY = generate_key()
NAMES = ("a.example.com", "*.b.example.com")


@dataclass
class Sent:
    """A request as it was on the wire."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None

    @property
    def jws(self) -> dict[str, str]:
        assert self.body is not None
        document: dict[str, str] = json.loads(self.body)
        return document

    @property
    def protected(self) -> dict[str, Any]:
        header: dict[str, Any] = json.loads(unb64(self.jws["protected"]))
        return header


@dataclass
class Tap:
    """`Http` that keeps what passes."""

    inner: Http
    sent: list[Sent] = field(default_factory=list)

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> HttpResponse:
        self.sent.append(Sent(method, url, dict(headers), body))
        return self.inner.request(method, url, headers=headers, body=body, timeout=timeout)


def tapped() -> tuple[Fake, Tap]:
    clock, signer = FakeClock(), LocalSigner(generate_key())
    ca = FakeCa(clock, signer)
    tap = Tap(ca)
    return Fake(clock, ca, AcmeClient(f"{BASE}/dir", signer, http=tap, clock=clock)), tap


def issue(world: Fake, **more: Any) -> None:
    request = OrderRequest(NAMES, KEY, **more)
    obtain(world.client, request, NoDns(), scope=world.scope(), on_order=lambda url: None)


@pytest.fixture(scope="module")
def sent() -> list[Sent]:
    """Every request of a run from a new account to a certificate."""
    world, tap = tapped()
    world.client.register(world.scope(), contact=["ops@example.com"], terms_agreed=True)
    issue(world)
    return tap.sent


def test_every_request_says_who_we_are_and_in_which_language(sent: list[Sent]) -> None:
    assert {request.method for request in sent} == {"GET", "HEAD", "POST"}
    for request in sent:
        assert re.fullmatch(r"ci-acme/\d\S* \(\w+; Python 3\.\d+\)", request.headers["User-Agent"])
        assert request.headers["Accept-Language"] == "en"


def test_every_signed_request_is_a_flattened_jws(sent: list[Sent]) -> None:
    posts = [request for request in sent if request.method == "POST"]
    assert len(posts) > 8
    for request in posts:
        assert request.headers["Content-Type"] == "application/jose+json"
        assert set(request.jws) == {"protected", "payload", "signature"}
        header = request.protected
        assert set(header) in ({"alg", "nonce", "url", "jwk"}, {"alg", "nonce", "url", "kid"})
        assert header["alg"] == "ES256"
        assert header["url"] == request.url
        for part in request.jws.values():
            assert re.fullmatch(r"[A-Za-z0-9_-]*", part)


def test_the_key_signs_for_itself_only_for_an_account(sent: list[Sent]) -> None:
    for request in sent:
        if request.method == "POST":
            assert ("jwk" in request.protected) == (request.url == f"{BASE}/account")
            assert request.protected.get("kid", f"{BASE}/acct/1") == f"{BASE}/acct/1"
            assert set(request.protected.get("jwk", ())) <= {"crv", "kty", "x", "y"}


def test_what_is_only_read_is_a_post_as_get(sent: list[Sent]) -> None:
    for request in sent:
        kind = request.url.removeprefix(BASE).split("/")[1]
        if kind in {"authz", "cert"} or (kind == "order" and request.url != f"{BASE}/order"):
            assert (request.method, request.jws["payload"]) == ("POST", "")
    assert [request.url for request in sent if request.method == "GET"] == [f"{BASE}/dir"]


def test_no_nonce_is_used_twice(sent: list[Sent]) -> None:
    nonces = [request.protected["nonce"] for request in sent if request.method == "POST"]
    assert len(set(nonces)) == len(nonces)


def test_a_url_is_used_as_the_ca_wrote_it() -> None:
    """Its case, its order of parameters and its escapes are the CA's business."""
    world, tap = tapped()
    world.client.use_account(f"{BASE}/acct/1")
    odd = f"{BASE}/order/1?b=2&a=%2f%2F&c=~;x//../y"
    world.ca.script["order"] = [lambda reply: response(201, json.loads(reply.body), Location=odd)]
    issue(world)
    polls = [request for request in tap.sent if "?" in request.url]
    assert polls
    assert {request.url for request in polls} == {odd}
    assert {request.protected["url"] for request in polls} == {odd}


def test_what_the_directory_says_about_the_ca_is_read() -> None:
    document = {
        "newNonce": f"{BASE}/n", "newAccount": f"{BASE}/a", "newOrder": f"{BASE}/o", "newAuthz": f"{BASE}/z",
        "meta": {
            "termsOfService": "https://ca.example/terms", "website": "https://ca.example/",
            "caaIdentities": ["ca.example"], "externalAccountRequired": True,
            "profiles": {"short": "six days", "x\r\n::error::y": "\x1b[2J"}, "unknown": {"a": 1},
        },
        "a random entry": "https://community.example/t/1",
    }  # fmt: skip
    directory = Directory.from_reply(Reply(f"{BASE}/dir", 200, response(200, document), None))
    assert directory.caa_identities == ("ca.example",)
    assert directory.external_account_required
    assert directory.terms_of_service == "https://ca.example/terms"
    assert directory.profiles == {"short": "six days", "x ::error::y": "[2J"}
    assert directory.renewal_info is None


def test_an_order_may_be_shown_in_any_order() -> None:
    world, dice = fake(), random.Random(1)

    def shuffled(reply: HttpResponse) -> HttpResponse:
        document = json.loads(reply.body)
        dice.shuffle(document["identifiers"])
        dice.shuffle(document["authorizations"])
        return HttpResponse(reply.status, reply.headers, json.dumps(document).encode())

    for kind in ("order", "poll", "finalize"):
        world.ca.script[kind] = [shuffled] * 20
    world.ca.validation_polls = 5
    issue(world)


@pytest.mark.parametrize("status", ["ready", "processing", "valid"])
def test_the_status_of_an_order_decides_what_is_done(status: str) -> None:
    """The CA went on by itself: nothing of what is past is asked for."""
    world = fake(valid_authorizations=True)

    def ahead(reply: HttpResponse) -> HttpResponse:
        world.ca._finalize("", {"csr": _csr()})
        world.ca.status = "valid"
        return response(201, {**world.ca._order_document(), "status": status}, Location=f"{BASE}/order/1")

    world.ca.script["order"] = [ahead] if status != "ready" else []
    issue(world)
    after = world.ca.kinds()[3:]
    assert "authz" not in after
    assert ("finalize" in after) == (status == "ready")


def _csr() -> str:
    from ci_acme.ca.jws import b64
    from ci_acme.ca.keys import build_csr

    return b64(build_csr(KEY, NAMES))


def test_an_account_is_looked_for_without_making_one() -> None:
    world, _ = tapped()
    world.ca.account_known = False
    assert world.client.find_account(world.scope()) is None
    assert [payload for kind, payload in world.ca.log if kind == "account"] == [{"onlyReturnExisting": True}]
    with pytest.raises(AccountError, match="has no account"):
        issue(world)
    assert {json.dumps(payload) for kind, payload in world.ca.log if kind == "account"} == {
        '{"onlyReturnExisting": true}'
    }


def test_terms_are_agreed_to_only_by_the_user() -> None:
    world, _ = tapped()
    world.ca.meta["termsOfService"] = "https://ca.example/terms"
    with pytest.raises(AccountError, match=r"https://ca\.example/terms"):
        world.client.register(world.scope())
    assert "account" not in world.ca.kinds()
    world.client.register(world.scope(), terms_agreed=True)
    assert world.ca.log[-1] == ("account", {"termsOfServiceAgreed": True})


def test_times_of_an_order_are_sent_as_rfc_3339() -> None:
    import datetime as dt

    world = fake()
    start = dt.datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
    issue(world, not_before=start, not_after=start + dt.timedelta(days=1))
    (payload,) = [payload for kind, payload in world.ca.log if kind == "order"]
    assert payload["notBefore"] == "2027-01-02T03:04:05Z"
    assert payload["notAfter"] == "2027-01-03T03:04:05Z"


# RFC 9773


def test_renewal_information_is_asked_for_by_an_unsigned_get() -> None:
    world, tap = tapped()
    world.ca.script["ari"] = [problem("malformed", 404)]
    with pytest.raises(Exception, match="renewal information"):
        world.client.renewal_info(world.scope(), "aki.serial")
    last = tap.sent[-1]
    assert (last.method, last.url, last.body) == ("GET", f"{BASE}/ari/aki.serial", None)


def test_a_predecessor_is_named_only_where_the_ca_has_renewal_information() -> None:
    world = fake()
    issue(world, replaces="aki.serial")
    without = fake()
    without.ca.script["dir"] = [
        lambda reply: response(
            200, {name: url for name, url in json.loads(reply.body).items() if name != "renewalInfo"}
        )
    ]
    issue(without, replaces="aki.serial")
    sent = [[payload for kind, payload in each.ca.log if kind == "order"] for each in (world, without)]
    assert [("replaces" in payload) for (payload,) in sent] == [True, False]
    assert world.warnings() == without.warnings() == []
