r"""TXT values as PowerDNS writes them: quoted strings of at most 255 octets, `\DDD` for what cannot be printed."""

from __future__ import annotations

import re
from typing import Final

_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(\d{3}|.)", re.DOTALL)


def quote(value: str) -> str:
    """The content of a record for a value."""
    octets = value.encode()
    chunks = [octets[start : start + 255] for start in range(0, len(octets), 255)] or [b""]
    return " ".join('"' + "".join(map(_escaped, chunk)) + '"' for chunk in chunks)


def unquote(content: str) -> str:
    """The value of a record's content, which may be in several strings; octets that are no UTF-8 are replaced."""
    octets = b"".join(_octets(match[1] if match[1] is not None else match[2]) for match in _STRING.finditer(content))
    return octets.decode("utf-8", errors="replace")


def _escaped(octet: int) -> str:
    if octet in b'"\\':
        return f"\\{chr(octet)}"
    return chr(octet) if 0x20 <= octet < 0x7F else f"\\{octet:03}"


def _octets(text: str) -> bytes:
    def plain(match: re.Match[str]) -> str:
        return chr(int(match[1]) & 0xFF) if match[1].isdigit() and len(match[1]) == 3 else match[1]

    return _ESCAPE.sub(plain, text).encode("latin-1", errors="replace")
