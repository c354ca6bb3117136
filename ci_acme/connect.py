"""One connection to a server: name resolution, TCP, proxy, TLS trust, and what went wrong in words."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import SplitResult, unquote, urlsplit

from ci_acme.errors import ConfigError

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for one address to take a connection."""

Address = tuple[Any, ...]


class TlsTrust:
    """The TLS context of a pool, made at the first https connection: loading the system's roots takes milliseconds."""

    def __init__(self, bundle: Path | None, make: Callable[[], ssl.SSLContext] | None = None) -> None:
        self.bundle = bundle
        self._make = make
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Raises `ConfigError` if there is nothing to trust."""
        with self._lock:
            if self._context is None:
                if self._make is not None:
                    self._context = self._make()
                else:
                    self._context = _system_trust() if self.bundle is None else _bundle_trust(self.bundle)
                self._context.sslsocket_class = BoundedTlsSocket
            return self._context


def _bundle_trust(bundle: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(bundle))
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "no certificate in it"
        raise ConfigError(
            f"cannot load the ca_bundle {bundle}: {reason}",
            fix="point ca_bundle of the authority at a PEM file with the root certificate of the CA's web server",
        ) from None


def _system_trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    directory = paths.capath
    if not context.cert_store_stats()["x509_ca"] and not (directory and any(Path(directory).iterdir())):
        raise ConfigError(
            f"this system has no trust store: neither {paths.openssl_cafile} nor {paths.openssl_capath} has a root",
            fix="install the ca-certificates package, set SSL_CERT_FILE, or set ca_bundle of the authority",
        )
    return context


class BoundedTlsSocket(ssl.SSLSocket):
    """A TLS socket whose reads end at one point in time, however slowly the bytes come."""

    ends: float | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """As of `ssl.SSLSocket`; raises `TimeoutError` after `ends`."""
        if self.ends is not None:
            left = self.ends - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self.settimeout(left)
        return super().recv_into(*args, **kwargs)


class Dialer:
    """Resolves and connects, remembering the addresses of each host. `stopped` ends all waiting."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._addresses: dict[tuple[str, int], list[Address]] = {}

    def resolve(self, host: str, port: int, ends: float) -> list[Address]:
        """The addresses of a host. Raises `OSError`, `TimeoutError`.

        The resolver cannot be interrupted, so that it runs in a thread that is left behind when the run must end.
        """
        known = self._addresses.get((host, port))
        if known:
            return known
        answer: list[Any] = []
        done = threading.Event()

        def look_up() -> None:
            try:
                answer.extend(socket.getaddrinfo(host_bytes(host), port, type=socket.SOCK_STREAM))
            except OSError as error:
                answer.append(error)
            done.set()

        threading.Thread(target=look_up, name="resolve", daemon=True).start()
        while not done.wait(0.05):
            if self.stopped.is_set() or time.monotonic() >= ends:
                raise TimeoutError(f"resolving {host} takes too long")
        if not answer or isinstance(answer[-1], OSError):
            raise answer[-1] if answer else socket.gaierror(socket.EAI_NONAME, "no address")
        self._addresses[host, port] = answer
        return answer

    def prefer(self, host: str, port: int, address: Address) -> None:
        """Try this address first next time: it answered."""
        known = self._addresses.get((host, port), [])
        self._addresses[host, port] = [address, *(other for other in known if other is not address)]


