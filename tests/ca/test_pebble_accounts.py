"""The life of an account and of a certificate at a real CA."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable

import pytest

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.inspect import split_pem
from ci_acme.ca.keys import LocalSigner, generate_key
from ci_acme.ca.lifecycle import deactivate, look_up, update_contacts
from ci_acme.ca.order import OrderRequest, obtain
from ci_acme.ca.revocation import revoke_by_account, revoke_by_key
from ci_acme.ca.rollover import change_key, which_account
from ci_acme.errors import AccountError, CaError
from ci_acme.model.material import KeyType
from tests.ca.support import NoDns, Session
from tests.servers.pebble import Pebble

pytestmark = pytest.mark.servers

Open = Callable[..., Session]


def certificate(session: Session, name: str) -> tuple[bytes, LocalSigner]:
    """A certificate (DER) and its key."""
    request = OrderRequest((name,), generate_key(), profile="default")
    issued = obtain(session.client, request, NoDns(), scope=session.scope(), on_order=lambda url: None)
    der = b64decode(b"".join(split_pem(issued.certificate_pem)[0].splitlines()[1:-1]))
    return der, LocalSigner(request.key)


def by(session: Session, signer: LocalSigner) -> AcmeClient:
    """Another client of the same CA, by another key."""
    client = session.client
    return AcmeClient(client.directory_url, signer, http=session.pool, clock=session.clock)


def test_an_account_from_its_contacts_to_its_end(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    scope = session.scope()
    account = look_up(session.client, scope)
    assert account is not None
    assert (account.url, account.status, account.contact) == (session.client.account, "valid", ())
    changed = update_contacts(session.client, scope, account, ["ops@example.com"])
    assert changed.contact == ("mailto:ops@example.com",)
    assert look_up(session.client, scope) == changed
    assert update_contacts(session.client, scope, changed, []).contact == ()
    assert deactivate(session.client, scope, account).status == "deactivated"
    ended = look_up(session.client, scope)
    assert ended is not None
    assert ended.status == "deactivated"
    with pytest.raises(AccountError):
        session.client.find_account(scope)


@pytest.mark.parametrize("new", [KeyType.EC_P256, KeyType.EC_P384, KeyType.RSA_2048])
@pytest.mark.parametrize("old", [KeyType.EC_P256, KeyType.RSA_2048])
def test_a_key_is_changed(old: KeyType, new: KeyType, pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble, LocalSigner(generate_key(old)))
    scope, account = session.scope(), session.client.account
    assert account is not None
    successor = by(session, LocalSigner(generate_key(new)))
    assert which_account(session.client, successor, scope) is None
    change_key(session.client, scope, account, successor.signer)
    assert which_account(session.client, successor, scope) == account
    assert session.client.find_account(scope) is None
    certificate(Session(successor, session.pool, session.clock), "rolled.example.com")


def test_a_key_that_has_an_account_is_not_taken(pebble: Pebble, open_session: Open) -> None:
    """Pebble answers 200 and does nothing (its 409 never comes): whoever believes that loses the account."""
    one, other = open_session(pebble), open_session(pebble)
    assert one.client.account is not None
    change_key(one.client, one.scope(), one.client.account, other.client.signer)
    assert one.client.find_account(one.scope()) == one.client.account
    with pytest.raises(AccountError, match="the old key has the account"):
        which_account(one.client, other.client, one.scope())


def test_revocation_by_the_account(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    der, _ = certificate(session, "revoked.example.com")
    assert revoke_by_account(session.client, session.scope(), der, 4)
    assert not revoke_by_account(session.client, session.scope(), der, 4)
    with pytest.raises(CaError) as raised:
        revoke_by_account(session.client, session.scope(), b"never issued", None)
    assert "--key" in raised.value.fix


def test_revocation_by_the_certificates_own_key(pebble: Pebble, open_session: Open) -> None:
    session, stranger = open_session(pebble), open_session(pebble)
    der, key = certificate(session, "own-key.example.com")
    with pytest.raises(CaError, match="refused to revoke"):
        revoke_by_account(stranger.client, stranger.scope(), der, 1)
    with pytest.raises(CaError, match="refused to revoke"):
        revoke_by_key(by(session, LocalSigner(generate_key())), session.scope(), der, 1)
    assert revoke_by_key(by(session, key), session.scope(), der, 1)
    assert not revoke_by_key(by(session, key), session.scope(), der, None)


def test_half_of_all_nonces_rejected(rejecting: dict[int, Pebble], open_session: Open) -> None:
    """A key change is asked for once, and a rejected nonce is no failure of it."""
    session = open_session(rejecting[50])
    assert session.client.account is not None
    current = session.client
    for _ in range(5):
        successor = by(session, LocalSigner(generate_key()))
        change_key(current, session.scope(), session.client.account, successor.signer)
        current = successor
    assert current.find_account(session.scope()) == session.client.account
