"""Revoking a certificate (RFC 8555 section 7.6): by an account, or by the certificate's own key."""

from __future__ import annotations

import re
from typing import Any, Final

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.jws import b64
from ci_acme.ca.problems import problem_kind
from ci_acme.ca.scope import Scope
from ci_acme.errors import CaError, CiAcmeError, OrderRefused, UsageError

REASONS: Final = {
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "certificateHold": 6,
    "privilegeWithdrawn": 9,
    "aACompromise": 10,
}
"""RFC 5280 section 5.3.1, without removeFromCRL, which ends a hold and revokes nothing."""

KEY_COMPROMISE: Final = 1
_NAMES: Final = {code: name for name, code in REASONS.items()}
_WHAT: Final = "revoke the certificate"


def parse_reason(text: str) -> int:
    """The code of a reason: its name in any case, with or without hyphens, or its number. Raises `UsageError`."""
    word = re.sub(r"[-_\s]", "", text).lower()
    by_word = {name.lower(): code for name, code in REASONS.items()} | {str(code): code for code in _NAMES}
    found = None if text.lstrip().startswith("-") else by_word.get(word)
    if found is None:
        raise UsageError(
            f"{text!r} is no reason to revoke a certificate (RFC 5280 section 5.3.1)",
            fix=f"give one of: {', '.join(REASONS)}",
        )
    return found


def reason_name(code: int) -> str:
    """`keyCompromise` for 1."""
    return _NAMES[code]


def revoke_by_account(client: AcmeClient, scope: Scope, der: bytes, reason: int | None) -> bool:
    """Have the account revoke a certificate (DER); False if it was revoked before.

    The account must exist. It has ordered the certificate, or holds authorizations for all of its names. Raises
    `CaError` (`details["problem"]` says why), `AccountError`, `RateLimited`.
    """
    try:
        client.request(scope, _url(client, scope), _payload(der, reason), kind="revoke", what=_WHAT)
    except CiAcmeError as error:
        return _revoked_before(error)
    return True


def revoke_by_key(client: AcmeClient, scope: Scope, der: bytes, reason: int | None) -> bool:
    """The same by the certificate's own key, which is the key of `client`; needs no account."""
    url = _url(client, scope)
    try:
        client.signed(scope).post(url, _payload(der, reason), kind="revoke", what=_WHAT, scope=scope, kid=None)
    except CiAcmeError as error:
        return _revoked_before(error)
    return True


def _url(client: AcmeClient, scope: Scope) -> str:
    url = client.directory(scope).revoke_cert
    if url is None:
        raise CaError(f"{client.host} revokes nothing: its directory has no revokeCert", fix="ask the CA's operator")
    return url


def _payload(der: bytes, reason: int | None) -> dict[str, Any]:
    payload: dict[str, Any] = {"certificate": b64(der)}
    if reason is not None:
        payload["reason"] = reason
    return payload


def _revoked_before(error: CiAcmeError) -> bool:
    """False for `alreadyRevoked`, else raises: here `unauthorized` and `malformed` are not about an order."""
    if problem_kind(error) == "alreadyRevoked":
        return False
    if isinstance(error, OrderRefused):
        raise CaError(
            error.message,
            fix="revoke it with the account that ordered it (--ca), or with its own key (--key FILE)",
            details=error.details,
        ) from None
    raise error
