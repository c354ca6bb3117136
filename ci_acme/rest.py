"""JSON over HTTP for providers' APIs: bounded patience, back-off that follows the server, and nothing secret in words.

A request is sent again after 429, 502, 503, 504 and after no answer at all, so that whoever sends a change must be able
to send it twice: look first, or take "exists already" for success.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ci_acme.errors import ConfigError
from ci_acme.ports import Clock, Deadline
from ci_acme.wire import Reply, Request, Unreachable, Wire

_AGAIN: Final = frozenset({429, 502, 503, 504})
_BASE: Final = 0.2
_MOST: Final = 8.0
_SECONDS: Final = 30.0
"""How long one exchange may take."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, read: `document` is its JSON, None if it has none."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    document: Any = field(repr=False)
    again: bool = False
    """Whether an earlier try of the same request got no answer, so that it may have been carried out already."""

    @property
    def ok(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300


class RestClient:
    """The API at one base URL, with the headers that every request carries (a token, perhaps). Thread-safe.

    `ca_bundle` is what TLS is trusted by instead of the system's roots. Plain http is for loopback alone, unless
    `plain` says otherwise: a token is never sent in the clear by mistake. Raises `ConfigError` for such a URL.
    """

    def __init__(
        self,
        base: str,
        *,
        headers: Mapping[str, str] | None = None,
        ca_bundle: Path | None = None,
        plain: bool = False,
    ) -> None:
        self.base = base.rstrip("/")
        self.requests = 0
        self._headers = {"Accept": "application/json", "User-Agent": "ci-acme", **(headers or {})}
        self._wire = Wire(ca_bundle)
        require_https(self.base, plain=plain)

    @property
    def host(self) -> str:
        """For people."""
        return urlsplit(self.base).netloc.rpartition("@")[2]

    def send(
        self,
        method: str,
        path: str,
        *,
        deadline: Deadline,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
        retry: bool = True,
    ) -> Answer:
        """One request, sent again while the server asks for patience. `path` is below the base, with its query.

        `body` is sent as JSON, `raw` as it is. The last answer is returned, whatever its status. Raises
        `ci_acme.wire.Unreachable` when no answer came until the deadline, and `Interrupted`.
        """
        head = {**self._headers, **(headers or {})}
        data = raw
        if body is not None:
            data = json.dumps(body, separators=(",", ":")).encode()
            head.setdefault("Content-Type", "application/json")
        request = Request(method, self.base + path, head, data)
        doubtful = False
        for attempt in range(12):
            deadline.clock.check()
            self.requests += 1
            try:
                reply = self._wire.send(request, timeout=max(0.1, min(_SECONDS, deadline.remaining())))
            except Unreachable:
                pause = _backoff(attempt)
                if not retry or deadline.remaining() <= pause:
                    raise
                doubtful = True
            else:
                pause = _backoff(attempt, reply, deadline.clock)
                if reply.status not in _AGAIN or not retry or deadline.remaining() <= pause:
                    return read(reply, again=doubtful)
                doubtful = doubtful or reply.status != 429
            deadline.clock.sleep(pause)
        raise Unreachable(f"{self.host}: too many tries")

    def close(self) -> None:
        """Close the kept connections."""
        self._wire.close()


def read(reply: Reply, *, again: bool = False) -> Answer:
    """The reply with its JSON, if it has any."""
    try:
        document = json.loads(reply.body) if reply.body else None
    except (ValueError, RecursionError):
        document = None
    return Answer(reply.status, reply.headers, reply.body, document, again)


def require_https(url: str, *, plain: bool = False) -> None:
    """Raises `ConfigError` unless the URL is https, or http to this machine (or `plain`)."""
    from ci_acme.connect import is_loopback

    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and (plain or is_loopback(parts.hostname or ""))):
        return
    raise ConfigError(f"{url} is not an https URL, and a credential would be sent there", fix="use https")


def member(document: Any, *path: str | int) -> Any:
    """A value deep in a JSON document; None if anything on the way is missing or of another kind."""
    for key in path:
        if isinstance(document, Mapping) and isinstance(key, str):
            document = document.get(key)
        elif isinstance(document, list) and isinstance(key, int) and -len(document) <= key < len(document):
            document = document[key]
        else:
            return None
    return document


def _backoff(attempt: int, reply: Reply | None = None, clock: Clock | None = None) -> float:
    """Seconds: what the server asks for, else full jitter that doubles."""
    asked = reply.headers.get("retry-after", "") if reply is not None else ""
    if asked.isdigit():
        return float(asked) + random.random() * _BASE  # noqa: S311 - spreads load, guards nothing
    if asked and clock is not None:
        try:
            until = parsedate_to_datetime(asked)
            return max(0.0, (_aware(until) - clock.now()).total_seconds())
        except ValueError:
            pass  # no date: as if nothing had been asked
    return random.uniform(_BASE / 2, min(_MOST, _BASE * 2**attempt))  # noqa: S311


def _aware(value: datetime) -> datetime:
    return value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
