"""Requests to a CA that outlast short trouble, and replies with what ACME needs of them.

A request is repeated after a connection error, a 5xx and a short Retry-After, always inside the scope's deadline.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from ci_acme import __version__
from ci_acme.ca.http import Http, HttpResponse, join_url
from ci_acme.ca.limiter import TokenBucket
from ci_acme.ca.problems import Problem, error_for
from ci_acme.ca.scope import Scope
from ci_acme.ca.trouble import StaleConnection, TlsFailure
from ci_acme.dataclass import dataclass
from ci_acme.errors import CaProtocolError, CaTimeout, CaUnreachable, CiAcmeError
from ci_acme.ports import Clock

ATTEMPTS: Final = 6
FIRST_BACKOFF: Final = 0.25
"""Seconds; doubled each time, plus up to half of it: 0.25, 0.5, 1, 2, 4."""
PATIENCE: Final = 60.0
"""The longest Retry-After of a 429 or 5xx, in seconds, that a run sits out."""
REQUEST_TIMEOUT: Final = 30.0
MAX_RETRY_AFTER: Final = 366 * 86400.0

_SECONDS: Final = re.compile(r"[ \t]*([0-9]{1,12})[ \t]*\Z")
_LINK: Final = re.compile(r"<([^<>]*)>((?:\s*;\s*[\w!#$%&*+.^`|~-]+\s*(?:=\s*(?:\"[^\"]*\"|[^\s;,\"]*))?)*)")
_REL: Final = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s;,]*))", re.IGNORECASE)


def user_agent() -> str:
    """RFC 8555 section 6.1: name and version of the client and of its HTTP library, which is Python's."""
    return f"ci-acme/{__version__} ({sys.platform}; Python {sys.version_info[0]}.{sys.version_info[1]})"


