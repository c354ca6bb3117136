"""What an object of state looks like inside: a line that names the format and this write, then the value or records.

The line is `ci-acme-state/1 KIND WRITE BASE LAST CRC`: KIND is key, or open or sealed for a part of a stream; BASE is
the number up to which all records are dropped, LAST the greatest that was given so far; CRC is the CRC-32 of what
follows the line. A record is a line `NUMBER WRITE LENGTH` and its value.
"""

from __future__ import annotations

import os
import re
import zlib
from typing import Final

from ci_acme.dataclass import dataclass
from ci_acme.errors import StateError
from ci_acme.state.engine import Record

FORMAT: Final = 1
_HEAD: Final = re.compile(
    rb"ci-acme-state/1 (key   |open  |sealed) ([0-9a-f]{16}) ([0-9]{20}) ([0-9]{20}) ([0-9a-f]{8})\n"
)
_RECORD: Final = re.compile(rb"([0-9]{20}) ([0-9a-f]{16}) ([0-9]{10})\n")
HEAD_SIZE: Final = 91
RECORD_HEAD: Final = 49


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a stream: its records, none of them dropped. `base`: all records up to it are dropped.

    `last` is the greatest number given so far, in this part and before it, whether its record is still there or not.
    """

    records: tuple[tuple[Record, str], ...] = ()
    """Each with the id of the write that brought it."""
    base: int = 0
    last: int = 0
    sealed: bool = False

    @property
    def visible(self) -> int:
        """What `expect_last` is compared with: the number of the last record that is there, 0 for none at all."""
        return self.last if self.last > self.base else 0

    @property
    def size(self) -> int:
        """Of the object, in bytes."""
        return HEAD_SIZE + sum(RECORD_HEAD + len(record.value) + 1 for record, _ in self.records)

    def has(self, write: str) -> bool:
        """Whether the write with this id brought one of the records."""
        return any(by == write for _, by in self.records)


EMPTY: Final = Part()
"""Of a stream that is not there."""


def new_id() -> str:
    """What names one write."""
    return os.urandom(8).hex()


def encode_name(text: str) -> str:
    """With characters that every object store takes as they are; the code of a prefix is a prefix of the code."""
    return re.sub(rb"[^A-Za-z0-9_/-]", lambda match: b"=%02X" % match[0][0], text.encode()).decode()


def decode_name(name: str) -> str:
    """The inverse of `encode_name`."""
    return re.sub(rb"=([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), name.encode()).decode()


def pack_value(value: bytes, write: str) -> bytes:
    """The object of a key."""
    return _object("key", write, 0, 0, value)


def unpack_value(body: bytes, where: str) -> tuple[bytes, str]:
    """The value, and the id of the write that brought it. Raises `StateError`."""
    kind, write, _, _ = _parsed_head(body, where)
    if kind != "key":
        raise _damaged(where)
    return body[HEAD_SIZE:], write


def pack_part(part: Part, write: str) -> bytes:
    """The object of a part of a stream."""
    pieces: list[bytes] = []
    for record, by in part.records:
        pieces.append(b"%020d %s %010d\n" % (record.number, by.encode(), len(record.value)))
        pieces += [record.value, b"\n"]
    return _object("sealed" if part.sealed else "open", write, part.base, part.last, b"".join(pieces))


def unpack_part(body: bytes, where: str) -> Part:
    """Raises `StateError` for anything that `pack_part` does not make."""
    kind, _, base, last = _parsed_head(body, where)
    if kind == "key":
        raise _damaged(where)
    records: list[tuple[Record, str]] = []
    at = HEAD_SIZE
    while at < len(body):
        match = _RECORD.match(body, at)
        if match is None:
            raise _damaged(where)
        begin = match.end()
        at = begin + int(match[3])
        if body[at : at + 1] != b"\n":
            raise _damaged(where)
        records.append((Record(int(match[1]), body[begin:at]), match[2].decode()))
        at += 1
    return Part(tuple(records), base, last, kind == "sealed")


def _object(kind: str, write: str, base: int, last: int, rest: bytes) -> bytes:
    """The whole object."""
    return b"ci-acme-state/1 %-6b %b %020d %020d %08x\n%b" % (
        kind.encode(),
        write.encode(),
        base,
        last,
        zlib.crc32(rest),
        rest,
    )


def _parsed_head(body: bytes, where: str) -> tuple[str, str, int, int]:
    match = _HEAD.match(body)
    if match is not None and int(match[5], 16) == zlib.crc32(memoryview(body)[HEAD_SIZE:]):
        return match[1].decode().strip(), match[2].decode(), int(match[3]), int(match[4])
    newer = re.match(rb"ci-acme-state/(\d{1,9}) ", body)
    if newer is not None and int(newer[1]) != FORMAT:
        raise StateError(
            f"{where} has format {int(newer[1])}; this ci-acme knows format {FORMAT}",
            fix="run the ci-acme that wrote it, or a newer one",
            details={"found": int(newer[1]), "known": FORMAT},
        )
    raise _damaged(where)


def _damaged(where: str) -> StateError:
    return StateError(
        f"{where} is damaged, or was written by another program",
        fix="restore it or delete it; certificates and orders under way are in their stores",
    )
