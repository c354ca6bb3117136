"""Another key for an account (RFC 8555 section 7.3.5). Probed, never assumed: CAs advertise it and do not have it."""

from __future__ import annotations

import json
from typing import Any, Final

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.jws import sign
from ci_acme.ca.scope import Scope
from ci_acme.errors import AccountError, CaError, CiAcmeError
from ci_acme.ports import Signer

NOT_THERE: Final = (404, 405, 501)
"""What CAs answer that name a keyChange resource and have none (smallstep: 501, OpenBao: 404)."""


def key_change_url(client: AcmeClient, scope: Scope) -> str:
    """Where the CA takes a new key. Raises `CaError` if it says that it takes none."""
    url = client.directory(scope).key_change
    if url is None:
        raise _without(client, "its directory has no keyChange")
    return url


def change_key(client: AcmeClient, scope: Scope, account: str, new: Signer) -> None:
    """Ask the CA once to take `new` for the account at the URL `account`, in place of the client's key.

    `new` must be durable before. It is not asked again by itself, as the old key may not work any more. After an error
    that `is_final` the CA has not taken the new key; after any other it may have, and `which_account` tells. Raises
    `CaError`, `AccountError`, `RateLimited`, `Interrupted`.
    """
    url = key_change_url(client, scope)
    inner = sign(new, url=url, nonce=None, payload={"account": account, "oldKey": dict(client.signer.jwk)})
    try:
        client.signed(scope).post(
            url,
            json.loads(inner),
            kind="key-change",
            what="change the account's key",
            scope=scope,
            kid=account,
            final=lambda reply: True,
            attempts=1,
        )
    except CiAcmeError as error:
        status = _status(error)
        if status in NOT_THERE:
            raise _without(client, f"it names {url} and answers {status} there", error.details) from None
        raise


def is_final(error: CiAcmeError) -> bool:
    """Whether an error is the CA's own refusal: not one of the way to it, after which a request may still arrive."""
    status = _status(error)
    return status is not None and (status < 500 or status in NOT_THERE)


def which_account(old: AcmeClient, new: AcmeClient, scope: Scope) -> str | None:
    """The account's URL if the CA has taken the new key, None if it has not; for whoever does not know (any more).

    Raises `AccountError` if both keys have accounts, of which nobody can say which one is meant.
    """
    taken = new.find_account(scope)
    if taken is None:
        return None
    other = old.find_account(scope)
    if other is not None and other != taken:
        raise AccountError(
            f"the old key has the account {other} at {old.host}, and the new one has {taken}",
            fix="move the file of the new key away: it belongs to another account",
        )
    return taken


def _status(error: CiAcmeError) -> int | None:
    problem = error.details.get("problem")
    status = problem.get("status") if isinstance(problem, dict) else None
    return status if isinstance(status, int) else None


def _without(client: AcmeClient, why: str, details: dict[str, Any] | None = None) -> CaError:
    return CaError(
        f"{client.host} does not change account keys: {why}; nothing was changed",
        fix="register a new account with a fresh key (account_key: file:…, ci-acme account register), "
        "then deactivate the old one",
        details=details,
    )
