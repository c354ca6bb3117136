"""What an acme-dns server serves at one name now, asked of itself over UDP: its web API cannot tell."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

from ci_acme import dnswire
from ci_acme.dnswire import WireError
from ci_acme.ports import Deadline

_PATIENCE: Final = (0.5, 1.0, 1.5)
"""Seconds for an answer to the first, second and third try."""
_SLICE: Final = 0.1


def look(name: str, server: tuple[str, int], deadline: Deadline) -> frozenset[str] | None:
    """The TXT values at `name`; None if the server does not answer with authority. Raises `Interrupted`."""
    try:
        found = socket.getaddrinfo(*server, type=socket.SOCK_DGRAM)
    except OSError:
        return None
    for seconds in _PATIENCE:
        for family, kind, _, _, address in found:
            with suppress(OSError), socket.socket(family, kind) as sock:
                sock.connect(address)
                values = _ask(sock, name, deadline.within(seconds))
                if values is not None:
                    return values
    return None


def _ask(sock: socket.socket, name: str, deadline: Deadline) -> frozenset[str] | None:
    """Send the question and wait. Raises `OSError`, `Interrupted`."""
    wire = os.urandom(2) + bytes(dnswire.query(name, dnswire.TXT, recurse=False))[2:]
    sock.send(wire)
    while not deadline.expired:
        deadline.clock.check()
        sock.settimeout(_SLICE)
        try:
            reply = sock.recv(65535)
            message = dnswire.parse(reply)
        except TimeoutError:
            continue
        except WireError:
            return None
        if reply[:2] != wire[:2]:
            continue
        if not message.aa or message.rcode not in {dnswire.NOERROR, dnswire.NXDOMAIN}:
            return None
        return frozenset(
            record.data.decode("ascii", errors="replace")
            for record in message.answers
            if record.rtype == dnswire.TXT and isinstance(record.data, bytes) and record.name == name
        )
    return None
