"""What DigitalOcean's refusals mean, as errors that say what to grant."""

from __future__ import annotations

from ci_acme.dnsapi import said
from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, ZoneNotFound
from ci_acme.rest import Answer, member


def fault(answer: Answer, where: str, zone: str, scope: str) -> DnsError:
    """The error for an answer that is no success; `scope` is what the request needs."""
    words = said(member(answer.document, "message") or f"HTTP {answer.status}")
    text = f"{where} says: {words} ({said(member(answer.document, 'id') or answer.status)})"
    details = {"zone": zone, "status": answer.status, "scope": scope}
    if answer.status == 401:
        return DnsCredentialsError(
            f"{text}: the token is not accepted",
            fix="make a new personal access token, and store it whole where `token` refers to",
            details=details,
        )
    if answer.status == 403:
        return DnsRefused(
            f"{text}: not for this token",
            fix=f"grant the token the scope {scope}; it needs domain:read, domain:create and domain:delete",
            details=details,
        )
    if answer.status == 404:
        return ZoneNotFound(
            f"{text}: there is no domain {zone} in the token's team",
            fix="create the domain there and delegate it, or use a token of the team that has it",
            details=details,
        )
    return DnsRefused(
        f"{text}: the TXT records in {zone} cannot be changed",
        fix="correct the DNS entry (ttl is at least 30)",
        details=details,
    )
