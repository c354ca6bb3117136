"""The sockets to one name server: a connected UDP socket and, when it is needed, a TCP connection.

Connected, so that a refused port is an error of the next call instead of a silence, and so that the kernel drops what
comes from elsewhere. Every operation is non-blocking and gives an `OSError` back instead of raising it.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
from typing import Final

_FRAME: Final = 2
_RECEIVE: Final = 65535


class Link:
    """One server's sockets, registered with a selector under this object as data."""

    def __init__(self, address: str, port: int, selector: selectors.BaseSelector) -> None:
        self._target = (address, port)
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._selector = selector
        self.udp: socket.socket | None = None
        self._tcp: socket.socket | None = None
        self._connected = False
        self._progress = False
        self._out = bytearray()
        self._in = bytearray()

    def close(self) -> None:
        """Close both sockets."""
        self._close_udp()
        self._close_tcp()

    # --- UDP

    def send_udp(self, wire: bytes | bytearray) -> OSError | None:
        """Send one datagram from a random port."""
        try:
            if self.udp is None:
                self.udp = self._open(socket.SOCK_DGRAM)
                self.udp.connect(self._address())
                self._selector.register(self.udp, selectors.EVENT_READ, self)
            self.udp.send(wire)
        except BlockingIOError:
            return None  # a full send buffer loses the datagram, as the network may; the next try follows
        except OSError as error:
            self._close_udp()
            return error
        return None

    def receive_udp(self) -> tuple[list[bytes], OSError | None]:
        """All datagrams that are there."""
        wires: list[bytes] = []
        while self.udp is not None:
            try:
                wires.append(self.udp.recv(_RECEIVE))
            except BlockingIOError:
                break
            except OSError as error:
                self._close_udp()
                return wires, error
        return wires, None

    def _close_udp(self) -> None:
        if self.udp is not None:
            self._drop(self.udp)
            self.udp = None

    # --- TCP (RFC 7766: many queries on one connection, answers in any order)

    def send_tcp(self, wire: bytes | bytearray) -> OSError | None:
        """Put a query on the connection, which is opened if there is none."""
        self._out += len(wire).to_bytes(_FRAME, "big") + wire
        try:
            if self._tcp is None:
                self._tcp = self._open(socket.SOCK_STREAM)
                self._connected = self._progress = False
                with contextlib.suppress(BlockingIOError):
                    self._tcp.connect(self._address())
                self._selector.register(self._tcp, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
            else:
                self._selector.modify(self._tcp, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
        except OSError as error:
            self._close_tcp()
            return error
        return None

    def advance_tcp(self, mask: int) -> tuple[list[bytes], OSError | None]:
        """Go on with connecting, reading and writing; the messages that are whole, also when the connection ends."""
        if self._tcp is None:
            return [], None
        error: OSError | None = None
        try:
            if mask & selectors.EVENT_READ:  # first: a server may have answered before it closed
                self._read(self._tcp)
            if mask & selectors.EVENT_WRITE:
                self._write(self._tcp)
        except BlockingIOError:
            pass
        except OSError as failure:
            error = failure
        wires = self._frames()
        self._progress = self._progress or bool(wires)
        if error is not None:
            self._close_tcp()
        return wires, error

    def take_progress(self) -> bool:
        """Whether the connection that failed last had answered something; asked once for each failure."""
        progress, self._progress = self._progress, False
        return progress

    def _write(self, tcp: socket.socket) -> None:
        if not self._connected:
            code = tcp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise _os_error(code)
            self._connected = True
        if self._out:
            sent = tcp.send(self._out)
            del self._out[:sent]
        if not self._out:
            self._selector.modify(tcp, selectors.EVENT_READ, self)

    def _read(self, tcp: socket.socket) -> None:
        """Read what is there. Raises `OSError` when the server has ended."""
        while True:
            try:
                data = tcp.recv(_RECEIVE)
            except BlockingIOError:
                return
            if not data:
                raise ConnectionResetError("closed by the server")
            self._in += data

    def _frames(self) -> list[bytes]:
        wires: list[bytes] = []
        while len(self._in) >= _FRAME:
            end = _FRAME + int.from_bytes(self._in[:_FRAME], "big")
            if len(self._in) < end:
                break
            wires.append(bytes(self._in[_FRAME:end]))
            del self._in[:end]
        return wires

    def _close_tcp(self) -> None:
        self._out.clear()
        self._in.clear()
        if self._tcp is not None:
            self._drop(self._tcp)
            self._tcp = None

    # --- both

    def _open(self, kind: int) -> socket.socket:
        sock = socket.socket(self._family, kind)
        sock.setblocking(False)  # noqa: FBT003  # the standard library's signature
        return sock

    def _address(self) -> tuple[str, int] | tuple[str, int, int, int]:
        """The address in the socket's form; an IPv6 scope (`fe80::1%eth0`) becomes its number."""
        host, port = self._target
        host, _, scope = host.partition("%")
        if self._family == socket.AF_INET:
            return host, port
        number = int(scope) if scope.isdigit() else socket.if_nametoindex(scope) if scope else 0
        return host, port, 0, number

    def _drop(self, sock: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)
        sock.close()


def _os_error(code: int) -> OSError:
    """An `OSError` of the subclass that belongs to the number."""
    import os

    return OSError(code, os.strerror(code))
