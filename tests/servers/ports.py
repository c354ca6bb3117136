"""Free ports on loopback, for TCP and UDP alike."""

from __future__ import annotations

import itertools
import os
import socket
from contextlib import ExitStack

# Below the range from which the kernel takes the ports of outgoing connections. Each process walks through a part of
# its own: named shares its ports (SO_REUSEPORT), so two that raced for one would both start and answer in turns.
_LOW, _PARTS, _SIZE = 12000, 97, 200
_walk = itertools.count()


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """`count` different ports that nothing listens on, neither by TCP nor by UDP.

    They are all bound at once and then released, so another process can take one before its user does: `Server.start`
    tries again with new ones.
    """
    first = _LOW + os.getpid() % _PARTS * _SIZE
    ports: list[int] = []
    with ExitStack() as held:
        for _ in range(_SIZE):
            if len(ports) == count:
                return ports
            port = first + next(_walk) % _SIZE
            if _hold(held, host, port):
                ports.append(port)
    raise OSError(f"found no {count} free ports on {host} from {first} to {first + _SIZE}")


def free_port(host: str = "127.0.0.1") -> int:
    """One port that nothing listens on."""
    return free_ports(1, host)[0]


def _hold(held: ExitStack, host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        sock = held.enter_context(socket.socket(family, kind))
        if kind == socket.SOCK_STREAM and os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            sock.bind((host, port))
        except OSError:
            return False
    return True
