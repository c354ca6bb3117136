"""One DNS message to one server, and its reply: UDP if it is small, TCP otherwise and when UDP is silent."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

from ci_acme.ports import Deadline
from ci_acme.sockets import is_writable

_UDP_LIMIT: Final = 1232
_UDP_SECONDS: Final = 1.5
_CONNECT_SECONDS: Final = 3.0
_SLICE: Final = 0.1
"""The longest time that an interrupt goes unheard."""


class NoAnswer(Exception):
    """The server gave no answer; the text says how."""


def addresses(host: str, port: int) -> list[str]:
    """All addresses of a server, IPv4 first. Raises `NoAnswer` for a name that does not resolve."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NoAnswer(f"the host name does not resolve ({error.strerror or error})") from None
    return sorted({str(address[0]) for *_, address in found}, key=lambda text: (":" in text, text))


def exchange(wire: bytes, host: str, port: int, *, seconds: float, deadline: Deadline) -> bytes:
    """Send a message and return the reply with its id. Raises `NoAnswer` after `seconds`, and `Interrupted`."""
    within = deadline.within(seconds)
    reasons: list[str] = []
    for address in addresses(host, port):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            if kind is socket.SOCK_DGRAM and len(wire) > _UDP_LIMIT:
                continue
            try:
                reply = (_udp if kind is socket.SOCK_DGRAM else _tcp)(wire, address, port, within)
            except OSError as error:
                reasons.append(_words(error, kind))
                continue
            if reply is not None:
                return reply
    raise NoAnswer("; ".join(dict.fromkeys(reasons)) or "no answer in time")


def _udp(wire: bytes, address: str, port: int, deadline: Deadline) -> bytes | None:
    """The reply, None if it is truncated."""
    limit = deadline.within(_UDP_SECONDS)
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
        sock.connect((address, port))
        sock.send(wire)
        while True:
            reply = _receive(sock, 65535, limit)
            if len(reply) >= 12 and reply[:2] == wire[:2] and reply[2] & 0x80:
                return None if reply[2] & 0x02 else reply


def _tcp(wire: bytes, address: str, port: int, deadline: Deadline) -> bytes:
    with socket.socket(_family(address), socket.SOCK_STREAM) as sock:
        _connect(sock, (address, port), deadline.within(_CONNECT_SECONDS))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(max(0.001, deadline.remaining()))
        sock.sendall(len(wire).to_bytes(2, "big") + wire)
        size = int.from_bytes(_read(sock, 2, deadline), "big")
        reply = _read(sock, size, deadline)
    if len(reply) < 12 or reply[:2] != wire[:2]:
        raise ConnectionAbortedError("answered something else")
    return reply


def _connect(sock: socket.socket, target: tuple[str, int], deadline: Deadline) -> None:
    """Connect, hearing interrupts. Raises `OSError`."""
    sock.setblocking(False)  # noqa: FBT003  # the standard library's signature
    with suppress(BlockingIOError):
        sock.connect(target)
    while not is_writable(sock, _SLICE):
        deadline.clock.check()
        if deadline.expired:
            raise TimeoutError("no answer in time")
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _read(sock: socket.socket, size: int, deadline: Deadline) -> bytes:
    data = b""
    while len(data) < size:
        more = _receive(sock, size - len(data), deadline)
        if not more:
            raise ConnectionAbortedError("closed without an answer")
        data += more
    return data


def _receive(sock: socket.socket, size: int, deadline: Deadline) -> bytes:
    """Receive at most `size` octets, hearing interrupts. Raises `TimeoutError` at the deadline."""
    while True:
        deadline.clock.check()
        if deadline.expired:
            raise TimeoutError("no answer in time")
        sock.settimeout(min(_SLICE, max(0.001, deadline.remaining())))
        try:
            return sock.recv(size)
        except TimeoutError:
            continue


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _words(error: OSError, kind: int) -> str:
    how = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
    if isinstance(error, ConnectionRefusedError):
        return f"{how} port refused"
    if isinstance(error, TimeoutError):
        return f"no answer over {how}"
    return f"{how}: {error.strerror or error}"
