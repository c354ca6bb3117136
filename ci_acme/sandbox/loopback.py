"""The one rule that every server of the sandbox keeps: it listens on loopback or not at all."""

from __future__ import annotations

import ipaddress


def require_loopback(host: str) -> str:
    """The address to bind to. Raises `ValueError` for anything that another machine could reach."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"the sandbox listens on a loopback address only, and {host!r} is not an IP address") from None
    if not address.is_loopback:
        raise ValueError(
            f"the sandbox refuses to listen on {host}: its CA signs for whoever asks and its keys are throw-away, "
            "so it listens on loopback only (127.0.0.1 or ::1)"
        )
    return str(address)


def host_port(host: str, port: int) -> str:
    """``host:port`` as it stands in a URL or a config, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(text: str, *, default_port: int) -> tuple[str, int]:
    """The inverse of `host_port`; the port may be left out. Raises `ValueError`."""
    host, bracket, rest = text.partition("]")
    if bracket:
        host, port = host.removeprefix("["), rest.removeprefix(":")
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    ipaddress.ip_address(host)
    return host, int(port) if port else default_port
