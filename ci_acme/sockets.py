"""Waiting for one socket, however many a process has open: `select.select` takes no descriptor above 1023."""

from __future__ import annotations

import selectors
import socket


def is_readable(sock: socket.socket, seconds: float = 0) -> bool:
    """Whether something has come, or the end, within `seconds`. Raises `OSError`, `ValueError` for a closed socket."""
    return _is_ready(sock, selectors.EVENT_READ, seconds)


def is_writable(sock: socket.socket, seconds: float = 0) -> bool:
    """Whether it can be written to, or connecting has failed, within `seconds`. Raises as `is_readable`."""
    return _is_ready(sock, selectors.EVENT_WRITE, seconds)


def _is_ready(sock: socket.socket, event: int, seconds: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(sock, event)
        return bool(selector.select(seconds))
