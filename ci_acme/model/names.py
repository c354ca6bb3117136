"""DNS names as the product keeps them: lower-case A-labels, no trailing dot, an optional leading ``*.``."""

from __future__ import annotations

import re
from typing import Final

_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
_HOST_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_IPV4: Final = re.compile(r"\d{1,3}(\.\d{1,3}){3}\Z")
CHALLENGE_LABEL: Final = "_acme-challenge"


def normalize_identifier(text: str) -> str:
    """An identifier of a certificate as an A-label name.

    Accepts U-labels, upper case and one trailing dot. Raises `ValueError` with a reason that can be shown to a user.
    """
    name = text.strip().removesuffix(".")
    wildcard = name.startswith("*.")
    base = name[2:] if wildcard else name
    if not base:
        raise ValueError("the name is empty")
    if _IPV4.match(base) or ":" in base:
        raise ValueError("IP addresses have no DNS-01 challenge (RFC 8738 allows http-01 and tls-alpn-01 only)")
    if "*" in base:
        raise ValueError("a wildcard is one whole leftmost label: *.example.com")
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


def is_suffix(zone: str, name: str) -> bool:
    """Whether `name` is `zone` or below it."""
    return name == zone or name.endswith("." + zone)


def longest_suffix(zones: list[str], name: str) -> str | None:
    """The longest of `zones` that `name` is in, or None."""
    return max((zone for zone in zones if is_suffix(zone, name)), key=len, default=None)
