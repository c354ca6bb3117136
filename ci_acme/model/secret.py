"""Secrets that cannot be printed by accident."""

from __future__ import annotations

import hmac
import re
from typing import Final

_LEAST: Final = 8
"""Characters of what is blotted out: a shorter secret would blot out words."""
_known: Final[dict[str, None]] = {}
"""Every secret of this process, and each line of those that have several: some servers join lines."""
_RUN: Final = re.compile(r"[A-Za-z0-9+/=_~.%\\-]{16,}")
_CREDENTIAL: Final = re.compile(r"(?i)\b(bearer|basic)\s+\S+|\bya29\.\S+")
_OPEN: Final = " :,;([{"
_QUOTES: Final = ("'", '"')
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Secret:
    """Bytes that never show in a repr, a format string, a traceback's locals or a pickle.

    `reveal()` is the only way to the bytes; a reader of the code can search for it. From then on that there is one,
    `without_secrets` knows it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)
        text = self._value.decode("utf-8", errors="replace")
        for part in (text, *text.splitlines()):
            if len(part.strip()) >= _LEAST and not part.startswith("-----"):
                _known[part.strip()] = None

    def reveal(self) -> bytes:
        """The bytes themselves."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


def without_secrets(text: str) -> str:
    """The text with `…` for every secret of this process, in whatever a server or a library has said."""
    for known in sorted(_known, key=len, reverse=True):  # of one that holds another, all
        if known in text:
            text = text.replace(known, "…")
    return text


def harmless(text: str, most: int = 300) -> str:
    """A server's words on one line of at most `most` characters, without what may be a part of what it was sent.

    Some servers repeat a request where they refuse it. PEM ends the text; credentials, and whatever looks like base64,
    hex or a long number, become `…`. Names of things, permissions and UUIDs stay.
    """
    line = " ".join(text.partition("-----")[0].split())
    line = _CREDENTIAL.sub("…", line)
    line = _RUN.sub(_hidden, line)[:most].rstrip(_OPEN)
    while line[-1:] in _QUOTES and line.count(line[-1]) % 2 == 1:  # it was opened, and what it held is gone
        line = line[:-1].rstrip(_OPEN)
    return line


def _hidden(found: re.Match[str]) -> str:
    """The run of characters, or `…` if no person has made it up."""
    run = found[0]
    plain = _UUID.sub("", run)
    digits, large, small = (sum(map(kind, plain)) for kind in (str.isdigit, str.isupper, str.islower))
    random = large > 0 and small > 0 and (digits > 0 or large > 0.3 * len(plain))
    return "…" if (random and len(plain) >= 16) or digits >= 20 else run
