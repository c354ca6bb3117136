"""The end of the connections of a server that runs in this process: its threads wait on them, and clients keep them."""

from __future__ import annotations

import contextlib
import socket


def hang_up(connections: list[socket.socket]) -> None:
    """End all of them, and forget them. A socket that is closed already is none."""
    for connection in connections:
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown: it takes the TLS object away from the thread that reads.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
    connections.clear()
