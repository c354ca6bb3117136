"""DNS names as the product keeps them: lower-case A-labels, no trailing dot, an optional leading ``*.``."""

from __future__ import annotations

import re
from base64 import b32encode
from hashlib import sha256
from typing import Final

_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
_HOST_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_IPV4: Final = re.compile(r"\d{1,3}(\.\d{1,3}){3}\Z")
_NAME_PORT: Final = re.compile(r"[^:\[\]]*[^:\[\]\d.][^:\[\]]*:\d+")
_HOST_PORT: Final = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<host>[^:\[\]]+))(?::(?P<port>.*))?\Z", re.DOTALL)
CHALLENGE_LABEL: Final = "_acme-challenge"
STANDING_LABEL: Final = "_validation-persist"
ROOT: Final = "."


def normalize_identifier(text: str) -> str:
    """An identifier of a certificate as an A-label name.

    Accepts U-labels, upper case and one trailing dot. Raises `ValueError` with a reason that can be shown to a user.
    """
    name = text.strip().removesuffix(".")
    wildcard = name.startswith("*.")
    base = name[2:] if wildcard else name
    if not base:
        raise ValueError("the name is empty")
    _refuse_other_kinds(base)
    base = to_a_labels(base)
    labels = base.split(".")
    for label in labels:
        if not _LABEL.match(label):
            raise ValueError(f"label {label!r} is not a host name label (letters, digits, inner hyphens, at most 63)")
    if len(labels) < 2:
        raise ValueError("a public name has at least two labels")
    if labels[-1].isdigit():
        raise ValueError("the last label is all digits")
    if base.endswith(("in-addr.arpa", "ip6.arpa")):
        raise ValueError("no certificate is issued for reverse DNS names (CA/B Forum BR, 2026-03-15)")
    full = f"*.{base}" if wildcard else base
    if len(full) > 253:
        raise ValueError(f"the name has {len(full)} characters; 253 is the limit")
    return full


def _refuse_other_kinds(base: str) -> None:
    """Raise `ValueError` for what is no DNS name at all."""
    if "/" in base:
        raise ValueError("a URL or a path is no name: give the host name alone, such as www.example.com")
    if _NAME_PORT.fullmatch(base):
        raise ValueError("a port is no part of a name: give the host name alone, such as www.example.com")
    if _IPV4.match(base) or ":" in base:
        raise ValueError("IP addresses have no DNS-01 challenge (RFC 8738 allows http-01 and tls-alpn-01 only)")
    if "*" in base:
        raise ValueError("a wildcard is one whole leftmost label: *.example.com")


def normalize_host(text: str) -> str:
    """A zone or record name (underscores allowed) as lower-case A-labels. Raises `ValueError`."""
    name = to_a_labels(text.strip().removesuffix("."))
    if not name or len(name) > 253 or not all(_HOST_LABEL.match(label) for label in name.split(".")):
        raise ValueError(f"{text!r} is not a DNS name")
    return name


def to_a_labels(name: str) -> str:
    """Lower-case A-labels by IDNA 2008 with UTS 46 mapping. Raises `ValueError`."""
    if name.isascii():
        return name.lower()
    import idna  # only names beyond ASCII pay for its tables

    try:
        return idna.encode(name, uts46=True).decode("ascii").lower()
    except idna.IDNAError as error:
        raise ValueError(f"not an internationalised domain name: {error}") from None


def is_wildcard(name: str) -> bool:
    """Whether the identifier covers every name one label below."""
    return name.startswith("*.")


def base_name(name: str) -> str:
    """The name that is validated: without ``*.`` (RFC 8555 section 7.1.3)."""
    return name.removeprefix("*.")


def challenge_name(identifier: str) -> str:
    """Where the dns-01 TXT value belongs (RFC 8555 section 8.4)."""
    return f"{CHALLENGE_LABEL}.{base_name(identifier)}"


def account_challenge_name(identifier: str, account: str) -> str:
    """Where the dns-account-01 TXT value of the account with this URL belongs (draft-ietf-acme-dns-account-label)."""
    label = b32encode(sha256(account.encode()).digest()[:10]).decode("ascii").lower()
    return f"_{label}.{challenge_name(identifier)}"


def standing_name(identifier: str) -> str:
    """Where the standing TXT record for dns-persist-01 belongs (draft-ietf-acme-dns-persist)."""
    return f"{STANDING_LABEL}.{base_name(identifier)}"


def is_suffix(zone: str, name: str) -> bool:
    """Whether `name` is `zone` or below it; everything is below the root."""
    return zone in (ROOT, name) or name.endswith("." + zone)


def longest_suffix(zones: list[str], name: str) -> str | None:
    """The longest of `zones` that `name` is in, or None."""
    suffixes = (zone for zone in zones if is_suffix(zone, name))
    return max(suffixes, key=lambda zone: 0 if zone == ROOT else len(zone), default=None)


def normalize_zone(text: str) -> str:
    """A zone as `normalize_host` has it, or the root `.`, which every name is below. Raises `ValueError`."""
    return ROOT if text.strip() == ROOT else normalize_host(text)


def split_host_port(text: str, default_port: int) -> tuple[str, int]:
    """The host and port of `HOST`, `HOST:PORT`, `V6` or `[V6]:PORT`; a host is a name or an IP address.

    Raises `ValueError` with a reason that does not repeat the text.
    """
    if text.count(":") > 1 and not text.startswith("["):
        return _ip_v6(text), default_port
    match = _HOST_PORT.match(text)
    if match is None:
        raise ValueError("a host, HOST:PORT or [V6]:PORT is wanted")
    port = default_port if match["port"] is None else _port(match["port"])
    if match["v6"] is not None:
        return _ip_v6(match["v6"]), port
    host = match["host"]
    if _IPV4.match(host):
        return _ip_v4(host), port
    try:
        return normalize_host(host), port
    except ValueError:
        raise ValueError("the host is neither a DNS name nor an IP address") from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise ValueError("the port is not a number from 1 to 65535")
    return int(text)


def _ip_v6(text: str) -> str:
    import ipaddress  # few names need it

    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError("the IPv6 address is not one") from None


def _ip_v4(text: str) -> str:
    if any(int(part) > 255 for part in text.split(".")):
        raise ValueError("the IPv4 address is not one")
    return text
