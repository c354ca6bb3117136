"""Accounts, key changes and revocation on a CA that says what a real one never says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ci_acme.ca.account import Account, ExternalAccount
from ci_acme.ca.jws import unb64
from ci_acme.ca.keys import LocalSigner, generate_key
from ci_acme.ca.lifecycle import deactivate, key_type, look_up, register, update_contacts
from ci_acme.ca.revocation import REASONS, parse_reason, reason_name, revoke_by_account
from ci_acme.ca.rollover import NOT_THERE, change_key, is_final, key_change_url
from ci_acme.errors import (
    AccountError,
    CaError,
    CaProtocolError,
    CaUnreachable,
    CiAcmeError,
    RateLimited,
    UsageError,
)
from ci_acme.model.material import KeyType
from ci_acme.model.secret import Secret
from tests.ca.support import BASE, Fake, fake, problem, response

URL = f"{BASE}/acct/1"
EXTERNAL = ExternalAccount("kid", Secret(b"0" * 32))


def answer(world: Fake, kind: str, *replies: Any) -> None:
    """What the CA answers to the next requests of a kind that it does not have by itself."""
    world.ca.script[kind].extend(replies)


@pytest.mark.parametrize(
    ("document", "account"),
    [
        ({"status": "valid"}, Account(URL, "valid")),
        ({}, Account(URL, "valid")),
        (
            {"status": "deactivated", "contact": ["mailto:a@example.com", 7, ""], "termsOfServiceAgreed": True},
            Account(URL, "deactivated", ("mailto:a@example.com",), terms_agreed=True),
        ),
        ({"contact": "mailto:a@example.com", "termsOfServiceAgreed": "yes"}, Account(URL, "valid")),
        ({"externalAccountBinding": {"payload": "x"}}, Account(URL, "valid", bound=True)),
        ({"contact": ["mailto:\x1b[31mred"]}, Account(URL, "valid", ("mailto: [31mred",))),
    ],
)
def test_an_account_is_read_from_whatever_the_ca_shows(document: dict[str, Any], account: Account) -> None:
    world = fake()
    answer(world, "account", response(200, document, Location=URL))
    assert look_up(world.client, world.scope()) == account
    assert world.ca.log[-1] == ("account", {"onlyReturnExisting": True})


def test_an_account_that_is_not_there() -> None:
    world = fake()
    world.ca.account_known = False
    assert look_up(world.client, world.scope()) is None


@pytest.mark.parametrize(
    ("detail", "status"),
    [
        ("An account with the provided public key exists but is deactivated", "deactivated"),
        ("account is revoked", "revoked"),
        ("the account is not active", "deactivated"),
    ],
)
def test_an_account_that_the_ca_does_not_show_any_more(detail: str, status: str) -> None:
    world = fake()
    answer(world, "account", problem("unauthorized", 403, detail))
    assert look_up(world.client, world.scope()) == Account(URL, status)


@pytest.mark.parametrize("reply", [problem("unauthorized", 403, "your address is blocked"), problem("malformed", 400)])
def test_other_refusals_do_not_pass_for_a_deactivated_account(reply: Any) -> None:
    world = fake()
    answer(world, "account", reply)
    with pytest.raises(AccountError):
        look_up(world.client, world.scope())


def test_an_external_account_that_was_spent_by_a_lost_request_is_no_failure() -> None:
    """The first request makes the account, its reply is lost; the second one is told that the credential is spent."""
    world = fake()

    def lost(reply: Any) -> Any:
        raise CaUnreachable("gone")

    answer(world, "account", lost, problem("unauthorized", 403, "the key identifier is unknown"))
    assert register(world.client, world.scope(), contact=(), terms_agreed=True, external=EXTERNAL) == URL
    assert [payload.get("onlyReturnExisting") for _, payload in world.ca.log if payload] == [None, None, True]


def test_a_refused_external_account_stays_refused() -> None:
    world = fake()
    answer(world, "account", problem("unauthorized", 403, "unknown"))
    answer(world, "account", problem("accountDoesNotExist", 400))
    with pytest.raises(AccountError, match="unknown") as raised:
        register(world.client, world.scope(), contact=(), terms_agreed=True, external=EXTERNAL)
    assert "good for one account" in raised.value.fix


def test_nothing_is_asked_where_the_terms_are_not_agreed_to() -> None:
    world = fake(meta={"termsOfService": f"{BASE}/terms"})
    with pytest.raises(AccountError, match=f"{BASE}/terms") as raised:
        register(world.client, world.scope(), contact=(), terms_agreed=False, external=EXTERNAL)
    assert "--agree-terms" in raised.value.fix
    assert raised.value.details["terms_of_service"] == f"{BASE}/terms"
    assert world.ca.kinds() == ["dir"]


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_the_binding_has_the_algorithm_that_is_wanted(alg: str) -> None:
    world = fake()
    external = ExternalAccount("kid", Secret(b"0" * 64), alg)
    register(world.client, world.scope(), contact=(), terms_agreed=True, external=external)
    (payload,) = [payload for kind, payload in world.ca.log if kind == "account"]
    header = json.loads(unb64(payload["externalAccountBinding"]["protected"]))
    assert header == {"alg": alg, "kid": "kid", "url": f"{BASE}/account"}


# contacts, and the end


def test_contacts_are_changed_only_where_they_differ() -> None:
    world = fake()
    account = Account(URL, "valid", ("mailto:b@example.com", "mailto:a@example.com"))
    assert update_contacts(world.client, world.scope(), account, ["a@example.com", "b@example.com"]) is account
    assert world.ca.log == []
    answer(world, "acct", response(200, {"status": "valid", "contact": ["mailto:c@example.com"]}))
    changed = update_contacts(world.client, world.scope(), account, ["c@example.com"])
    assert changed.contact == ("mailto:c@example.com",)
    assert world.ca.log[-1] == ("acct", {"contact": ["mailto:c@example.com"]})
    answer(world, "acct", response(200, {"status": "valid"}))
    assert update_contacts(world.client, world.scope(), account, []).contact == ()
    assert world.ca.log[-1] == ("acct", {"contact": []})


def test_an_account_that_goes_on_is_not_called_deactivated() -> None:
    world = fake()
    answer(world, "acct", response(200, {"status": "valid"}), response(200, {"status": "deactivated"}))
    with pytest.raises(CaProtocolError, match="still 'valid'"):
        deactivate(world.client, world.scope(), Account(URL, "valid"))
    assert deactivate(world.client, world.scope(), Account(URL, "valid")).status == "deactivated"


# another key


@pytest.mark.parametrize("status", NOT_THERE)
def test_a_key_change_that_is_advertised_and_not_there(status: int) -> None:
    """One request, however a 501 looks like a server in trouble."""
    world = fake()
    answer(world, "key", response(status))
    with pytest.raises(CaError, match=f"answers {status}") as raised:
        change_key(world.client, world.scope(), URL, LocalSigner(generate_key()))
    assert raised.value.code == "ca.failed"
    assert "register a new account" in raised.value.fix
    assert is_final(raised.value)
    assert world.ca.kinds().count("key") == 1


def test_a_key_change_that_is_not_advertised() -> None:
    world = fake()
    world.ca.script["dir"] = [lambda reply: response(200, {**json.loads(reply.body), "keyChange": None})]
    with pytest.raises(CaError, match="has no keyChange"):
        key_change_url(world.client, world.scope())
    assert world.ca.kinds() == ["dir"]


@pytest.mark.parametrize(
    ("reply", "kind", "final"),
    [
        (problem("malformed", 400), CaError, True),
        (problem("unauthorized", 403), CaError, True),
        (problem("rateLimited", 429, headers={"Retry-After": "1"}), RateLimited, True),
        (response(500), CaUnreachable, False),
        (response(503), CaUnreachable, False),
        (CaUnreachable("cut"), CaUnreachable, False),
    ],
)
def test_a_key_change_is_asked_for_once_and_only_an_answer_is_final(
    reply: Any, kind: type[CiAcmeError], *, final: bool
) -> None:
    world = fake()
    answer(world, "key", reply)
    with pytest.raises(kind) as raised:
        change_key(world.client, world.scope(), URL, LocalSigner(generate_key()))
    assert is_final(raised.value) is final
    assert world.ca.kinds().count("key") == 1
    assert world.clock.sleeps == []


def test_the_inner_jws_of_a_key_change() -> None:
    world = fake()
    new = LocalSigner(generate_key(KeyType.EC_P384))
    answer(world, "key", response(200))
    change_key(world.client, world.scope(), URL, new)
    inner = world.ca.log[-1][1]
    header, payload = (json.loads(unb64(inner[part])) for part in ("protected", "payload"))
    assert header == {"alg": "ES384", "url": f"{BASE}/key", "jwk": dict(new.jwk)}
    assert payload == {"account": URL, "oldKey": dict(world.client.signer.jwk)}


@pytest.mark.parametrize("kind", list(KeyType))
def test_types_of_keys(kind: KeyType) -> None:
    assert key_type(LocalSigner(generate_key(kind)).jwk) == kind.value


# revocation


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *REASONS.items(),
        *((str(code), code) for code in REASONS.values()),
        ("key-compromise", 1),
        ("KEYCOMPROMISE", 1),
        ("cessation_of_operation", 5),
        (" superseded ", 4),
    ],
)
def test_reasons_have_names_and_numbers(text: str, code: int) -> None:
    assert parse_reason(text) == code
    assert REASONS[reason_name(code)] == code


@pytest.mark.parametrize("text", ["", "7", "8", "11", "-1", "removeFromCRL", "compromise", "1.0", "\uff19", "\u00b2"])
def test_what_is_no_reason(text: str) -> None:
    with pytest.raises(UsageError, match="is no reason") as raised:
        parse_reason(text)
    assert "keyCompromise" in raised.value.fix


def test_what_a_revocation_says() -> None:
    world = fake()
    answer(world, "revoke", response(200), response(200), problem("alreadyRevoked", 400))
    assert revoke_by_account(world.client, world.scope(), b"\x30\x03\x02\x01\xff", None)
    assert world.ca.log[-1] == ("revoke", {"certificate": "MAMCAf8"})
    assert revoke_by_account(world.client, world.scope(), b"der", 0)
    assert world.ca.log[-1][1]["reason"] == 0
    assert not revoke_by_account(world.client, world.scope(), b"der", 1)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (problem("unauthorized", 403, "not yours"), "--key FILE"),
        (problem("malformed", 404, "unknown"), "--key FILE"),
        (problem("badRevocationReason", 400), "--reason"),
    ],
)
def test_a_refused_revocation_says_what_else_there_is(reply: Any, words: str) -> None:
    world = fake()
    answer(world, "revoke", reply)
    with pytest.raises(CaError) as raised:
        revoke_by_account(world.client, world.scope(), b"der", None)
    assert raised.value.code == "ca.failed"
    assert words in raised.value.fix


def test_a_ca_without_revocation() -> None:
    world = fake()
    world.ca.script["dir"] = [lambda reply: response(200, {**json.loads(reply.body), "revokeCert": None})]
    with pytest.raises(CaError, match="has no revokeCert"):
        revoke_by_account(world.client, world.scope(), b"der", None)
