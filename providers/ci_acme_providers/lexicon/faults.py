"""What lexicon's exceptions mean. They quote URLs and answers, so that what is secret is masked in them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote, quote_plus

from ci_acme.errors import (
    CiAcmeError,
    DnsCredentialsError,
    DnsError,
    DnsRefused,
    DnsUnreachable,
    NotAvailable,
    ZoneNotFound,
)

_QUERY: Final = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*")
_NO_ZONE: Final = re.compile(r"\b(no|not|unknown)\b.*\b(domain|zone)|\b(domain|zone)\b.*\bnot\b", re.IGNORECASE)
_WIDTH: Final = 300


def fault(error: Exception, provider: str, zone: str, secrets: Iterable[bytes]) -> CiAcmeError:
    """Our error for one of lexicon's; one of ours is itself."""
    if isinstance(error, CiAcmeError):
        return error
    said = masked(f"{type(error).__name__}: {error}", secrets)
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind, text, fix = _judge(error, status if isinstance(status, int) else 0)
    details: dict[str, Any] = {"lexicon_provider": provider, "zone": zone, "error": said}
    if isinstance(status, int):
        details["status"] = status
    text = f"lexicon's provider {provider} {text.format(zone=zone)} ({said})"
    return kind(text, fix=fix.format(provider=provider), details=details)


def _judge(error: Exception, status: int) -> tuple[type[CiAcmeError], str, str]:
    """The kind of error, what happened, and what to do."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    login = "AuthenticationError" in kinds
    cases = (
        ("ProviderNotAvailableError" in kinds, _ABSENT),
        (status == 404 or (login and _NO_ZONE.search(str(error)) is not None), _UNKNOWN_ZONE),
        (status in {401, 403} or login, _LOGIN),
        (status == 429 or status >= 500 or bool(kinds & {"ConnectionError", "Timeout"}), _AWAY),
        (status != 0, _REFUSED),
    )
    return next((case for applies, case in cases if applies), _FAILED)


_ABSENT: Final = (
    NotAvailable,
    "cannot be used here",
    "correct lexicon_provider, or pip install 'dns-lexicon[{provider}]'",
)
_UNKNOWN_ZONE: Final = (
    ZoneNotFound,
    "has no zone {zone}",
    "give the zone's name there as zone_id, and check that the credentials are of the account that has it",
)
_LOGIN: Final = (
    DnsCredentialsError,
    "does not accept the credentials",
    "check what secrets of the DNS entry refer to, and that it may change TXT records in the zone",
)
_AWAY: Final = (DnsUnreachable, "does not answer", "run the command again")
_REFUSED: Final = (DnsRefused, "refuses", "do what the provider says")
_FAILED: Final = (
    DnsError,
    "failed",
    "check options of the DNS entry with the provider's page of lexicon's documentation",
)


def not_done(provider: str, action: str, name: str) -> DnsError:
    """Lexicon answered False, or nothing: it gives no reason."""
    return DnsError(
        f"lexicon's provider {provider} did not {action} the value at {name}, and does not say why",
        fix="try it by hand, with lexicon's own command and --log_level DEBUG",
        details={"lexicon_provider": provider, "name": name},
    )


def masked(text: str, secrets: Iterable[bytes]) -> str:
    """On one line, without query strings of URLs and without the secrets in any of their usual spellings."""
    for secret in secrets:
        plain = secret.decode("utf-8", errors="replace")
        spellings = {
            plain, plain.strip(), quote(plain, safe=""), quote_plus(plain), repr(plain)[1:-1],
            base64.b64encode(secret).decode("ascii"),
        }  # fmt: skip
        for spelling in sorted(spellings, key=len, reverse=True):
            if spelling:
                text = text.replace(spelling, "***")
    return " ".join(_QUERY.sub(r"\1?***", text).split())[:_WIDTH]
