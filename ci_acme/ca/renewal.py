"""Renewal information (RFC 9773): what the CA suggests. Choosing a time in the window is the core's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from ci_acme.ca.problems import clean
from ci_acme.ca.scope import Scope
from ci_acme.ca.transport import Reply, Transport
from ci_acme.dataclass import dataclass
from ci_acme.errors import CaProtocolError
from ci_acme.model.records import parse_time

MIN_RETRY_AFTER: Final = 60.0
MAX_RETRY_AFTER: Final = 86400.0
LONG_TERM_ERROR: Final = 6 * 3600.0
"""Seconds until the next try where the CA does not say (section 4.3.3)."""
ATTEMPTS: Final = 2
TIMEOUT: Final = 10.0
_FRACTION: Final = re.compile(r"\.\d+")


@dataclass(frozen=True, slots=True)
class RenewalReply:
    """A usable answer: `start` < `end`, aware UTC; `retry_after_seconds` is from a minute to a day."""

    start: datetime
    end: datetime
    retry_after_seconds: float
    explanation_url: str | None


def renewal_info_url(base: str, ari_id: str) -> str:
    """Where the information on a certificate is; `base` is the directory's `renewalInfo`, `ari_id` its CertID."""
    return f"{base.rstrip('/')}/{ari_id}"


def fetch_renewal_info(transport: Transport, url: str, *, scope: Scope) -> RenewalReply:
    """One unauthenticated GET, repeated once after a lost connection or a 5xx.

    Where the CA says when to come back that is not waited for: the next run is early enough.
    Raises `CaUnreachable` or `RateLimited` for a failure that may pass, `CaProtocolError` for an answer that is none
    (also a window that ends before it starts, section 4.2), another `CaError` for a refusal.
    """
    reply = transport.get(
        url,
        kind="renewal",
        what="give renewal information",
        scope=scope,
        attempts=ATTEMPTS,
        timeout=TIMEOUT,
        final=lambda reply: reply.retry_after is not None,
    )
    window = reply.json().get("suggestedWindow")
    if not isinstance(window, Mapping):
        raise _broken(url, "it has no suggestedWindow")
    start, end = _time(window.get("start"), url), _time(window.get("end"), url)
    if end <= start:
        raise _broken(url, "its window ends before it starts")
    explanation = clean(reply.json().get("explanationURL"))
    return RenewalReply(start, end, _retry_after(reply), explanation or None)


def _retry_after(reply: Reply) -> float:
    if reply.retry_after is None:
        return LONG_TERM_ERROR
    return min(max(reply.retry_after, MIN_RETRY_AFTER), MAX_RETRY_AFTER)


def _time(value: object, url: str) -> datetime:
    try:
        # Whole seconds do; Python 3.10 does not read a fraction of nine digits, as Go writes it.
        return parse_time(_FRACTION.sub("", value, count=1) if isinstance(value, str) else "")
    except ValueError:
        raise _broken(url, "its window has no RFC 3339 times") from None


def _broken(url: str, reason: str) -> CaProtocolError:
    return CaProtocolError(f"the renewal information of {url} is ignored: {reason}", fix="none: renewal goes by age")