def parse_retry_after(value: str | None, date: str | None, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After field (RFC 9110 section 10.2.3), 0 to a year; None for none or garbage.

    An HTTP-date is taken relative to the reply's own Date field, so that a wrong clock here does no harm.
    """
    if value is None:
        return None
    if match := _SECONDS.match(value):
        return min(float(match[1]), MAX_RETRY_AFTER)
    when = _http_date(value)
    if when is None:
        return None
    return min(max(0.0, (when - (_http_date(date) or now)).total_seconds()), MAX_RETRY_AFTER)


def _http_date(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        when = parsedate_to_datetime(value)
        return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def parse_links(values: list[str], relation: str, base: str) -> list[str]:
    """The targets of Link fields (RFC 8288) with this relation, made absolute; what is no URL is left out."""
    found: list[str] = []
    for value in values:
        for target, parameters in _LINK.findall(value):
            relations = [quoted or plain for quoted, plain in _REL.findall(parameters)]
            if any(relation in names.lower().split() for names in relations):
                with suppress(CaProtocolError):
                    found.append(join_url(base, target))
    return found


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of the CA. `retry_after` is in seconds, and None if the CA said nothing usable."""

    url: str
    status: int
    response: HttpResponse
    retry_after: float | None

    @property
    def ok(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.url).netloc

    @property
    def location(self) -> str | None:
        """The Location field, made absolute. Raises `CaProtocolError` for what the engine may not talk to."""
        value = self.response.headers.get("Location")
        return join_url(self.url, value) if value else None

    @property
    def date(self) -> datetime | None:
        """When the CA says that it answered."""
        return _http_date(self.response.headers.get("Date"))

    def links(self, relation: str) -> list[str]:
        """The targets of Link fields with this relation."""
        return parse_links(self.response.headers.get_all("Link"), relation, self.url)

    def json(self) -> Mapping[str, Any]:
        """The body as a JSON object. Raises `CaProtocolError`."""
        document = self._document()
        if not isinstance(document, dict):
            raise CaProtocolError(
                f"{self.url} answered something that is not a JSON object", fix="check that the URL is an ACME server's"
            )
        return document

    def problem(self) -> Problem:
        """The problem document of an error reply; any other body gives one with the status alone."""
        return Problem.from_json(self._document(), status=self.status)

    def _document(self) -> Any:
        try:
            return json.loads(self.response.body)
        except (ValueError, RecursionError):
            return None


class Transport:
    """Sends requests, counts them, and repeats what is worth repeating. Thread-safe.

    `bucket` is for a CA that bounds requests a second, and is shared by all that speak to it.
    """

    def __init__(
        self,
        http: Http,
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
        bucket: TokenBucket | None = None,
    ) -> None:
        self.clock = clock
        self._bucket = bucket
        self._http = http
        self._jitter = jitter
        self._common = {"User-Agent": user_agent(), "Accept-Language": "en"}

    def get(
        self,
        url: str,
        *,
        kind: str,
        what: str,
        scope: Scope,
        attempts: int = ATTEMPTS,
        timeout: float = REQUEST_TIMEOUT,
        final: Callable[[Reply], bool] = lambda reply: False,
    ) -> Reply:
        """An unauthenticated GET; only a 2xx returns. `what` completes "refused to …", `final` as for `persist`."""
        return self.check(
            self.persist(
                lambda: self.once("GET", url, kind=kind, scope=scope, timeout=timeout),
                what=what,
                scope=scope,
                attempts=attempts,
                final=final,
            ),
            what,
        )

    def once(
        self,
        method: str,
        url: str,
        *,
        kind: str,
        scope: Scope,
        body: bytes | None = None,
        accept: str | None = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> Reply:
        """One request, whatever the status. Raises `CaUnreachable`, `CaTimeout`, `Interrupted`."""
        self.clock.check()
        if self._bucket is not None:
            self._await_turn(self._bucket, scope)
        left = scope.deadline.remaining()
        if left <= 0:
            raise CaTimeout("the time for this certificate is over", fix="run again; a started order is gone on with")
        headers = dict(self._common)
        if body is not None:
            headers["Content-Type"] = "application/jose+json"
        if accept is not None:
            headers["Accept"] = accept
        scope.requests.add(kind)
        response = self._http.request(method, url, headers=headers, body=body, timeout=min(timeout, left))
        fields = response.headers
        retry_after = parse_retry_after(fields.get("Retry-After"), fields.get("Date"), self.clock.now())
        return Reply(url, response.status, response, retry_after)

    def _await_turn(self, bucket: TokenBucket, scope: Scope) -> None:
        """Wait until the CA's limit lets another request through; not if that is after the deadline."""
        pause = bucket.take()
        if pause <= 0:
            return
        if pause >= scope.deadline.remaining():
            bucket.give_back()
            raise CaTimeout(
                f"the CA takes so few requests a second that the next one would have to wait {pause:.0f} s",
                fix="give the run more time (--timeout), or order fewer names at once",
            )
        scope.pause(self.clock, pause, "a turn, as the CA bounds requests a second", "the CA")

    def persist(
        self,
        send: Callable[[], Reply],
        *,
        what: str,
        scope: Scope,
        attempts: int = ATTEMPTS,
        final: Callable[[Reply], bool] = lambda reply: False,
    ) -> Reply:
        """The first reply that is no temporary failure, or that `final` accepts as the CA's last word.

        Every request of ACME may be repeated, see `AcmeTransport.post`. Raises the last failure.
        """
        failure: CiAcmeError = CaUnreachable("the CA did not answer", fix="run again later")
        for attempt in range(attempts):
            pause = FIRST_BACKOFF * 2**attempt * (1 + self._jitter() / 2)
            try:
                reply = send()
            except TlsFailure:
                raise
            except StaleConnection as error:
                failure, pause = error, 0.0
            except CaUnreachable as error:
                failure = error
            else:
                if final(reply) or not _is_temporary(reply):
                    return reply
                failure = self.error(reply, what)
                pause = pause if reply.retry_after is None else reply.retry_after
            if attempt == attempts - 1 or pause > min(PATIENCE, scope.deadline.remaining()):
                break
            if pause:
                scope.warn(f"{failure.message}; trying again in {pause:.1f} s")
                scope.pause(self.clock, pause, f"another try to {what}", "the CA")
        raise failure

    def check(self, reply: Reply, what: str) -> Reply:
        """The reply, if it is a 2xx. Raises the error for its problem."""
        if reply.ok:
            return reply
        raise self.error(reply, what)

    def error(self, reply: Reply, what: str) -> CiAcmeError:
        """The error for a reply that is not a 2xx."""
        after = reply.retry_after
        retry_at = None if after is None else self.clock.now() + timedelta(seconds=after)
        return error_for(reply.problem(), what=what, where=reply.host, retry_at=retry_at)


def _is_temporary(reply: Reply) -> bool:
    """5xx, and 429 if the CA says when to come back."""
    return reply.status >= 500 or (reply.status == 429 and reply.retry_after is not None)
