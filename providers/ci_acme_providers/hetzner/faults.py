"""What Hetzner's refusals mean, as errors that say what to do."""

from __future__ import annotations

from typing import Final

from ci_acme.dnsapi import said
from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, ZoneNotFound
from ci_acme.rest import Answer, member

BUSY: Final = frozenset({"conflict", "locked", "resource_unavailable", "timeout", "maintenance"})
"""The zone is being changed: nothing was done, and it passes."""
_FIXES: Final = {
    "incorrect_zone_mode": "make the zone a primary one, or change its primary name server instead",
    "protected": "remove the change protection of the record set",
    "resource_limit_exceeded": "remove records, or ask Hetzner for a higher limit",
}


def code_of(answer: Answer) -> str:
    """The error code of an answer, empty if it has none."""
    return str(member(answer.document, "error", "code") or "")


def is_duplicate(answer: Answer) -> bool:
    """Whether a value was there already. There is no code for it, only words."""
    return code_of(answer) == "invalid_input" and "duplicate value" in str(member(answer.document, "error", "message"))


def is_other_ttl(answer: Answer) -> bool:
    """Whether the record set has got another TTL meanwhile."""
    fields = member(answer.document, "error", "details", "fields")
    names = [str(member(field, "name")) for field in fields] if isinstance(fields, list) else []
    message = str(member(answer.document, "error", "message")).lower()
    return code_of(answer) == "invalid_input" and ("ttl" in names or "ttl" in message)


def fault(answer: Answer, where: str, zone: str) -> DnsError:
    """The error for an answer that is no success."""
    code = code_of(answer)
    words = said(member(answer.document, "error", "message") or f"HTTP {answer.status}")
    text = f"{where} says: {words} ({said(code or answer.status)})"
    details = {"zone": zone, "status": answer.status, "code": code}
    if answer.status == 401 or code == "unauthorized":
        return DnsCredentialsError(
            f"{text}: the token is not accepted",
            fix="make an API token in the Hetzner Console project that has the zone (not in the former DNS Console), "
            "and store it whole where `token` refers to",
            details=details,
        )
    if answer.status == 403 or code in {"forbidden", "token_readonly"}:
        return DnsRefused(
            f"{text}: not for this token", fix="make a token with the permission Read & Write", details=details
        )
    if answer.status == 404 or code == "not_found":
        return ZoneNotFound(
            f"{text}: the token's project has no zone {zone}",
            fix="use a token of the project that has the zone; migrate it if it is in the former DNS Console",
            details=details,
        )
    fix = _FIXES.get(code, "correct the DNS entry (ttl is at least 60)")
    return DnsRefused(f"{text}: the TXT records in {zone} cannot be changed", fix=fix, details=details)
