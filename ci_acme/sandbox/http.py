"""HTTP/1.1 over TLS on loopback: keep-alive, a thread a connection, and nothing on stderr."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from io import BufferedReader
from typing import Final

from ci_acme.dataclass import dataclass, field

_MAX_LINE: Final = 65536
_MAX_HEADERS: Final = 100
_MAX_BODY: Final = 1 << 20
_IDLE: Final = 60.0
_HANDSHAKE: Final = 10.0


@dataclass(frozen=True)
class Request:
    """One request; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Reply:
    """One answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    links: list[str] = field(default_factory=list[str])


class BadRequestError(Exception):
    """Not HTTP as we speak it; the connection is closed."""


class HttpServer:
    """Bound from the constructor on, so that the port is known; serves from `start` until `close`."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._handle: Callable[[Request], Reply | None] = lambda _: None
        self._context = context
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._listener = socket.create_server((host, port), family=family, backlog=256)
        self.host, self.port = host, int(self._listener.getsockname()[1])
        self._acceptor = threading.Thread(target=self._accept, name="sandbox-ca", daemon=True)

    def start(self, handle: Callable[[Request], Reply | None]) -> None:
        """Begin to accept; a None from `handle` closes the connection without an answer."""
        self._handle = handle
        self._acceptor.start()

    def close(self) -> None:
        """Close every connection and wait for their threads."""
        self._closing.set()
        with contextlib.suppress(OSError):
            socket.create_connection((self.host, self.port), timeout=1).close()  # wakes accept
        self._acceptor.join(timeout=5)
        self._listener.close()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections.values():
            with contextlib.suppress(OSError):
                # The plain method: SSLSocket.shutdown would pull the TLS state from under the thread that reads.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in connections:
            thread.join(timeout=5)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                raw, _ = self._listener.accept()
            except OSError:
                continue
            if self._closing.is_set():
                raw.close()
                return
            raw.settimeout(_HANDSHAKE)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = self._context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
            thread = threading.Thread(target=self._serve, args=(connection,), name="sandbox-ca", daemon=True)
            with self._lock:
                self._connections = {known: sock for known, sock in self._connections.items() if known.is_alive()}
                thread.start()
                self._connections[thread] = connection

    def _serve(self, connection: ssl.SSLSocket) -> None:
        # ValueError is what ssl says about a socket that was shut down meanwhile.
        with contextlib.suppress(OSError, ValueError, BadRequestError), connection:
            connection.do_handshake()
            connection.settimeout(_IDLE)
            with connection.makefile("rb") as stream:
                while not self._closing.is_set() and self._exchange(connection, stream):
                    pass

    def _exchange(self, connection: ssl.SSLSocket, stream: BufferedReader) -> bool:
        """One request and its answer; whether the connection stays open."""
        parsed = read_request(stream)
        if parsed is None:
            return False
        request, keep_alive = parsed
        reply = self._handle(request)
        if reply is None:
            return False
        connection.sendall(render(reply, head_only=request.method == "HEAD", keep_alive=keep_alive))
        return keep_alive


def read_request(stream: BufferedReader) -> tuple[Request, bool] | None:
    """A request and whether the client wants to go on; None when it has closed. Raises `BadRequestError`."""
    line = stream.readline(_MAX_LINE)
    if not line:
        return None
    parts = line.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequestError(line[:80])
    headers = _read_headers(stream)
    if "transfer-encoding" in headers:
        raise BadRequestError("transfer codings are not understood")
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > _MAX_BODY:
        raise BadRequestError(f"content-length {length[:20]}")
    body = stream.read(int(length))
    if len(body) != int(length):
        return None
    keep_alive = parts[2] == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return Request(parts[0], parts[1].partition("?")[0], headers, body), keep_alive


def _read_headers(stream: BufferedReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(_MAX_HEADERS):
        line = stream.readline(_MAX_LINE)
        if line in (b"\r\n", b"\n"):
            return headers
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise BadRequestError("a header without a colon")
        headers[name.strip().lower()] = value.strip()
    raise BadRequestError("too many headers")


def render(reply: Reply, *, head_only: bool, keep_alive: bool) -> bytes:
    """The bytes of an answer, in one piece so that they leave in one segment."""
    try:
        phrase = HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {reply.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    lines += [f"Link: {link}" for link in reply.links]
    if reply.status != 204:
        lines.append(f"Content-Length: {len(reply.body)}")
    if not keep_alive:
        lines.append("Connection: close")
    head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
    return head if head_only else head + reply.body
