"""Bearer tokens, and the services that give them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from ci_acme.dataclass import dataclass, field
from ci_acme.errors import StateError
from ci_acme.wire import Request, Unreachable, Wire

_EARLY: Final = timedelta(minutes=5)
_SECONDS: Final = 10.0
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True)
class Token:
    """What authorizes requests; `expires` is None where nobody said."""

    text: str = field(repr=False)
    expires: datetime | None = None

    def stale(self, now: datetime) -> bool:
        """Whether it ends within minutes."""
        return self.expires is not None and now >= self.expires - _EARLY


def document_from(wire: Wire, request: Request, *, what: str, fix: str, timeout: float = _SECONDS) -> Mapping[str, Any]:
    """The JSON object that a token service answers. Raises `StateError` if it refuses, `Unreachable`.

    `what` completes "did not give": a token for …; nothing of a refusal but its status and `error` is repeated.
    """
    reply = wire.send(request, timeout=timeout)
    host = urlsplit(request.url).netloc
    if reply.status >= 500 or reply.status == 429:
        raise Unreachable(f"{host} answered {reply.status}")
    try:
        document = json.loads(reply.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {}
    if not reply.ok:
        error = document.get("error")
        word = error.get("status") if isinstance(error, dict) else error
        reason = f"{reply.status} {word}" if isinstance(word, str) else str(reply.status)
        raise StateError(f"{host} did not give {what}: {reason}", fix=fix)
    return document


def post_form(wire: Wire, url: str, form: Mapping[str, str], *, what: str, fix: str) -> Mapping[str, Any]:
    """As `document_from`, for a form that is posted."""
    return document_from(wire, Request("POST", url, _FORM, urlencode(form).encode()), what=what, fix=fix)


def token_in(document: Mapping[str, Any], now: datetime, *, key: str = "access_token") -> Token:
    """The token of an OAuth 2.0 answer (RFC 6749 section 5.1). Raises `Unreachable` for an answer without one."""
    text, seconds = document.get(key), document.get("expires_in")
    if not isinstance(text, str) or not text:
        raise Unreachable("the token service gave an answer without a token")
    try:
        return Token(text, now + timedelta(seconds=float(seconds)) if seconds is not None else None)
    except (ValueError, TypeError, OverflowError):
        return Token(text)


def text_of(path: str, what: str) -> str:
    """The content of a file. Raises `StateError`."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise StateError(f"{what} {path} cannot be read", fix="check the job's identity settings") from None
