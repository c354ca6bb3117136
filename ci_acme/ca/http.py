"""The HTTP seam of the ACME engine, and its one real implementation: keep-alive connections on the standard library.

Every request of the engine goes through `Http.request`, so that a test sees, counts and forges all of them there.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

from ci_acme.ca.trouble import StaleConnection, explain
from ci_acme.connect import Connection, Dialer, TlsTrust, find_proxy, is_loopback
from ci_acme.dataclass import dataclass, field
from ci_acme.errors import CaProtocolError, Interrupted

MAX_BODY: Final = 4 * 1024 * 1024
MAX_REDIRECTS: Final = 5
MAX_IDLE: Final = 9
MAX_URL: Final = 2048
MAX_SHOWN: Final = 200
"""Characters of a URL that a message has."""
_PRINTABLE: Final = re.compile(r"[!-~]+\Z")
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Headers:
    """Header fields of a reply; names are matched without regard to case (RFC 9110 section 5.1)."""

    __slots__ = ("_fields",)

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: dict[str, list[str]] = {}
        for name, value in items:
            self._fields.setdefault(name.lower(), []).append(value)

    def get(self, name: str) -> str | None:
        """The first value of the field."""
        values = self._fields.get(name.lower())
        return values[0] if values else None

    def get_all(self, name: str) -> list[str]:
        """All values of the field, in order."""
        return list(self._fields.get(name.lower(), ()))


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete reply."""

    status: int
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """What an observer of the wire sees; `status` is None when no answer came."""

    method: str
    url: str
    status: int | None
    seconds: float


class Http(Protocol):
    """Sends one request and returns its reply, whatever the status."""

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> HttpResponse:
        """Raises `CaUnreachable` if no complete answer came within `timeout` seconds, `CaProtocolError`, `Interrupted`.

        MUST be callable from several threads at once.
        """
        ...


def ignore_request(record: RequestRecord) -> None:
    """The observer of those who do not look."""


