"""JSON over HTTP for providers' APIs: bounded patience, back-off that follows the server, and nothing secret in words.

A request is sent again after 429, after a server's failure (500, 502, 503, 504, 52x) and after no answer at all, so
that whoever sends a change must be able to send it twice: take "exists already" for success. Or it is sent with
`once=True`, again after 429 alone, and whoever sends it looks whether it was carried out.
"""

from __future__ import annotations

import json
import random
import re
import threading
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ci_acme.dataclass import dataclass, field, replace
from ci_acme.errors import ConfigError
from ci_acme.ports import Clock, Deadline
from ci_acme.wire import Reply, Request, Unreachable, Wire

if TYPE_CHECKING:
    import ssl

_THROTTLED: Final = 429
_FAILED: Final = frozenset({500, 502, 503, 504, *range(520, 528)})
"""The server's failures that pass: it may have carried the request out."""
_FAILURES: Final = 8
"""How many tries a failure is given; throttling is waited for as long as the deadline allows."""
_BASE: Final = 0.2
_MOST: Final = 8.0
_SECONDS: Final = 30.0
"""How long one exchange may take."""
_PROOF: Final = re.compile(r"auth|token|key|secret|consumer|signature", re.IGNORECASE)
"""What is in the names of headers that hold credentials."""
_SHORTEST: Final = 6
"""Characters of a credential that is hidden: less would be a part of any word."""
_SLICE: Final = 0.1
"""Seconds after which a wait for an answer hears that the run shall stop."""

Authorise = Callable[[str, str, "bytes | None"], Mapping[str, str]]
"""Headers that authorise one request, from its method, URL and body; called for each try, since a signature ages."""


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


@dataclass(slots=True)
class _Tries:
    """The tries of one request. `doubtful` says that one that came before the last may have been carried out."""

    retry: bool
    once: bool
    count: int = 0
    failures: int = 0
    doubtful: bool = False

    def go_on(self, outcome: Reply | Unreachable) -> bool:
        """Whether to send again after this outcome."""
        throttled = isinstance(outcome, Reply) and outcome.status == _THROTTLED
        if not throttled:
            self.failures += 1
            passing = isinstance(outcome, Unreachable) or outcome.status in _FAILED
            if not passing or self.once or self.failures >= _FAILURES:
                return False
        if not self.retry:
            return False
        self.doubtful = self.doubtful or not throttled
        self.count += 1
        return True


class RestClient:
    """The API at one base URL, with the headers that every request carries. Thread-safe.

    `authorise` gives the headers that hold a credential or a signature, at the last moment. `ca_bundle` is what TLS is
    trusted by instead of the system's roots; `tls` makes the whole context, for those who show a certificate of their
    own. Plain http is for loopback alone, unless `plain` says otherwise: a token is never sent in the clear by mistake.
    Raises `ConfigError` for such a URL.
    """

    def __init__(
        self,
        base: str,
        *,
        headers: Mapping[str, str] | None = None,
        authorise: Authorise | None = None,
        ca_bundle: Path | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        plain: bool = False,
    ) -> None:
        self.base = base.rstrip("/")
        self.requests = 0
        self._headers = {"Accept": "application/json", "User-Agent": "ci-acme", **(headers or {})}
        self._authorise = authorise
        require_https(self.base, plain=plain)
        self._wire = Wire(ca_bundle, tls)
        weakref.finalize(self, self._wire.close)

    @property
    def host(self) -> str:
        """For people."""
        return urlsplit(self.base).netloc

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
        once: bool = False,
    ) -> Answer:
        """One request, sent again while the server asks for patience. `path` is below the base, with its query.

        `body` is sent as JSON, `raw` as it is. The last answer is returned, whatever its status. With `once` it is sent
        again only after 429, which says that nothing was done; without `retry` never. Raises `ci_acme.wire.Unreachable`
        when no answer came until the deadline, `Interrupted`, and what `authorise` raises.
        """
        head = {**self._headers, **(headers or {})}
        data = raw
        if body is not None:
            data = json.dumps(body, separators=(",", ":")).encode()
            head.setdefault("Content-Type", "application/json")
        request = Request(method, self.base + path, head, data)
        tries = _Tries(retry, once)
        while True:
            deadline.clock.check()
            outcome = self._try(request, deadline)
            pause = _backoff(tries.count, outcome if isinstance(outcome, Reply) else None, deadline.clock)
            if not tries.go_on(outcome) or deadline.remaining() <= pause:
                break
            deadline.clock.sleep(pause)
        if isinstance(outcome, Unreachable):
            raise outcome
        return read(outcome, again=tries.doubtful)

    def close(self) -> None:
        """Close the kept connections."""
        self._wire.close()

    def _try(self, request: Request, deadline: Deadline) -> Reply | Unreachable:
        self.requests += 1
        if self._authorise is not None:
            proof = self._authorise(request.method, request.url, request.body)
            request = replace(request, headers={**request.headers, **proof})
        try:
            return _without(request.headers, self._exchange(request, deadline))
        except Unreachable as error:
            return error

    def _exchange(self, request: Request, deadline: Deadline) -> Reply:
        """One exchange in a thread of its own, which is left behind when the run must end."""
        done = threading.Event()
        outcome: list[Reply | Exception] = []
        seconds = max(0.1, min(_SECONDS, deadline.remaining()))

        def work() -> None:
            try:
                outcome.append(self._wire.send(request, timeout=seconds))
            except Exception as error:  # it is raised in the thread that waits
                outcome.append(error)
            done.set()

        threading.Thread(target=work, name=f"rest {self.host}", daemon=True).start()
        while not done.wait(_SLICE):
            deadline.clock.check()
        (result,) = outcome
        if isinstance(result, Exception):
            raise result
        return result


