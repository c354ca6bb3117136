"""DNS messages over UDP and TCP on one port of loopback: bytes in, bytes out."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final

Handler = Callable[[bytes, str], "bytes | None"]
"""(message, "udp" or "tcp") -> reply, or None to stay silent."""

_PORT_TRIES: Final = 20
_TCP_IDLE: Final = 10.0


class DnsListener:
    """Bound from the constructor on, so that the port is known; serves from `start` until `close`."""

    def __init__(self, host: str, port: int) -> None:
        self._udp, self._tcp = _bind_both(host, port)
        self.host, self.port = host, int(self._udp.getsockname()[1])
        self._handle: Handler = lambda _wire, _transport: None
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._acceptors = [
            threading.Thread(target=target, name="sandbox-dns", daemon=True)
            for target in (self._serve_udp, self._serve_tcp)
        ]

    def start(self, handle: Handler) -> None:
        """Begin to answer."""
        self._handle = handle
        for thread in self._acceptors:
            thread.start()

    def close(self) -> None:
        """Stop answering, and wait for every thread."""
        self._closing.set()
        with contextlib.suppress(OSError), socket.socket(self._udp.family, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", (self.host, self.port))  # wakes the thread that waits in recvfrom
        with contextlib.suppress(OSError):
            socket.create_connection((self.host, self.port), timeout=1).close()  # and the one in accept
        for thread in self._acceptors:
            thread.join(timeout=5)
        self._udp.close()
        self._tcp.close()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections:
            thread.join(timeout=5)

    def _serve_udp(self) -> None:
        while not self._closing.is_set():
            try:
                wire, client = self._udp.recvfrom(65535)
            except OSError:
                continue  # an ICMP error of an earlier reply
            reply = self._handle(wire, "udp") if wire else None
            if reply is not None:
                with contextlib.suppress(OSError):
                    self._udp.sendto(reply, client)

    def _serve_tcp(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                continue
            if self._closing.is_set():
                connection.close()
                return
            connection.settimeout(_TCP_IDLE)
            thread = threading.Thread(
                target=self._serve_connection, args=(connection,), name="sandbox-dns", daemon=True
            )
            with self._lock:
                self._connections = {known: sock for known, sock in self._connections.items() if known.is_alive()}
                thread.start()
                self._connections[thread] = connection

    def _serve_connection(self, connection: socket.socket) -> None:
        """One TCP connection: messages with a length in front, until the client closes (RFC 7766)."""
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while not self._closing.is_set():
                wire = stream.read(int.from_bytes(stream.read(2), "big"))
                if not wire:
                    return
                reply = self._handle(wire, "tcp")
                if reply is not None:
                    connection.sendall(len(reply).to_bytes(2, "big") + reply)


def _bind_both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on one port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempt in range(_PORT_TRIES):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((host, port))
            udp.bind((host, tcp.getsockname()[1]))
            tcp.listen(128)
        except OSError:
            udp.close()
            tcp.close()
            if port or attempt == _PORT_TRIES - 1:
                raise
        else:
            return udp, tcp
    raise AssertionError("the last try raises")
