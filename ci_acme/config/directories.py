"""The CAs that have a short name in the config, and which URLs may stand in its place."""

from __future__ import annotations

from ci_acme.config.problems import nearest
from ci_acme.core.budget import OWN_FAILURES, PROFILES, Limits
from ci_acme.core.quirks import WELL_KNOWN, known_ca

__all__ = ["WELL_KNOWN", "UnknownDirectory", "check_url", "default_limits", "is_staging", "resolve_directory"]


class UnknownDirectory(ValueError):
    """A word that is neither a well-known name nor a URL; `suggestion` is the name that was probably meant."""

    def __init__(self, word: str) -> None:
        super().__init__("is not a well-known CA, and no https URL")
        self.suggestion = nearest(word, list(WELL_KNOWN))


def resolve_directory(name_or_url: str) -> str:
    """The directory URL of a well-known name or of a URL.

    Raises `ValueError`: `UnknownDirectory` for a word; for a URL that is not https (http is for loopback only), has
    no host, credentials, white space or a fragment.
    """
    known = WELL_KNOWN.get(name_or_url.lower())
    if known is not None:
        return known.url
    if "://" not in name_or_url:
        raise UnknownDirectory(name_or_url)
    check_url(name_or_url)
    return name_or_url


def is_staging(url: str) -> bool:
    """Whether `url` is the directory of a well-known CA that nobody trusts. Unknown CAs count as production."""
    return known_ca(url).staging


def default_limits(url: str) -> Limits:
    """The rate limits of a directory that the config says nothing about.

    Those of a well-known CA. Of another one nothing is known: only its failed validations are counted, so that a retry
    loop locks nobody out. A CA on loopback has no limits at all.
    """
    from urllib.parse import urlsplit

    limits = PROFILES[known_ca(url).limits]
    if limits or _is_loopback(urlsplit(url).hostname or ""):
        return limits
    return Limits(failures_per_name=OWN_FAILURES)


def check_url(url: str) -> None:
    """Refuse a URL that ci-acme will not talk to. Raises `ValueError` with a reason that does not repeat the URL."""
    from urllib.parse import urlsplit

    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("the URL holds white space")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if not host or port == 0:
        raise ValueError("the URL has no host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL holds credentials")
    if parts.fragment:
        raise ValueError("the URL has a fragment")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("http:// is for loopback only; use https://")
    if parts.scheme not in ("http", "https"):
        raise ValueError("the URL must start with https://")


def _is_loopback(host: str) -> bool:
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
