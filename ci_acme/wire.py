"""HTTP for providers, object storage, and the services that give credentials: one exchange, and nothing decided."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ci_acme.connect import Connection, Dialer, TlsTrust, find_proxy
from ci_acme.dataclass import dataclass, field
from ci_acme.errors import SecretError
from ci_acme.sockets import is_readable

MAX_BODY: Final = 64 * 1024 * 1024
_MAX_IDLE: Final = 9


class Unreachable(Exception):
    """No whole answer came; the request may have been carried out. The text is for people."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. `secret` is a query string that signs the request and never stands in a message."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | None = field(default=None, repr=False)
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; `headers` are by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300


class Wire:
    """Keep-alive connections, by https and by http alike: who may be spoken to by http is for the caller to say.

    Thread-safe; `HTTPS_PROXY` and `NO_PROXY` are honoured for https. `ca_bundle` replaces the system's roots; `tls`
    makes the whole context instead, with a client certificate perhaps.
    """

    def __init__(self, ca_bundle: Path | None = None, tls: Callable[[], ssl.SSLContext] | None = None) -> None:
        self._trust = TlsTrust(ca_bundle, tls)
        self._dialer = Dialer()
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], list[Connection]] = {}

    def send(self, request: Request, *, timeout: float) -> Reply:
        """One request and its whole reply, whatever the status, in `timeout` seconds.

        Raises `Unreachable`, and `SecretError` for a header that cannot be sent.
        """
        ends = time.monotonic() + timeout
        key = urlsplit(request.url)[:2]
        connection = self._take(key)
        try:
            return self._exchange(connection, key, request, ends)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(f"{key[1]}: {_in_words(error)}") from None
        except ValueError:  # its text has the header's value, which may be a token
            connection.close()
            raise SecretError(
                f"a credential cannot be sent to {key[1]}: it has a line break, or letters that no header can have",
                fix="correct the secret: the value alone, in one line",
            ) from None

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            kept = [connection for connections in self._idle.values() for connection in connections]
            self._idle.clear()
        for connection in kept:
            connection.close()

    def _exchange(self, connection: Connection, key: tuple[str, str], request: Request, ends: float) -> Reply:
        parts = urlsplit(request.url)
        query = "&".join(part for part in (parts.query, request.secret) if part)
        target = f"{parts.path or '/'}?{query}" if query else parts.path or "/"
        with connection.exchange(request.method, target, request.headers, request.body, ends) as answer:
            body = answer.read(MAX_BODY)
            reply = Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)
            reusable = not answer.will_close and answer.isclosed()
        with self._lock:
            kept = self._idle.setdefault(key, [])
            if reusable and len(kept) < _MAX_IDLE:
                kept.append(connection)
                return reply
        connection.close()
        return reply

    def _take(self, key: tuple[str, str]) -> Connection:
        """A kept connection that the server has not closed, else a new one.

        A request on a connection that is closed meanwhile may have been read, so that it is never repeated here.
        """
        with self._lock:
            kept = self._idle.get(key, [])
            while kept:
                connection = kept.pop()
                if not _has_ended(connection):
                    return connection
                connection.close()
        scheme, netloc = key
        parts = urlsplit(f"//{netloc}")
        host = parts.hostname or ""
        if scheme == "https":
            tls = self._trust.context()
            return Connection(host, parts.port or 443, tls=tls, dialer=self._dialer, proxy=find_proxy(host))
        return Connection(host, parts.port or 80, tls=None, dialer=self._dialer, proxy=None)


def _has_ended(connection: Connection) -> bool:
    """Whether something came on an idle connection: its end, or what nobody asked for."""
    if connection.sock is None:
        return True
    try:
        return is_readable(connection.sock)
    except (OSError, ValueError):
        return True


def _in_words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not trusted ({error.verify_message or 'verification failed'})"
    if isinstance(error, socket.gaierror):
        return "the name cannot be resolved"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, ConnectionError | http.client.HTTPException):
        return "the connection was closed before a whole answer came"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
