"""What the handlers of the CA share: settings, records, issuers; and the signed request that they get."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from ci_acme.dataclass import dataclass
from ci_acme.sandbox.faults import Faults
from ci_acme.sandbox.http import Reply
from ci_acme.sandbox.issue import Issuer, make_authority
from ci_acme.sandbox.jose import Jwk, parse_json
from ci_acme.sandbox.problems import Problem
from ci_acme.sandbox.records import Account, Records

DEFAULT_PROFILE: Final = "classic"
VALIDITY: Final[dict[str, timedelta]] = {"classic": timedelta(days=90), "shortlived": timedelta(hours=160)}


@dataclass(frozen=True)
class Hierarchy:
    """Two roots; one intermediate key that both have signed: the default chain and the alternate."""

    roots: tuple[Issuer, Issuer]
    intermediates: tuple[Issuer, Issuer]

    @classmethod
    def make(cls, now: datetime) -> Hierarchy:
        """New keys each time; valid from an hour ago."""
        since = now - timedelta(hours=1)
        first, second = make_authority("root X1", since), make_authority("root X2", since)
        intermediate = make_authority("intermediate E1", since, signer=first)
        crossed = make_authority("intermediate E1", since, signer=second, key=intermediate.key)
        return cls((first, second), (intermediate, crossed))


@dataclass(frozen=True)
class Core:
    """The CA's settings and state.

    `validate` is called with a challenge URL and looks at the DNS later, in another thread.
    """

    records: Records
    faults: Faults
    hierarchy: Hierarchy
    validity: Mapping[str, timedelta]
    external_accounts: Mapping[str, bytes]
    external_account_required: bool
    now: Callable[[], datetime]
    validate: Callable[[str], None]

    def url(self, path: str) -> str:
        """An absolute URL on this CA."""
        return f"{self.records.base}/{path}"


@dataclass(frozen=True)
class SignedRequest:
    """A request whose JWS has been verified: by `jwk`, which is the key of `account` if it came as a ``kid``."""

    url: str
    payload: bytes
    jwk: Jwk
    account: Account | None

    def require_account(self) -> Account:
        """The account; every path but newAccount and revokeCert gets one."""
        if self.account is None:
            raise Problem("malformed", "this resource needs a kid, not a jwk (RFC 8555 section 6.2)")
        return self.account

    def document(self) -> dict[str, Any]:
        """The JSON object in the payload. Raises `Problem`."""
        return parse_json(self.payload, "the payload")

    def require_read(self) -> None:
        """Raises `Problem` unless this is a POST-as-GET."""
        if self.payload:
            raise Problem("malformed", "this resource is read with an empty payload (RFC 8555 section 6.3)")

    def require_owner(self, owner: Account) -> None:
        """Raises `Problem` unless `owner` signed."""
        if self.require_account() is not owner:
            raise Problem("unauthorized", "this resource belongs to another account")


def json_reply(
    status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None, *links: str
) -> Reply:
    """A JSON answer; members that are None are left out."""
    body = json.dumps({key: value for key, value in document.items() if value is not None}, indent=1).encode()
    return Reply(status, body, {"Content-Type": "application/json", **(headers or {})}, list(links))


def problem_reply(problem: Problem) -> Reply:
    """A problem document."""
    body = json.dumps(problem.as_dict(), indent=1).encode()
    return Reply(problem.status, body, {"Content-Type": "application/problem+json", **problem.headers})


def rfc3339(value: datetime | None) -> str | None:
    """A time on the wire."""
    return None if value is None else value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_rfc3339(text: Any, member: str) -> datetime | None:
    """A time from the wire; None for an absent one. Raises `Problem`."""
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        value = None
    if value is None or value.tzinfo is None:
        raise Problem("malformed", f"{member} is no RFC 3339 time")
    return value.astimezone(timezone.utc)
