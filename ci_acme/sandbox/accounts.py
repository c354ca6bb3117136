"""newAccount, account, orders list and keyChange (RFC 8555 section 7.3)."""

from __future__ import annotations

import re
from typing import Any, Final

from ci_acme.sandbox.core import Core, SignedRequest, json_reply
from ci_acme.sandbox.http import Reply
from ci_acme.sandbox.jose import Jwk, Jws, parse_json
from ci_acme.sandbox.problems import Problem
from ci_acme.sandbox.records import Account

_MAILBOX: Final = re.compile(r"[^@\s,?]+@[^@\s,?]+\.[^@\s,?.]+\Z")
_MAX_CONTACTS: Final = 10


def new_account(core: Core, request: SignedRequest) -> Reply:
    """Find or make the account of the key that signed."""
    document = request.document()
    account = core.records.account_by_key(request.jwk)
    if account is not None:
        if account.status != "valid":
            raise Problem("unauthorized", f"the account of this key is {account.status}")
        return _show(account, 200)
    if document.get("onlyReturnExisting") is True:
        raise Problem("accountDoesNotExist", "there is no account with this key")
    if document.get("termsOfServiceAgreed") is not True:
        raise Problem("userActionRequired", "the terms of service must be agreed to", instance=core.url("terms"))
    contact = _contact(document.get("contact", []))
    binding = _external_account(core, request, document.get("externalAccountBinding"))
    account = Account(core.records.new_url("account"), request.jwk, contact, external_account=binding)
    core.records.accounts[account.url] = account
    return _show(account, 201)


def account(core: Core, request: SignedRequest, url: str) -> Reply:
    """Show, update the contacts, or deactivate."""
    owner = _own(core, request, url)
    if request.payload:
        document = request.document()
        if "contact" in document:
            owner.contact = _contact(document["contact"])
        if document.get("status") == "deactivated":
            _deactivate(core, owner)
        elif document.get("status") not in (None, owner.status):
            raise Problem("malformed", "the only status a client can set is deactivated")
    return _show(owner, 200)


def orders(core: Core, request: SignedRequest, url: str) -> Reply:
    """The account's orders (RFC 8555 section 7.1.2.1)."""
    owner = _own(core, request, url.removesuffix("/orders"))
    request.require_read()
    return json_reply(200, {"orders": owner.orders})


def key_change(core: Core, request: SignedRequest) -> Reply:
    """Roll over to the key that signed the inner JWS (RFC 8555 section 7.3.5)."""
    owner = request.require_account()
    if core.faults.key_change_status is not None:
        raise Problem("malformed", "keys are not changed here", status=core.faults.key_change_status)
    inner = Jws.parse(request.document())
    new = Jwk.parse(inner.protected.get("jwk"))
    inner.verify(new)
    payload = parse_json(inner.payload, "the inner payload")
    if inner.protected.get("url") != request.url or "nonce" in inner.protected or "kid" in inner.protected:
        raise Problem("malformed", "the inner JWS has the same url, a jwk, and neither nonce nor kid")
    if payload.get("account") != owner.url:
        raise Problem("malformed", "the inner account is not the one that signed")
    if Jwk.parse(payload.get("oldKey")).thumbprint != owner.jwk.thumbprint:
        raise Problem("malformed", "oldKey is not the account's key")
    holder = core.records.account_by_key(new)
    if holder is not None:
        raise Problem("malformed", "an account has this key", status=409, headers={"Location": holder.url})
    owner.jwk = new
    return _show(owner, 200)


def _own(core: Core, request: SignedRequest, url: str) -> Account:
    found = core.records.accounts.get(url)
    if found is None:
        raise Problem("malformed", "there is no such account", status=404)
    request.require_owner(found)
    return found


def _show(shown: Account, status: int) -> Reply:
    document = {
        "status": shown.status,
        "contact": shown.contact,
        "termsOfServiceAgreed": True,
        "externalAccountBinding": shown.external_account,
        "orders": f"{shown.url}/orders",
    }
    return json_reply(status, document, {"Location": shown.url})


def _deactivate(core: Core, owner: Account) -> None:
    """RFC 8555 section 7.3.6: what is under way is over."""
    owner.status = "deactivated"
    for authorization in core.records.authorizations.values():
        if authorization.account is owner:
            authorization.deactivated = True


def _contact(contacts: Any) -> list[str]:
    if not isinstance(contacts, list) or len(contacts) > _MAX_CONTACTS:
        raise Problem("malformed", f"contact is a list of at most {_MAX_CONTACTS} URLs")
    for contact in contacts:
        scheme, _, mailbox = str(contact).partition(":")
        if scheme.lower() != "mailto":
            raise Problem("unsupportedContact", f"the scheme {scheme!r} is not supported, mailto is")
        if not _MAILBOX.match(mailbox):
            raise Problem("invalidContact", f"{mailbox!r} is not one mailbox")
    return [str(contact) for contact in contacts]


def _external_account(core: Core, request: SignedRequest, binding: Any) -> dict[str, Any] | None:
    """RFC 8555 section 7.3.4."""
    if binding is None:
        if core.external_account_required:
            raise Problem("externalAccountRequired", "this CA wants an external account binding")
        return None
    if not isinstance(binding, dict):
        raise Problem("malformed", "externalAccountBinding is not a JWS")
    jws = Jws.parse(binding)
    if jws.protected.get("url") != request.url or "nonce" in jws.protected:
        raise Problem("malformed", "the binding has the url of newAccount and no nonce")
    name = str(jws.protected.get("kid"))
    key = core.external_accounts.get(name)
    if key is None or (core.faults.bindings_once and name in core.records.bindings):
        raise Problem("unauthorized", "the key identifier of the external account binding is unknown")
    jws.verify_mac(key)
    if Jwk.parse(parse_json(jws.payload, "the binding's payload")).thumbprint != request.jwk.thumbprint:
        raise Problem("malformed", "the external account binding is for another account key")
    core.records.bindings.add(name)
    return binding
