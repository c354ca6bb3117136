"""Plain scalars by the core schema of YAML 1.2.2 (section 10.3.2)."""

from __future__ import annotations

import re
from typing import Final

_ASCII: Final = re.compile(r"[^\t\n\r\x20-\x7e]")
_UNICODE: Final = "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
_INT: Final = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_SPECIAL_FLOAT: Final = re.compile(r"([-+]?)\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_CONSTANTS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def not_allowed(text: str) -> re.Pattern[str]:
    """What is not printable (YAML 1.2.2 section 5.1), and what only YAML 1.1 takes for a line break.

    The whole expression takes 3 ms to compile, so that text in ASCII has one of its own.
    """
    return _ASCII if text.isascii() else re.compile(_UNICODE)


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar by the core schema. Raises `ValueError` for a number that nobody can mean."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.match(text):
        if len(text) > 40:
            raise ValueError("the number is too long; quote it if it is text")
        return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)
    if _FLOAT.match(text):
        return float(text)
    special = _SPECIAL_FLOAT.match(text)
    if special:
        return float(f"{special[1]}inf") if special[2] else float("nan")
    return text
