"""What the config's `challenge` means for an order: which challenge is answered, and where its record belongs."""

from __future__ import annotations

import re
from typing import Final

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.http import split_url
from ci_acme.ca.messages import DNS_ACCOUNT, DNS_PERSIST, AcmeChallenge, Authorization
from ci_acme.ca.scope import Scope
from ci_acme.core.standing import record
from ci_acme.errors import CaProtocolError
from ci_acme.model.names import account_challenge_name, challenge_name, is_wildcard, standing_name
from ci_acme.ports import Challenge, StandingChallenge

MAX_ISSUERS: Final = 10
_DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\Z")


def record_name(kind: str, identifier: str, account: str) -> str:
    """Where the TXT record for a challenge of this type belongs; `account` is our account's URL."""
    if kind == DNS_ACCOUNT:
        return account_challenge_name(identifier, account)
    return standing_name(identifier) if kind == DNS_PERSIST else challenge_name(identifier)


def to_solve(
    client: AcmeClient, scope: Scope, authorization: Authorization, challenge: AcmeChallenge
) -> Challenge | StandingChallenge:
    """What the solver is given for a challenge. Raises `CaProtocolError` for one that must not be answered."""
    identifier, account = authorization.identifier, client.account_url(scope)
    name = record_name(challenge.type, identifier, account)
    if challenge.type != DNS_PERSIST:
        return Challenge(identifier, name, client.txt_value(challenge))
    issuers = permitted_issuers(client, scope, challenge, account)
    wildcard = is_wildcard(identifier)
    value = record(issuers[0], account, wildcard=wildcard)
    return StandingChallenge(identifier, name, value, issuers, account, wildcard)


def permitted_issuers(client: AcmeClient, scope: Scope, challenge: AcmeChallenge, account: str) -> tuple[str, ...]:
    """Whose name a standing record may have. Raises `CaProtocolError`.

    The draft's rules, and more: a CA that is not what it seems could have a record published that permits its own
    account at another CA. So the account is the one that we use, at the directory's own host, and the issuers are among
    those that the directory names for CAA.
    """
    fix = "do not publish any record; ask the CA's operator, or use challenge: dns-01"
    if not 1 <= len(challenge.issuers) <= MAX_ISSUERS:
        raise CaProtocolError(
            f"the dns-persist-01 challenge of {client.host} names {len(challenge.issuers)} issuers, not 1 to 10",
            fix=fix,
        )
    if split_url(account).netloc != client.host:
        raise CaProtocolError(f"the account {account} is not at {client.host}", fix=fix)
    if challenge.account and challenge.account != account:
        raise CaProtocolError(
            f"{client.host} has a dns-persist-01 challenge for {challenge.account}, and our account is {account}",
            fix=fix,
        )
    known = {identity.lower() for identity in client.directory(scope).caa_identities}
    issuers = tuple(item for item in challenge.issuers if _DOMAIN.match(item) and (not known or item in known))
    if not issuers:
        raise CaProtocolError(
            f"{client.host} wants a record for {', '.join(challenge.issuers)}, and its directory says that it is "
            f"{', '.join(sorted(known)) or 'nobody'}",
            fix=fix,
        )
    return issuers