class Connection(http.client.HTTPConnection):
    """A connection of the pool. `answered` is False until the first line of a reply to the current request came.

    `server_name` is the name that TLS asks for where that is not `host`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        dialer: Dialer,
        proxy: SplitResult | None,
        server_name: str = "",
    ) -> None:
        self._tls = tls
        self.default_port = 80 if tls is None else 443  # else the Host field names 443, and a JWS's url differs from it
        self._origin = server_name or host
        self._dialer = dialer
        self._dialing: socket.socket | None = None
        self._ends = 0.0
        self._held: list[bytes] | None = None
        self.answered = False
        self.proxy = proxy.netloc.rpartition("@")[2] if proxy else None
        if proxy is None:
            super().__init__(host, port)
        else:
            super().__init__(proxy.hostname or "", proxy.port or 80)
            self.set_tunnel(host, port, headers=_proxy_credentials(proxy))
        self._create_connection = self._dial

    def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, ends: float
    ) -> http.client.HTTPResponse:
        """Send a request and read the head of the reply. Raises `OSError`, `http.client.HTTPException`."""
        self.answered = False
        self._ends = ends
        self.timeout = _left(ends)
        if self.sock is not None:
            self._bound()
        self._held = []
        try:
            self.request(method, target, body=body, headers=dict(headers))
        finally:
            whole, self._held = b"".join(self._held), None
        self.send(whole)
        answer = self.getresponse()
        self.answered = True
        return answer

    def send(self, data: Any) -> None:
        """As of `http.client`, which would send the head of a request and its body apart: two records of TLS, two
        packets, and a server that wakes up twice. While a request is put together it is held.
        """
        if self._held is None:
            super().send(data)
        else:
            self._held.append(data)

    def open(self, ends: float) -> None:
        """Connect until `ends`, and send no request. Raises `OSError`, `http.client.HTTPException`."""
        self._ends = ends
        self.timeout = _left(ends)
        self.connect()

    def peer_certificate(self) -> bytes:
        """The certificate that the server showed, DER. Raises `ValueError` without TLS."""
        shown = self.sock.getpeercert(binary_form=True) if isinstance(self.sock, ssl.SSLSocket) else None
        if not shown:
            raise ValueError("the server showed no certificate")
        return shown

    def connect(self) -> None:
        """TCP (with TCP_NODELAY), the proxy's tunnel, TLS.

        A socket is always put where `interrupt` finds it before `stopped` is looked at and before it is waited on.
        """
        super().connect()
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(
                cast("socket.socket", self.sock),
                server_hostname=host_bytes(self._origin),
                do_handshake_on_connect=False,
                # An answer whose end is the end of the connection is whole only with a closure alert (RFC 9112 9.8).
                suppress_ragged_eofs=False,
            )
            self._go_on()
            self._bound()
            self.sock.do_handshake()
        self._dialing = None
        self._bound()

    def close(self) -> None:
        """Also what a refused tunnel leaves open (the reply of the proxy, in Python 3.10)."""
        super().close()
        if self._dialing is not None:
            descriptor = self._dialing.detach()
            if descriptor >= 0:
                socket.close(descriptor)
            self._dialing = None

    def interrupt(self) -> None:
        """Make whatever waits on this connection end now; called from another thread."""
        for sock in (self._dialing, self.sock):
            if sock is not None:
                with contextlib.suppress(OSError):
                    # Not SSLSocket.shutdown: it takes the TLS object away from the thread that reads.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _bound(self) -> None:
        sock = cast("socket.socket", self.sock)
        sock.settimeout(_left(self._ends))
        if isinstance(sock, BoundedTlsSocket):
            sock.ends = self._ends

    def _dial(self, address: tuple[str, int], *_: object) -> socket.socket:
        host, port = address
        candidates = self._dialer.resolve(host, port, self._ends)
        failure: OSError = TimeoutError("timed out")
        for candidate in candidates:
            family, kind, protocol, _name, peer = candidate
            sock = socket.socket(family, kind, protocol)
            self._dialing = sock
            try:
                self._go_on()
                sock.settimeout(min(CONNECT_TIMEOUT, _left(self._ends)))
                sock.connect(peer)
            except OSError as error:
                sock.close()
                failure = error
            else:
                if candidate is not candidates[0]:
                    self._dialer.prefer(host, port, candidate)
                return sock
        raise failure

    def _go_on(self) -> None:
        if self._dialer.stopped.is_set():
            raise ConnectionAbortedError("stopped")


def host_bytes(host: str) -> str | bytes:
    """A host as `socket` and `ssl` take it without importing Python's IDNA tables, which costs a run 2 ms."""
    return host.encode("ascii") if host.isascii() else host


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def is_loopback(host: str) -> bool:
    """Whether a host name or address literal means this machine."""
    if host in {"localhost", "::1"}:
        return True
    head, _, tail = host.partition(".")
    return head == "127" and tail.replace(".", "").isdigit()


def find_proxy(host: str) -> SplitResult | None:
    """The proxy that the environment or the system names for https to a host, None for a direct connection.

    Raises `ConfigError` for a proxy that is not spoken to by plain HTTP.
    """
    if is_loopback(host):
        return None
    if sys.platform not in {"win32", "darwin"} and not any(name.lower().endswith("_proxy") for name in os.environ):
        return None  # urllib.request costs milliseconds
    from urllib.request import getproxies, proxy_bypass

    url = getproxies().get("https")
    if not url or proxy_bypass(host):
        return None
    proxy = urlsplit(url if "://" in url else f"http://{url}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise ConfigError(
            f"the proxy for https is a {proxy.scheme} proxy, which is not supported",
            fix="set HTTPS_PROXY to http://HOST:PORT, or NO_PROXY to the CA's host",
        )
    return proxy


def _proxy_credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    from base64 import b64encode

    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode('ascii')}"}