class HttpsPool:
    """`Http` over TLS with at most `MAX_IDLE` kept connections a host.

    Only https, except to a loopback address. Trust comes from the system (OpenSSL's `SSL_CERT_FILE` and `SSL_CERT_DIR`
    are honoured) or from the PEM file `ca_bundle` alone. `HTTPS_PROXY` and `NO_PROXY` are honoured. Close it after use.
    """

    def __init__(
        self, *, ca_bundle: Path | None = None, observe: Callable[[RequestRecord], None] = ignore_request
    ) -> None:
        self._trust = TlsTrust(ca_bundle)
        self._observe = observe
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._dialer = Dialer()

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> HttpResponse:
        """See `Http`. A GET follows at most `MAX_REDIRECTS` redirects, none of them from https to http."""
        ends = time.monotonic() + timeout
        for _ in range(MAX_REDIRECTS + 1):
            response = self._observed(method, url, headers, body, ends)
            location = response.headers.get("Location")
            if method != "GET" or response.status not in REDIRECTS or location is None:
                return response
            target = join_url(url, location)
            if url.startswith("https:") and not target.startswith("https:"):
                raise CaProtocolError(f"{url} redirects to {target}, which is not https", fix="ask the CA's operator")
            url = target
        raise CaProtocolError(f"more than {MAX_REDIRECTS} redirects, the last to {url}", fix="ask the CA's operator")

    def abort(self) -> None:
        """End every request at once, now and from now on, with `Interrupted`. May be called from a signal handler.

        Takes no lock that a request holds while it waits.
        """
        self._dialer.stopped.set()
        for connection in tuple(self._busy):
            connection.interrupt()

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            kept = [connection for connections in self._idle.values() for connection in connections]
            self._idle.clear()
        for connection in kept:
            connection.close()

    def _observed(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, ends: float
    ) -> HttpResponse:
        begun = time.monotonic()
        status = None
        try:
            response = self._exchange(method, url, headers, body, ends)
            status = response.status
            return response
        finally:
            self._observe(RequestRecord(method, url, status, time.monotonic() - begun))

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, ends: float
    ) -> HttpResponse:
        parts = split_url(url)
        key = (parts.scheme, parts.netloc)
        connection, kept = self._acquire(key, parts)
        reusable = False
        try:
            self._stop_if_aborted()  # after it is among the busy ones: either this sees the stop or `abort` sees it
            with connection.exchange(method, _target(parts), headers, body, ends) as answer:
                response = _read(answer, url)
                reusable = not answer.will_close
        except (OSError, http.client.HTTPException) as error:
            self._stop_if_aborted()
            if kept and not connection.answered and not isinstance(error, TimeoutError):
                self._drop_idle(key)
                raise StaleConnection(f"{parts.netloc} closed a kept connection", fix="run again") from None
            raise explain(error, parts.netloc, connection.proxy, self._trust.bundle) from None
        else:
            return response
        finally:
            self._release(key, connection, reusable=reusable)

    def _acquire(self, key: tuple[str, str], parts: SplitResult) -> tuple[Connection, bool]:
        with self._lock:
            self._stop_if_aborted()
            kept = self._idle.get(key)
            if kept:
                connection = kept.pop()
                self._busy.add(connection)
                return connection, True
        host = parts.hostname or ""
        tls = self._trust.context() if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        connection = Connection(host, port, tls=tls, dialer=self._dialer, proxy=find_proxy(host))
        with self._lock:
            self._busy.add(connection)
        return connection, False

    def _release(self, key: tuple[str, str], connection: Connection, *, reusable: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            kept = self._idle.setdefault(key, [])
            if reusable and len(kept) < MAX_IDLE and not self._dialer.stopped.is_set():
                kept.append(connection)
                return
        connection.close()

    def _drop_idle(self, key: tuple[str, str]) -> None:
        with self._lock:
            kept = self._idle.pop(key, [])
        for connection in kept:
            connection.close()

    def _stop_if_aborted(self) -> None:
        if self._dialer.stopped.is_set():
            raise Interrupted("interrupted", fix="run the same command again")


@lru_cache(maxsize=1024)  # each request looks at its URL in several places
def split_url(url: str) -> SplitResult:
    """The parts of a URL that the engine may talk to. Raises `CaProtocolError` for anything but https or loopback."""
    shown = url[:MAX_SHOWN]
    try:
        if len(url) > MAX_URL:
            raise ValueError("it is too long")  # noqa: TRY301  # one reason among others
        if not _PRINTABLE.match(url):
            raise ValueError("it has characters that no URL has")  # noqa: TRY301  # one reason among others
        parts = urlsplit(url)
        _ = parts.port  # raises for a port that is not a number
    except ValueError as error:
        raise CaProtocolError(f"{shown!r} is not a URL: {error}", fix="check the directory URL") from None
    if not parts.hostname:
        raise CaProtocolError(f"{shown!r} is not a URL: it has no host", fix="check the directory URL")
    if parts.username is not None:
        raise CaProtocolError(
            f"what names {parts.hostname[:MAX_SHOWN]} is not a URL of an ACME server: it has a user name in it",
            fix="remove everything before the @",
        )
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname)):
        return parts
    raise CaProtocolError(
        f"refusing {shown}: ACME is spoken over https only (RFC 8555 section 6.1)",
        fix="use the https URL of the CA's directory",
    )


def join_url(base: str, reference: str) -> str:
    """A URL that a reply to `base` names, made absolute. Raises `CaProtocolError` as `split_url` does."""
    try:
        url = urljoin(base, reference)
    except ValueError:
        url = reference  # and why it is none is said in the next line
    split_url(url)
    return url


def _target(parts: SplitResult) -> str:
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path


def _read(answer: http.client.HTTPResponse, url: str) -> HttpResponse:
    """The whole body. A body that ends early raises `IncompleteRead`, one that is too long `CaProtocolError`."""
    if answer.length is not None and answer.length <= MAX_BODY:
        body = answer.read()
    else:
        body = answer.read(MAX_BODY + 1) if answer.length is None else b""
        if answer.length is not None or len(body) > MAX_BODY:
            raise CaProtocolError(f"the answer of {url} is longer than {MAX_BODY} bytes", fix="ask the CA's operator")
    return HttpResponse(answer.status, Headers(answer.headers.items()), body)
