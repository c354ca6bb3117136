"""What a CA says when it refuses (RFC 9457, RFC 8555 section 6.7), and the error that a user sees for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

from ci_acme.dataclass import dataclass
from ci_acme.errors import (
    AccountError,
    CaError,
    CaUnreachable,
    ChallengeFailed,
    CiAcmeError,
    OrderRefused,
    RateLimited,
)
from ci_acme.model.records import format_time

PREFIX: Final = "urn:ietf:params:acme:error:"
MAX_TEXT: Final = 1000
MAX_SUBPROBLEMS: Final = 100
MAX_SHOWN: Final = 10

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
"""Controls, what turns the direction of writing, and halves of characters, which no encoding takes."""
_RETRY_AFTER_TEXT: Final = re.compile(r"retry after (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?: UTC|Z)", re.IGNORECASE)


def clean(text: object) -> str:
    """Text of a CA as one harmless line: no control character may reach a terminal or a CI log's command parser."""
    return _CONTROL.sub(" ", text[: 4 * MAX_TEXT]).strip()[:MAX_TEXT] if isinstance(text, str) else ""


def join_some(parts: Sequence[str]) -> str:
    """As many of the parts as a person reads; all of them are in the error's details."""
    shown = "; ".join(parts[:MAX_SHOWN])
    return f"{shown}; and {len(parts) - MAX_SHOWN} more" if len(parts) > MAX_SHOWN else shown


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document. `type` is the URN or URL as sent; `kind` is its last part for ACME's own ones."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    status: int | None = None
    instance: str = ""
    identifier: str = ""
    algorithms: tuple[str, ...] = ()
    subproblems: tuple[Problem, ...] = ()

    @classmethod
    def from_json(cls, document: object, *, status: int | None = None, depth: int = 0) -> Problem:
        """Reads what can be read; never raises, whatever the CA sent."""
        if not isinstance(document, Mapping):
            return cls(status=status)
        nested = document.get("subproblems") if depth == 0 else None
        claimed = document.get("status")
        return cls(
            type=clean(document.get("type")) or "about:blank",
            title=clean(document.get("title")),
            detail=clean(document.get("detail")),
            status=claimed if status is None and isinstance(claimed, int) else status,
            instance=clean(document.get("instance")),
            identifier=_identifier(document.get("identifier")),
            algorithms=tuple(clean(item) for item in _items(document.get("algorithms"))),
            subproblems=tuple(cls.from_json(item, depth=depth + 1) for item in _items(nested)),
        )

    @property
    def kind(self) -> str:
        """`rateLimited`, `caa`, …; empty for a type that is not ACME's."""
        return self.type.removeprefix(PREFIX) if self.type.startswith(PREFIX) else ""

    def describe(self) -> str:
        """One line for people: the detail, and that of every subproblem with its name."""
        own = self.detail or self.title or self.kind or (f"HTTP status {self.status}" if self.status else "no reason")
        parts = [f"{item.identifier}: {item.describe()}" if item.identifier else item.describe() for item in self.inner]
        return f"{own} ({join_some(parts)})" if parts else own

    @property
    def inner(self) -> tuple[Problem, ...]:
        """The subproblems that say something of their own."""
        return tuple(item for item in self.subproblems if item.identifier or item.detail)

    def to_json(self) -> dict[str, Any]:
        """What `details["problem"]` holds."""
        document: dict[str, Any] = {
            "type": self.type,
            "title": self.title,
            "detail": self.detail,
            "status": self.status,
            "instance": self.instance,
            "identifier": self.identifier,
            "algorithms": list(self.algorithms),
            "subproblems": [item.to_json() for item in self.subproblems],
        }
        return {key: value for key, value in document.items() if value}


def _items(value: object) -> list[object]:
    return list(value)[:MAX_SUBPROBLEMS] if isinstance(value, list) else []


def _identifier(value: object) -> str:
    return clean(value.get("value")) if isinstance(value, Mapping) else ""


