"""What Cloudflare's refusals mean, as errors that say what to grant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ci_acme.dnsapi import said
from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, ZoneNotFound
from ci_acme.rest import Answer, member

EXISTS: Final = frozenset({81057, 81058})
"""An identical record is there already."""
GONE: Final = frozenset({81044, 1032})
"""There is no record with this id."""
_MALFORMED: Final = frozenset({6003, 6103, 6111, 9106})
"""The header is none that a token could be in."""
_UNKNOWN_TOKEN: Final = frozenset({1000, 9103, 10001})
_NO_ZONE: Final = frozenset({1001, 1003, 7000, 7003})
_FORBIDDEN: Final = frozenset({1009, 9109, 10000})
_EDIT: Final = "Zone / DNS / Edit"
_READ: Final = "Zone / Zone / Read"


def codes(answer: Answer) -> list[int]:
    """Every error code of an answer, with those that are behind them (`error_chain`)."""
    found: list[int] = []
    for error in _errors(answer):
        found += [code for code in (member(error, "code"), *_chain(error)) if isinstance(code, int)]
    return found


def fault(answer: Answer, where: str, zone: str, *, listing: bool = False) -> DnsError:
    """The error for an answer that is no success; `listing` if zones were listed, which takes another permission."""
    seen = frozenset(codes(answer))
    words = "; ".join(said(member(error, "message") or "") for error in _errors(answer)) or f"HTTP {answer.status}"
    text = f"{where} says: {words} ({', '.join(map(str, sorted(seen))) or answer.status})"
    details = {"zone": zone, "status": answer.status, "codes": sorted(seen)}
    if answer.status == 401 or seen & (_MALFORMED | _UNKNOWN_TOKEN) or "access token" in words.lower():
        return DnsCredentialsError(
            f"{text}: the API token is not accepted",
            fix="copy the whole token (not its id, not the Global API Key) to where `token` refers to; check that it "
            "has not expired and that its IP filter lets this machine through",
            details=details,
        )
    if answer.status == 403 or seen & _FORBIDDEN:
        what = _READ if listing else _EDIT
        hint = ", or give zone_id" if listing else ""
        return DnsRefused(f"{text}: not for this token", fix=f"grant the token {what} on {zone}{hint}", details=details)
    if answer.status == 404 or seen & _NO_ZONE:
        return ZoneNotFound(
            f"{text}: there is no such zone for this token", fix="correct zone_id of the DNS entry", details=details
        )
    return DnsRefused(f"{text}: the TXT records in {zone} cannot be changed", fix=_advice(seen), details=details)


def _advice(seen: frozenset[int]) -> str:
    if 81045 in seen:
        return "the zone has as many records as its plan allows: remove some"
    if seen & {9021, 1004}:
        return "correct ttl of the DNS entry: 60 to 86400, or 1"
    return "look for the code in Cloudflare's documentation"


def _errors(answer: Answer) -> Sequence[object]:
    errors = member(answer.document, "errors")
    return errors if isinstance(errors, list) else []


def _chain(error: object) -> Sequence[object]:
    chain = member(error, "error_chain")
    return [member(link, "code") for link in chain] if isinstance(chain, list) else []
