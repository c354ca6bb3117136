"""TXT record sets of Cloud DNS, and the changes that add and remove single values: values in, documents out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ci_acme.dataclass import dataclass

_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)', re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\(?:(\d{3})|(.))", re.DOTALL)
_MOST: Final = 255
"""Bytes of one character-string (RFC 1035 section 3.3)."""


@dataclass(frozen=True, slots=True)
class RecordSet:
    """A TXT record set as the API returned it: `rrdatas` are echoed exactly when it is replaced."""

    name: str
    ttl: int
    rrdatas: tuple[str, ...]
    routed: bool = False
    """Whether a routing policy answers for it, which knows no values that could be joined."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> RecordSet:
        """From `dns#resourceRecordSet`."""
        return cls(
            str(document.get("name", "")).rstrip(".").lower(),
            int(document.get("ttl", 0)),
            tuple(str(text) for text in document.get("rrdatas") or ()),
            routed=document.get("routingPolicy") is not None,
        )

    @property
    def document(self) -> dict[str, Any]:
        """As an addition or a deletion of a change."""
        return {"name": f"{self.name}.", "type": "TXT", "ttl": self.ttl, "rrdatas": list(self.rrdatas)}

    @property
    def values(self) -> frozenset[str]:
        """The values, without quotes."""
        return frozenset(plain(text) for text in self.rrdatas)


def joined(current: RecordSet | None, name: str, values: Sequence[str], ttl: int) -> RecordSet | None:
    """The set with the values in it, with the TTL that it has; None if they all are there."""
    known = current.values if current is not None else frozenset[str]()
    new = [quoted(value) for value in dict.fromkeys(values) if value not in known]
    if not new:
        return None
    if current is None:
        return RecordSet(name, ttl, tuple(new))
    return RecordSet(current.name, current.ttl, (*current.rrdatas, *new))


def without(current: RecordSet, values: Iterable[str]) -> RecordSet | None:
    """The set without the values; `current` itself if none of them is there, None if nothing is left."""
    gone = frozenset(values)
    rest = tuple(text for text in current.rrdatas if plain(text) not in gone)
    if len(rest) == len(current.rrdatas):
        return current
    return RecordSet(current.name, current.ttl, rest) if rest else None


def change(pairs: Iterable[tuple[RecordSet | None, RecordSet | None]]) -> dict[str, Any]:
    """The body of one change that turns each first set into the second; empty if there is nothing to do."""
    body: dict[str, list[dict[str, Any]]] = {"deletions": [], "additions": []}
    for before, after in pairs:
        if before == after:
            continue
        if before is not None:
            body["deletions"].append(before.document)
        if after is not None:
            body["additions"].append(after.document)
    return {key: sets for key, sets in body.items() if sets}


def quoted(value: str) -> str:
    """A value in the presentation form of RFC 1035 section 5.1: quoted strings of at most 255 bytes."""
    data = value.encode("utf-8", errors="surrogateescape")
    pieces = [data[start : start + _MOST] for start in range(0, len(data), _MOST)] or [b""]
    return " ".join(f'"{"".join(_escaped(byte) for byte in piece)}"' for piece in pieces)


def plain(rrdata: str) -> str:
    """The inverse of `quoted`; takes bare words, too."""
    pieces: list[bytes] = []
    for match in _STRING.finditer(rrdata):
        text = match[1] if match[1] is not None else match[2]
        pieces.append(_ESCAPE.sub(_unescaped, text.encode("utf-8", errors="surrogateescape")))
    return b"".join(pieces).decode("utf-8", errors="surrogateescape")


def _escaped(byte: int) -> str:
    if byte in b'"\\':
        return f"\\{chr(byte)}"
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03d}"


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes([min(int(match[1]), 255)])
    return match[2]
