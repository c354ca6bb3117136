"""Which certificate a TLS server serves: a handshake, and nothing sent after it.

The chain is not verified: the question is which certificate is there, also if it has ended or is of a private CA.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Final

from ci_acme.connect import Connection, Dialer, TlsTrust, find_proxy
from ci_acme.dataclass import dataclass
from ci_acme.errors import CiAcmeError
from ci_acme.ports import Deadline

SECONDS: Final = 15.0
"""For one server."""
SIDE_BY_SIDE: Final = 8
_SLICE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and the name that it is asked for."""

    host: str
    port: int
    name: str

    @property
    def label(self) -> str:
        """`www.example.com:443`, with the name behind it where that is another one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.name == self.host else f"{host}:{self.port} ({self.name})"


def look(targets: Sequence[Target], deadline: Deadline) -> list[bytes | str]:
    """The certificate of each server (PEM), in their order, or why that cannot be known. Raises `Interrupted`."""
    outcomes: dict[int, bytes | str] = {}
    room = threading.Semaphore(SIDE_BY_SIDE)
    within = deadline.within(SECONDS * (1 + len(targets) // SIDE_BY_SIDE))
    ends = time.monotonic() + within.remaining()

    def work(number: int, target: Target) -> None:
        with room:
            outcomes[number] = _served(target, min(ends, time.monotonic() + SECONDS))

    threads = [
        threading.Thread(target=work, args=(number, target), name=f"probe {target.label}", daemon=True)
        for number, target in enumerate(targets)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:  # one that hangs is left behind when its time is over
        while thread.is_alive() and time.monotonic() < ends + 1:
            thread.join(_SLICE)
            deadline.clock.check()
    return [outcomes.get(number, "no answer in time") for number in range(len(targets))]


def _served(target: Target, ends: float) -> bytes | str:
    try:
        connection = Connection(
            target.host,
            target.port,
            tls=_ANY.context(),
            dialer=Dialer(),
            proxy=find_proxy(target.host),
            server_name=target.name,
        )
        try:
            connection.open(ends)
            return ssl.DER_cert_to_PEM_cert(connection.peer_certificate()).encode()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _in_words(error)
    except CiAcmeError as error:
        return error.message


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_ANY: Final = TlsTrust(None, _any_certificate)


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, ssl.SSLError):
        return f"no TLS handshake ({(error.reason or 'refused').lower().replace('_', ' ')})"
    return getattr(error, "strerror", None) or type(error).__name__
