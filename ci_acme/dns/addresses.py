"""From what people and systems call a name server to addresses that can be asked."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ci_acme.connect import host_bytes
from ci_acme.dns.question import Server
from ci_acme.errors import ConfigError
from ci_acme.model.names import split_host_port

_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_NAMESERVER: Final = re.compile(r"^\s*nameserver\s+(\S+)", re.MULTILINE)
_FIX: Final = "give host[:port] or https://…/dns-query of a name server in resolver.nameservers"


def parse_servers(text: str, over_https: Callable[[str], Server] | None = None) -> list[Server]:
    """A configured name server as addresses; a URL is one that `over_https` makes. Raises `ConfigError`."""
    if "://" in text:
        if over_https is None:
            raise ConfigError(f"the name server {text!r} is a URL: authoritative servers speak on port 53", fix=_FIX)
        return [over_https(text)]
    try:
        host, port = split_host_port(text, 53)
        found = socket.getaddrinfo(host_bytes(host), port, type=socket.SOCK_DGRAM)
    except (ValueError, OSError) as error:
        raise ConfigError(f"the name server {text!r} cannot be used: {error}", fix=_FIX) from None
    return list(dict.fromkeys(Server(str(address[0]), port) for *_, address in found))


def system_resolvers(path: Path = _RESOLV_CONF) -> list[Server]:
    """The resolvers of this machine, in their order; empty if it has none."""
    if sys.platform == "win32":
        import dns.resolver  # it knows the registry; only Windows pays for the import

        addresses = [str(address) for address in dns.resolver.Resolver().nameservers]
    else:
        text = ""
        with contextlib.suppress(OSError):
            text = path.read_text(errors="replace")
        addresses = _NAMESERVER.findall(text)
    return [Server(address) for address in dict.fromkeys(addresses) if _is_address(address)]


def routable(servers: Sequence[Server]) -> tuple[list[Server], list[Server]]:
    """Split by whether this machine has a route at all, IPv4 first; nothing is sent."""
    good: list[Server] = []
    lost: list[Server] = []
    for server in sorted(servers, key=lambda one: ":" in one.address):
        (good if _has_route(server) else lost).append(server)
    return good, lost


def _has_route(server: Server) -> bool:
    family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((server.address, server.port))
    except OSError:
        return False
    return True


def _is_address(text: str) -> bool:
    host = text.partition("%")[0]
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            return True
    return False