def _without(headers: Mapping[str, str], reply: Reply) -> Reply:
    """A refusal without the credentials that it may repeat: its words are shown to people."""
    proofs = [value for name, value in headers.items() if _PROOF.search(name)]
    words = [word.encode() for value in proofs for word in value.split() if len(word) >= _SHORTEST]
    if reply.ok or not any(word in reply.body for word in words):
        return reply
    body = reply.body
    for word in words:
        body = body.replace(word, "…".encode())
    return replace(reply, body=body)


def read(reply: Reply, *, again: bool = False) -> Answer:
    """The reply with its JSON, if it has any."""
    try:
        document = json.loads(reply.body) if reply.body else None
    except (ValueError, RecursionError):
        document = None
    return Answer(reply.status, reply.headers, reply.body, document, again)


def require_https(url: str, *, plain: bool = False) -> None:
    """Raises `ConfigError` unless the URL is https, or http to this machine (or `plain`), and holds no password."""
    from ci_acme.connect import is_loopback

    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigError("an API's URL has a user or a password in it", fix="give credentials in their own settings")
    if parts.scheme == "https" or (parts.scheme == "http" and (plain or is_loopback(parts.hostname or ""))):
        return
    shown = f"{parts.scheme}://{parts.netloc}" if parts.netloc else "an API's URL"
    raise ConfigError(f"{shown} is not an https URL, and a credential would be sent there", fix="use https")


def api_url(text: str) -> str:
    """The base URL of an API, as a setting may give it. Raises `ValueError` unless it is https, or http on loopback."""
    parts = urlsplit(text)
    if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be an https URL without user, query and fragment")
    try:
        require_https(text)
    except ConfigError:
        raise ValueError("must be an https URL: a credential is sent there") from None
    return text.rstrip("/")


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


def _backoff(attempt: int, reply: Reply | None, clock: Clock) -> float:
    """Seconds: full jitter that doubles, on top of what the server asks for."""
    jitter = random.uniform(_BASE / 2, min(_MOST, _BASE * 2 ** min(attempt, 10)))  # noqa: S311 - spreads load
    asked = reply.headers.get("retry-after", "").strip() if reply is not None else ""
    if asked.isascii() and asked.isdigit():
        return float(asked[:9]) + min(jitter, 1.0)
    if asked:
        try:
            until = _aware(parsedate_to_datetime(asked))
            return max(0.0, (until - clock.now()).total_seconds()) + min(jitter, 1.0)
        except (ValueError, OverflowError):
            pass  # no date: as if nothing had been asked
    return jitter


def _aware(value: datetime) -> datetime:
    return value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
