"""UPDATE messages (RFC 2136) that add and delete single TXT records."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from ci_acme import dnswire
from ci_acme.dataclass import dataclass

_OPCODE: Final = 5 << 11
MAX_MESSAGE: Final = 60_000
"""Octets of one message, with room for the signature below the 65535 of TCP."""


@dataclass(frozen=True, slots=True)
class Change:
    """Add a TXT value with a TTL, or delete it (`ttl` None). Both are idempotent at the server."""

    name: str
    value: bytes
    ttl: int | None

    def wire(self) -> bytes:
        """The record of the update section (RFC 2136 section 2.5)."""
        rclass = dnswire.CLASS_NONE if self.ttl is None else dnswire.CLASS_IN
        data = dnswire.split_strings(self.value)
        return dnswire.pack_record(dnswire.encode_name(self.name), dnswire.TXT, rclass, self.ttl or 0, data)


def messages(zone: str, changes: Iterable[Change]) -> Iterator[bytes]:
    """As few UPDATE messages as possible, with id 0 and unsigned: one, unless it would be too long."""
    head = dnswire.encode_name(zone) + struct.pack("!HH", dnswire.SOA, dnswire.CLASS_IN)
    records: list[bytes] = []
    size = len(head)
    for record in (change.wire() for change in changes):
        if records and size + len(record) > MAX_MESSAGE:
            yield _message(head, records)
            records, size = [], len(head)
        records.append(record)
        size += len(record)
    if records:
        yield _message(head, records)


def _message(head: bytes, records: list[bytes]) -> bytes:
    return dnswire.HEADER.pack(0, _OPCODE, 1, 0, len(records), 0) + head + b"".join(records)
