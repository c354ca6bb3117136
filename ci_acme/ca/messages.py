"""The objects of ACME (RFC 8555 section 7.1), read from replies that may hold anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ci_acme.ca.http import split_url
from ci_acme.ca.problems import Problem, clean
from ci_acme.ca.transport import Reply
from ci_acme.dataclass import dataclass, field
from ci_acme.errors import CaProtocolError

ORDER_STATUSES: Final = frozenset({"pending", "ready", "processing", "valid", "invalid"})
AUTHORIZATION_STATUSES: Final = frozenset({"pending", "valid", "invalid", "deactivated", "expired", "revoked"})
CHALLENGE_STATUSES: Final = frozenset({"pending", "processing", "valid", "invalid"})
DNS: Final = "dns-01"
DNS_ACCOUNT: Final = "dns-account-01"
DNS_PERSIST: Final = "dns-persist-01"
SOLVED: Final = (DNS, DNS_ACCOUNT, DNS_PERSIST)
"""The challenge types that are solved here."""
MAX_AUTHORIZATIONS: Final = 1000
"""Each is looked at; no CA takes orders for so many names."""
_NAME: Final = re.compile(r"[!-~]{1,255}\Z")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,1024}\Z")
_FIX: Final = "check that the directory URL is an ACME server's; ask its operator"


@dataclass(frozen=True, slots=True)
class Directory:
    """Where a CA's resources are, and what it says about itself."""

    url: str
    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str | None = None
    key_change: str | None = None
    renewal_info: str | None = None
    terms_of_service: str | None = None
    external_account_required: bool = False
    caa_identities: tuple[str, ...] = ()
    profiles: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_reply(cls, reply: Reply) -> Directory:
        """Raises `CaProtocolError`."""
        document = reply.json()
        raw = document.get("meta")
        meta: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
        profiles = meta.get("profiles")
        identities = meta.get("caaIdentities")
        return cls(
            url=reply.url,
            new_nonce=_url(document, "newNonce", reply.url),
            new_account=_url(document, "newAccount", reply.url),
            new_order=_url(document, "newOrder", reply.url),
            revoke_cert=_optional_url(document, "revokeCert", reply.url),
            key_change=_optional_url(document, "keyChange", reply.url),
            renewal_info=_optional_url(document, "renewalInfo", reply.url),
            terms_of_service=clean(meta.get("termsOfService")) or None,
            external_account_required=meta.get("externalAccountRequired") is True,
            caa_identities=tuple(clean(item) for item in identities) if isinstance(identities, list) else (),
            profiles=_profiles(profiles) if isinstance(profiles, Mapping) else {},
        )


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the CA last showed it. `retry_after` is what that reply asked for, in seconds."""

    url: str
    status: str
    names: frozenset[str]
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str | None = None
    error: Problem | None = None
    retry_after: float | None = None
    profile: str | None = None

    @classmethod
    def from_reply(cls, reply: Reply, url: str) -> Order:
        """Raises `CaProtocolError`."""
        document = reply.json()
        error = document.get("error")
        return cls(
            url=url,
            status=_status(document, ORDER_STATUSES, url),
            names=frozenset(_dns_name(item, url) for item in _list(document, "identifiers", url)),
            authorizations=_authorizations(document, url),
            finalize=_url(document, "finalize", url),
            certificate=_optional_url(document, "certificate", url),
            error=Problem.from_json(error) if isinstance(error, Mapping) else None,
            retry_after=reply.retry_after,
            profile=clean(document.get("profile")) or None,
        )


@dataclass(frozen=True, slots=True)
class AcmeChallenge:
    """A way to prove control of an identifier; `token` is empty for types that have none.

    `issuers` and `account` are what a dns-persist-01 challenge says: whose name the record must have, and for whom.
    """

    type: str
    url: str
    status: str
    token: str
    error: Problem | None = None
    issuers: tuple[str, ...] = ()
    account: str = ""


@dataclass(frozen=True, slots=True)
class Authorization:
    """The state of one identifier. `identifier` is as in the order: with ``*.`` for a wildcard."""

    url: str
    identifier: str
    status: str
    challenges: tuple[AcmeChallenge, ...]

    @classmethod
    def from_reply(cls, reply: Reply) -> Authorization:
        """Raises `CaProtocolError`."""
        document = reply.json()
        name = _dns_name(document.get("identifier"), reply.url)
        wildcard = document.get("wildcard") is True and not name.startswith("*.")
        return cls(
            url=reply.url,
            identifier=f"*.{name}" if wildcard else name,
            status=_status(document, AUTHORIZATION_STATUSES, reply.url),
            challenges=tuple(_challenge(item, reply.url) for item in _list(document, "challenges", reply.url)),
        )

    def challenge(self, kind: str) -> AcmeChallenge | None:
        """The challenge of a type, None if the CA does not offer it. Raises `CaProtocolError` for a token that is none.

        A dns-persist-01 challenge has no token.
        """
        for challenge in self.challenges:
            if challenge.type == kind:
                if kind != DNS_PERSIST and not _TOKEN.match(challenge.token):
                    raise CaProtocolError(f"the token of {challenge.url} is not base64url", fix=_FIX)
                return challenge
        return None


def _authorizations(document: Mapping[str, Any], where: str) -> tuple[str, ...]:
    found = dict.fromkeys(
        _checked_url(item, "authorizations", where) for item in _list(document, "authorizations", where)
    )
    if len(found) > MAX_AUTHORIZATIONS:
        raise _broken("authorizations", where)
    return tuple(found)


def _challenge(value: object, where: str) -> AcmeChallenge:
    if not isinstance(value, Mapping):
        raise _broken("challenges", where)
    error, token, kind = value.get("error"), value.get("token"), clean(value.get("type"))
    return AcmeChallenge(
        type=kind,
        url=_url(value, "url", where),
        # A type that we do not know may have states of its own; it is never answered.
        status=_status(value, CHALLENGE_STATUSES, where) if kind in SOLVED else clean(value.get("status")),
        token=token if isinstance(token, str) else "",
        error=Problem.from_json(error) if isinstance(error, Mapping) else None,
        issuers=_issuers(value),
        account=clean(value.get("accounturi")),
    )


def _issuers(challenge: Mapping[str, Any]) -> tuple[str, ...]:
    """The issuer domain names, as the drafts spell the member."""
    found = challenge.get("issuer-domain-names", challenge.get("issuerDomainNames"))
    return tuple(clean(item).lower() for item in found) if isinstance(found, list) else ()


def _profiles(profiles: Mapping[object, object]) -> dict[str, str]:
    return {clean(name): clean(text) for name, text in profiles.items() if isinstance(name, str)}


def _broken(member: str, where: str) -> CaProtocolError:
    return CaProtocolError(f"the CA's answer for {where} lacks or garbles {member!r}", fix=_FIX)


def _list(document: Mapping[str, Any], member: str, where: str) -> list[Any]:
    value = document.get(member)
    if not isinstance(value, list):
        raise _broken(member, where)
    return value


def _status(document: Mapping[str, Any], known: frozenset[str], where: str) -> str:
    value = document.get("status")
    if not isinstance(value, str) or value not in known:
        raise _broken("status", where)
    return value


def _dns_name(value: object, where: str) -> str:
    name = value.get("value") if isinstance(value, Mapping) and value.get("type") == "dns" else None
    if not isinstance(name, str) or not _NAME.match(name):
        raise _broken("identifier", where)
    return name.lower()


def _checked_url(value: object, member: str, where: str) -> str:
    if not isinstance(value, str):
        raise _broken(member, where)
    split_url(value)
    return value


def _url(document: Mapping[str, Any], member: str, where: str) -> str:
    return _checked_url(document.get(member), member, where)


def _optional_url(document: Mapping[str, Any], member: str, where: str) -> str | None:
    return None if document.get(member) is None else _url(document, member, where)
