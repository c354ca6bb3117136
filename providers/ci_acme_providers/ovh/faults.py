"""What OVHcloud's refusals mean, as errors that say what to grant."""

from __future__ import annotations

from typing import Final

from ci_acme.dnsapi import said
from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, ZoneNotFound
from ci_acme.rest import Answer, member

_KEYS: Final = {
    "INVALID_KEY": "application_key is not known",
    "INVALID_SIGNATURE": "application_secret does not belong to application_key, or consumer_key to neither",
    "INVALID_CREDENTIAL": "consumer_key is not valid: it has expired or was never confirmed in the browser",
    "NOT_CREDENTIAL": "consumer_key is not known",
    "QUERY_TIME_OUT": "the time of the signature is wrong",
}


def code_of(answer: Answer) -> str:
    """The error code of an answer, empty if it has none."""
    return str(member(answer.document, "errorCode") or "")


def fault(answer: Answer, where: str, zone: str, rule: str, action: str) -> DnsError:
    """The error for an answer that is no success.

    `rule` is the access rule that the request needs (`POST /domain/zone/…`), `action` the same for a service account.
    """
    code = code_of(answer)
    words = said(member(answer.document, "message") or f"HTTP {answer.status}")
    text = f"{where} says: {words} ({said(code or answer.status)})"
    details = {"zone": zone, "status": answer.status, "code": code, "rule": rule, "action": action}
    if code in _KEYS or answer.status == 401:
        return DnsCredentialsError(
            f"{text}: {_KEYS.get(code, 'the credentials are not accepted')}",
            fix="make the keys anew, all three together and for this endpoint (/createToken/), with the rules that "
            "`ci-acme permissions` prints",
            details=details,
        )
    if answer.status == 403:
        return DnsRefused(
            f"{text}: not for these credentials",
            fix=f"grant the consumer key {rule}, or the service account {action} on {zone}",
            details=details,
        )
    if answer.status in {404, 460}:
        return ZoneNotFound(
            f"{text}: these credentials have no zone {zone}",
            fix="correct zone_id of the DNS entry, or use keys of the account that has the zone",
            details=details,
        )
    return DnsRefused(
        f"{text}: the TXT records in {zone} cannot be changed",
        fix="correct the DNS entry (ttl is at least 60)",
        details=details,
    )
