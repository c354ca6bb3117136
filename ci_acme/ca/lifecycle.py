"""The life of an account after it was made: shown, changed, deactivated (RFC 8555 sections 7.3.1, 7.3.2, 7.3.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ci_acme.ca.account import Account, ExternalAccount, contact_urls
from ci_acme.ca.client import AcmeClient
from ci_acme.ca.problems import problem_kind
from ci_acme.ca.scope import Scope
from ci_acme.errors import AccountError, CaError, CaProtocolError, Interrupted

_GONE: Final = re.compile(r"\b(deactivated|revoked|inactive|not active)\b")


def look_up(client: AcmeClient, scope: Scope) -> Account | None:
    """The account that the key has, also a deactivated or revoked one; None if it has none.

    Most CAs refuse to show one that is not valid: then `url` is what the client knows, or empty.
    """
    try:
        return client.show_account(scope)
    except AccountError as error:
        problem = error.details.get("problem")
        said = str(problem.get("detail", "")) if isinstance(problem, Mapping) else ""
        gone = _GONE.search(said) if problem_kind(error) == "unauthorized" else None
        if gone is None:
            raise
        return Account(client.account or "", "revoked" if gone[1] == "revoked" else "deactivated")


def register(
    client: AcmeClient, scope: Scope, *, contact: Sequence[str], terms_agreed: bool, external: ExternalAccount | None
) -> str:
    """Create the account as `AcmeClient.register` does; returns its URL.

    A credential for an external account may be good for one time. Where the reply to the request that spent it was
    lost, the CA may refuse it when it comes again: then the account that the key has by now is the answer.
    """
    try:
        return client.register(scope, contact=contact, terms_agreed=terms_agreed, external=external)
    except Interrupted:
        raise
    except (AccountError, CaError) as error:
        by_us = isinstance(error, AccountError) and "problem" not in error.details
        found = None if external is None or by_us else client.find_account(scope)
        if found is None:
            raise
        return found


def update_contacts(client: AcmeClient, scope: Scope, account: Account, contact: Sequence[str]) -> Account:
    """Let the account have exactly these e-mail addresses; costs nothing if it has them."""
    wanted = contact_urls(contact)
    if sorted(wanted) == sorted(account.contact):
        return account
    return _change(client, scope, account, {"contact": wanted}, "change the contacts")


def deactivate(client: AcmeClient, scope: Scope, account: Account) -> Account:
    """End the account for good: no key ever works for it again. Raises `CaProtocolError` if the CA goes on with it."""
    changed = _change(client, scope, account, {"status": "deactivated"}, "deactivate the account")
    if changed.status != "deactivated":
        raise CaProtocolError(
            f"{client.host} answered, and the account {account.url} is still {changed.status!r}",
            fix="run again; ask the CA's operator",
        )
    return changed


def key_type(jwk: Mapping[str, str]) -> str:
    """`ec-p256`, `ec-p384`, `rsa-2048`, …: as the config names keys."""
    if jwk["kty"] == "EC":
        return f"ec-{jwk['crv'].lower().replace('-', '')}"
    return f"rsa-{len(jwk['n']) * 6 // 8 * 8}"


def _change(client: AcmeClient, scope: Scope, account: Account, payload: Mapping[str, Any], what: str) -> Account:
    client.use_account(account.url)
    reply = client.request(scope, account.url, payload, kind="account", what=what)
    return Account.from_json(reply.json(), account.url)