def problem_kind(error: CiAcmeError) -> str:
    """The kind of the problem that an error was made from, empty if it was not made from one."""
    document = error.details.get("problem")
    return str(document.get("type", "")).removeprefix(PREFIX) if isinstance(document, Mapping) else ""


_REFUSED: Final[dict[str, tuple[type[CiAcmeError], str]]] = {
    "accountDoesNotExist": (AccountError, "register the account: ci-acme account register"),
    "externalAccountRequired": (AccountError, "set external_account of the authority: the CA's console gives the keys"),
    "invalidContact": (AccountError, "correct contact of the authority"),
    "unsupportedContact": (AccountError, "use mailto: addresses as contact of the authority"),
    "badPublicKey": (AccountError, "use an account key of another type: EC P-256 works everywhere"),
    "badSignatureAlgorithm": (AccountError, "use an account key of another type"),
    "alreadyReplaced": (OrderRefused, "run again"),
    "badRevocationReason": (CaError, "give another --reason; superseded and keyCompromise are taken everywhere"),
    "badCSR": (OrderRefused, "choose another key type; the names or the key do not suit the CA"),
    "caa": (OrderRefused, "add a CAA record that permits this CA, or remove the one that forbids it"),
    "rejectedIdentifier": (OrderRefused, "remove the name, or ask another CA"),
    "unsupportedIdentifier": (OrderRefused, "remove the name, or ask another CA"),
    "invalidProfile": (OrderRefused, "choose a profile that the CA offers, or remove profile"),
    "orderNotReady": (OrderRefused, "run again"),
    "malformed": (OrderRefused, "read the CA's reason; if the request is at fault, report a defect of ci-acme"),
    "unauthorized": (OrderRefused, "check that this account may have certificates for these names at this CA"),
    "dns": (ChallengeFailed, "make the TXT record resolvable from the internet: delegation, DNSSEC, every name server"),
    "connection": (ChallengeFailed, "make the zone's name servers reachable for the CA, over UDP and TCP"),
    "incorrectResponse": (ChallengeFailed, "check that all name servers of the zone serve the same TXT values"),
}


SHOW_DIRECTORY: Final = "show its directory"
_NO_DIRECTORY: Final = "check the URL of the CA's directory, also its path"


def error_for(problem: Problem, *, what: str, where: str, retry_at: datetime | None = None) -> CiAcmeError:
    """The error for a refused request: `what` was asked of the host `where`."""
    said = problem.describe()
    details: dict[str, Any] = {"problem": problem.to_json()}
    status = problem.status or 0
    if problem.kind == "rateLimited" or status == 429:
        fix = _again(retry_at or _time_in(problem.detail), details)
        works = f"; it will work at {details['retry_at']}" if "retry_at" in details else ""
        return RateLimited(f"the rate limit of {where} is reached: {said}{works}", fix=fix, details=details)
    if problem.kind == "userActionRequired":
        page = f" at {problem.instance}" if problem.instance else ""
        return AccountError(
            f"{where} wants an action of a person: {said}",
            fix=f"do what it asks for{page}, then run again",
            details=details,
        )
    if status >= 500:
        return CaUnreachable(f"{where} failed to {what}: {said}", fix=_again(retry_at, details), details=details)
    kind, fix = _REFUSED.get(problem.kind, (CaError, "read the CA's reason; run again later"))
    if what == SHOW_DIRECTORY:
        kind, fix = CaError, _NO_DIRECTORY
    return kind(f"{where} refused to {what}: {said}", fix=fix, details=details)


def _again(retry_at: datetime | None, details: dict[str, Any]) -> str:
    if retry_at is None:
        return "run again later"
    details["retry_at"] = format_time(retry_at)
    return f"run again after {details['retry_at']}"


def _time_in(detail: str) -> datetime | None:
    """The time that Let's Encrypt writes into the text of a rate limit."""
    match = _RETRY_AFTER_TEXT.search(detail)
    if match is None:
        return None
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
