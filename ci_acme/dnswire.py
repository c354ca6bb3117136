r"""DNS messages on the wire (RFC 1035, EDNS of RFC 6891): pure functions, no sockets.

The product asks a handful of record types and needs them fast, also at start-up: importing a general DNS library costs
more than all the questions of a run together. Names are text here: lower case, no trailing dot, `.` for the root, odd
octets as `\DDD` (RFC 4343).
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
TXT: Final = 16
AAAA: Final = 28
OPT: Final = 41
TSIG: Final = 250
ANY: Final = 255
CAA: Final = 257

CLASS_IN: Final = 1
CLASS_NONE: Final = 254
CLASS_ANY: Final = 255

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
NOTAUTH: Final = 9
NOTZONE: Final = 10
BADVERS: Final = 16

RCODES: Final = {
    0: "NOERROR",
    1: "FORMERR",
    2: "SERVFAIL",
    3: "NXDOMAIN",
    4: "NOTIMP",
    5: "REFUSED",
    6: "YXDOMAIN",
    7: "YXRRSET",
    8: "NXRRSET",
    9: "NOTAUTH",
    10: "NOTZONE",
    16: "BADVERS",
}

HEADER: Final = struct.Struct("!HHHHHH")
_RR_FIXED: Final = struct.Struct("!HHIH")
_SOA_FIXED: Final = struct.Struct("!IIIII")
_PLAIN: Final = re.compile(r"[a-z0-9_*-]*\Z")
_ESCAPE: Final = re.compile(r"\\(\d{3}|.)|[^\\]", re.DOTALL)
EDNS_PAYLOAD: Final = 1232
_OPT_RECORD: Final = b"\0" + _RR_FIXED.pack(OPT, EDNS_PAYLOAD, 0, 0)


class WireError(ValueError):
    """The octets are not a DNS message."""


class Soa(NamedTuple):
    """The part of SOA rdata that is looked at. `minimum` bounds negative caching (RFC 2308 section 5)."""

    mname: str
    serial: int
    minimum: int


class Record(NamedTuple):
    """A record. `data` is a name (NS, CNAME), an address (A, AAAA), a `Soa`, or octets (TXT: its strings joined)."""

    name: str
    rtype: int
    ttl: int
    data: str | bytes | Soa


class Message(NamedTuple):
    """A parsed message. `question` is the first question; `rcode` includes EDNS's upper bits.

    `tsig` is where the TSIG record begins (RFC 8945: the last record), None without one.
    """

    id: int
    flags: int
    rcode: int
    question: tuple[str, int] | None
    answers: list[Record]
    authority: list[Record]
    additional: list[Record]
    tsig: int | None

    @property
    def is_reply(self) -> bool:
        """QR."""
        return bool(self.flags & 0x8000)

    @property
    def aa(self) -> bool:
        """Whether the server speaks for the zone."""
        return bool(self.flags & 0x0400)

    @property
    def truncated(self) -> bool:
        """TC."""
        return bool(self.flags & 0x0200)


def rcode_name(rcode: int) -> str:
    """`NXDOMAIN` for 3, `RCODE23` for an unknown one."""
    return RCODES.get(rcode, f"RCODE{rcode}")


# --- names -------------------------------------------------------------------------------------------------------


def labels_of(name: str) -> list[str]:
    """The labels, leftmost first; a dot that is escaped belongs to its label."""
    if name == ".":
        return []
    if "\\" not in name:
        return name.split(".")
    labels = [""]
    for part in (match.group() for match in _ESCAPE.finditer(name)):
        if part == ".":
            labels.append("")
        else:
            labels[-1] += part
    return labels


def parent_of(name: str) -> str:
    """The name without its leftmost label; the root is its own parent."""
    return ".".join(labels_of(name)[1:]) or "."


def canonical(name: str) -> str:
    """The one form of a name that is compared: lower case, no trailing dot, `.` for the root."""
    return name.lower().rstrip(".") or "."


def encode_name(name: str) -> bytes:
    """Wire form without compression. Raises `WireError` for an impossible name."""
    out = bytearray()
    for label in labels_of(canonical(name)):
        raw = _unescape(label)
        if not 0 < len(raw) < 64:
            raise WireError(f"{name!r} has an empty or too long label")
        out.append(len(raw))
        out += raw
    out.append(0)
    if len(out) > 255:
        raise WireError(f"{name!r} is longer than 255 octets")
    return bytes(out)


def _unescape(label: str) -> bytes:
    if "\\" not in label:
        try:
            return label.encode("ascii")
        except UnicodeEncodeError:
            raise WireError(f"{label!r} is not an A-label") from None
    out = bytearray()
    for match in _ESCAPE.finditer(label):
        code = match.group(1)
        value = ord(match.group()) if code is None else int(code) if len(code) == 3 else ord(code)
        if value > 255:
            raise WireError(f"{label!r} has an impossible escape")
        out.append(value)
    return bytes(out)


def _label_text(raw: bytes) -> str:
    text = raw.decode("latin-1").lower() if raw.isascii() else ""
    if text and _PLAIN.match(text):
        return text
    return "".join(chr(octet) if _PLAIN.match(chr(octet)) else f"\\{octet:03d}" for octet in bytes(raw).lower())


def read_name(wire: bytes, offset: int) -> tuple[str, int]:
    """The name at `offset` and where it ends. Follows compression pointers, which must point backwards."""
    labels: list[str] = []
    end = -1
    size = 1
    lowest = offset
    while True:
        try:
            length = wire[offset]
            if length >= 0xC0:
                target = (length & 0x3F) << 8 | wire[offset + 1]
                end = offset + 2 if end < 0 else end
                if target >= lowest:
                    raise WireError("a compression pointer does not point backwards")
                offset = lowest = target
                continue
        except IndexError:
            raise WireError("a name runs off the message") from None
        if length == 0:
            return ".".join(labels) or ".", offset + 1 if end < 0 else end
        size += length + 1
        raw = wire[offset + 1 : offset + 1 + length]
        if length > 63 or size > 255 or len(raw) != length:
            raise WireError("a name has an impossible label or length")
        labels.append(_label_text(raw))
        offset += length + 1


# --- messages ----------------------------------------------------------------------------------------------------


def query(name: str, rtype: int, *, recurse: bool, edns: bool = True, unchecked: bool = False) -> bytearray:
    """A query with id 0, which the sender patches into the first two octets. DO is off, EDNS offers 1232 octets.

    `unchecked` sets CD: a validating resolver answers with what it would else withhold (RFC 4035 section 3.2.2).
    """
    header = HEADER.pack(0, (0x0100 if recurse else 0) | (0x0010 if unchecked else 0), 1, 0, 0, int(edns))
    question = encode_name(name) + rtype.to_bytes(2, "big") + CLASS_IN.to_bytes(2, "big")
    return bytearray(header + question + (_OPT_RECORD if edns else b""))


def parse(wire: bytes) -> Message:
    """A whole message. Raises `WireError` for anything that is not one; trailing octets are an error too."""
    if len(wire) < 12:
        raise WireError("shorter than a header")
    ident, flags, questions, *counts = HEADER.unpack_from(wire)
    question, offset = _read_questions(wire, questions)
    sections: list[list[Record]] = [[], [], []]
    rcode = flags & 0x0F
    tsig: int | None = None
    for section, count in zip(sections, counts, strict=True):
        for _ in range(count):
            start = offset
            record, offset = _read_record(wire, offset)
            if record.rtype == OPT:
                rcode |= record.ttl >> 24 << 4
            elif record.rtype == TSIG:
                tsig = start
            else:
                section.append(record)
    if offset != len(wire):
        raise WireError("octets after the last record")
    answers, authority, additional = sections
    return Message(ident, flags, rcode, question, answers, authority, additional, tsig)


def _read_questions(wire: bytes, count: int) -> tuple[tuple[str, int] | None, int]:
    question: tuple[str, int] | None = None
    offset = 12
    for _ in range(count):
        name, offset = read_name(wire, offset)
        if offset + 4 > len(wire):
            raise WireError("a question runs off the message")
        question = question or (name, int.from_bytes(wire[offset : offset + 2], "big"))
        offset += 4
    return question, offset


def _read_record(wire: bytes, offset: int) -> tuple[Record, int]:
    name, offset = read_name(wire, offset)
    try:
        rtype, _, ttl, size = _RR_FIXED.unpack_from(wire, offset)
    except struct.error:
        raise WireError("a record runs off the message") from None
    start = offset + 10
    end = start + size
    if end > len(wire):
        raise WireError("rdata runs off the message")
    return Record(name, rtype, ttl if rtype == OPT or ttl < 1 << 31 else 0, _read_data(wire, rtype, start, end)), end


def _read_data(wire: bytes, rtype: int, start: int, end: int) -> str | bytes | Soa:
    if start == end:  # UPDATE has records without rdata
        return b""
    reader = _READERS.get(rtype)
    return bytes(wire[start:end]) if reader is None else reader(wire, start, end)


def _read_txt(wire: bytes, start: int, end: int) -> bytes:
    return join_strings(wire[start:end])


def _read_host(wire: bytes, start: int, end: int) -> str:
    name, stop = read_name(wire, start)
    if stop != end:
        raise WireError("rdata of the wrong length")
    return name


def _read_address(wire: bytes, start: int, end: int) -> str:
    family = {4: socket.AF_INET, 16: socket.AF_INET6}.get(end - start)
    if family is None:
        raise WireError("an address of the wrong length")
    return socket.inet_ntop(family, wire[start:end])


def _read_soa(wire: bytes, start: int, end: int) -> Soa:
    mname, offset = read_name(wire, start)
    _, offset = read_name(wire, offset)
    if offset + 20 != end:
        raise WireError("SOA rdata of the wrong length")
    serial, _, _, _, minimum = _SOA_FIXED.unpack_from(wire, offset)
    return Soa(mname, serial, minimum)


_READERS: Final[dict[int, Callable[[bytes, int, int], str | bytes | Soa]]] = {
    A: _read_address,
    AAAA: _read_address,
    CNAME: _read_host,
    NS: _read_host,
    SOA: _read_soa,
    TXT: _read_txt,
}


def join_strings(data: bytes) -> bytes:
    """TXT rdata as one value: its character strings joined (RFC 7208 section 3.3 and RFC 8555 read it so)."""
    parts: list[bytes] = []
    offset = 0
    while offset < len(data):
        size = data[offset]
        if offset + 1 + size > len(data):
            raise WireError("a character string runs off its rdata")
        parts.append(data[offset + 1 : offset + 1 + size])
        offset += 1 + size
    return b"".join(parts)


def split_strings(value: bytes) -> bytes:
    """TXT rdata for a value: character strings of at most 255 octets."""
    chunks = [value[start : start + 255] for start in range(0, len(value), 255)] or [b""]
    return b"".join(bytes((len(chunk),)) + chunk for chunk in chunks)


def pack_record(name: bytes, rtype: int, rclass: int, ttl: int, data: bytes) -> bytes:
    """One record; `name` is in wire form."""
    return name + _RR_FIXED.pack(rtype, rclass, ttl, len(data)) + data
