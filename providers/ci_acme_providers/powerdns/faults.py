"""What PowerDNS's answers mean, as errors that say what to do. Their bodies may be JSON or plain text."""

from __future__ import annotations

from typing import Final

from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, DnsUnreachable, SecretError, ZoneNotFound
from ci_acme.rest import Answer, member

BUSY: Final = frozenset({429, 500, 502, 503, 504})
"""Statuses of what passes: 500 is what a locked database comes out as."""


def words(answer: Answer) -> str:
    """What the server says about it, on one line."""
    text = member(answer.document, "error")
    if not isinstance(text, str):
        text = answer.body[:200].decode("utf-8", errors="replace")
    errors = member(answer.document, "errors")
    if isinstance(errors, list):
        text = "; ".join([text, *(str(one) for one in errors[:3])])
    return " ".join(text.split())[:400]


def fault(answer: Answer, host: str, zone: str, reference: str) -> DnsError:
    """The error for an answer that is not 2xx."""
    who, said = f"PowerDNS at {host}", words(answer)
    details = {"server": host, "zone": zone, "status": answer.status, "answer": said}
    if answer.status in {401, 403}:
        text = f"{who} does not accept the API key ({answer.status})"
        fix = f"compare {reference} with api-key in pdns.conf, and this machine's address with webserver-allow-from"
        return DnsCredentialsError(text, fix=fix, details=details)
    if answer.status == 404 or "could not find domain" in said.lower():
        text = f"{who} has no zone {zone}, or no server of this server_id (404)"
        fix = "correct zone_id, server_id or url of the DNS entry, or create the zone: pdnsutil list-all-zones"
        return ZoneNotFound(text, fix=fix, details=details)
    if answer.status in BUSY:
        text = f"{who} failed to change {zone} ({answer.status}: {said})"
        return DnsError(text, fix="look into the server's log: its database was locked or away", details=details)
    text = f"{who} refuses to change {zone} ({answer.status}: {said})"
    return DnsRefused(text, fix="do what the server says, or correct url of the DNS entry", details=details)


def secondary(host: str, zone: str, kind: str) -> DnsRefused:
    """The zone is a copy, whose changes the next transfer would undo."""
    return DnsRefused(
        f"PowerDNS at {host} has {zone} as a copy only (kind {kind}): a change there is lost at the next transfer",
        fix="give url and api_key of the zone's primary",
        details={"server": host, "zone": zone, "kind": kind},
    )


def unreachable(reason: Exception) -> DnsUnreachable:
    """No answer came."""
    return DnsUnreachable(
        f"PowerDNS: {reason}",
        fix="check url of the DNS entry, that pdns.conf has api=yes and webserver-address, and that this machine may "
        "reach it",
    )


def bad_key(reference: str) -> SecretError:
    """It cannot be a header's value."""
    return SecretError(f"{reference} is no API key: it is not one line of ASCII", fix="store the key alone")
