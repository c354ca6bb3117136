"""TSIG (RFC 8945): signing a request with a shared secret, and verifying that the reply is an answer to it."""

from __future__ import annotations

import hmac
import os
import struct
from typing import Final

from ci_acme import dnswire
from ci_acme.dataclass import dataclass, field
from ci_acme.dnswire import WireError
from ci_acme.model.secret import Secret

FUDGE: Final = 300
BADSIG: Final = 16
BADKEY: Final = 17
BADTIME: Final = 18
BADTRUNC: Final = 22

ALGORITHMS: Final = {
    "hmac-sha224": "sha224",
    "hmac-sha256": "sha256",
    "hmac-sha384": "sha384",
    "hmac-sha512": "sha512",
}
"""Those that RFC 8945 section 6 still recommends: the name on the wire, and the hash."""

_RR_FIXED: Final = struct.Struct("!HHIH")


class TsigError(Exception):
    """A reply that is not what the server with our key would say. `kind` is a BAD… code, 0 for none.

    `server_time` is the server's clock for BADTIME.
    """

    def __init__(self, reason: str, kind: int = 0, server_time: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind
        self.server_time = server_time


class Unsigned(TsigError):
    """The reply has no TSIG at all, although the request had one."""


@dataclass(frozen=True, slots=True)
class Key:
    """A TSIG key: its name, the decoded secret, and a name of `ALGORITHMS`."""

    name: str
    secret: Secret = field(repr=False)
    algorithm: str


@dataclass(frozen=True, slots=True)
class _Record:
    key: str
    algorithm: str
    time: int
    fudge: int
    mac: bytes
    original_id: int
    error: int
    other: bytes


def sign(wire: bytes, key: Key, now: int) -> tuple[bytes, bytes]:
    """The message with its TSIG record, and the MAC that the reply's MAC covers. `now` is in seconds since 1970."""
    mac = _digest(key, wire, _variables(key, now, FUDGE, 0, b""))
    algorithm = dnswire.encode_name(key.algorithm)
    data = algorithm + now.to_bytes(6, "big") + struct.pack("!HH", FUDGE, len(mac)) + mac + wire[:2] + bytes(4)
    record = dnswire.encode_name(key.name) + _RR_FIXED.pack(dnswire.TSIG, dnswire.CLASS_ANY, 0, len(data)) + data
    return _with_additional(wire + record, +1), mac


def verify(reply: bytes, start: int | None, key: Key, request_mac: bytes, now: int) -> None:
    """Check the TSIG record at `start` of a reply. Raises `TsigError`."""
    if start is None:
        raise Unsigned("the reply is not signed")
    record = _read(reply, start)
    if record.error:
        time = int.from_bytes(record.other[:6], "big") if len(record.other) == 6 else None
        raise TsigError("the server rejects the signature", record.error, time)
    if record.key != dnswire.canonical(key.name) or record.algorithm != key.algorithm:
        raise TsigError("the reply is signed with another key")
    unsigned = record.original_id.to_bytes(2, "big") + _with_additional(reply[:start], -1)[2:]
    prefix = len(request_mac).to_bytes(2, "big") + request_mac
    expected = _digest(key, prefix + unsigned, _variables(key, record.time, record.fudge, 0, record.other))
    if not hmac.compare_digest(expected, record.mac):
        raise TsigError("the reply's signature is wrong", BADSIG)
    if abs(now - record.time) > max(record.fudge, FUDGE):
        raise TsigError("the reply is from another time", BADTIME, record.time)


def fresh_id() -> int:
    """A random message id."""
    return int.from_bytes(os.urandom(2), "big")


def _digest(key: Key, message: bytes, variables: bytes) -> bytes:
    return hmac.digest(key.secret.reveal(), message + variables, ALGORITHMS[key.algorithm])


def _variables(key: Key, time: int, fudge: int, error: int, other: bytes) -> bytes:
    """RFC 8945 section 4.3.3."""
    return b"".join(
        (
            dnswire.encode_name(key.name),
            struct.pack("!HI", dnswire.CLASS_ANY, 0),
            dnswire.encode_name(key.algorithm),
            time.to_bytes(6, "big"),
            struct.pack("!HHH", fudge, error, len(other)),
            other,
        )
    )


def _with_additional(wire: bytes, change: int) -> bytes:
    count = int.from_bytes(wire[10:12], "big") + change
    if not 0 <= count < 65536:
        raise TsigError("the reply's record count is wrong")
    return wire[:10] + count.to_bytes(2, "big") + wire[12:]


def _read(wire: bytes, start: int) -> _Record:
    try:
        key, offset = dnswire.read_name(wire, start)
        size = _RR_FIXED.unpack_from(wire, offset)[3]
        end = offset + _RR_FIXED.size + size
        algorithm, offset = dnswire.read_name(wire, offset + _RR_FIXED.size)
        time = int.from_bytes(wire[offset : offset + 6], "big")
        fudge, mac_size = struct.unpack_from("!HH", wire, offset + 6)
        mac = wire[offset + 10 : offset + 10 + mac_size]
        original_id, error, other_size = struct.unpack_from("!HHH", wire, offset + 10 + mac_size)
        other = wire[offset + 16 + mac_size : end]
    except (WireError, struct.error):
        raise TsigError("the reply's TSIG record is broken") from None
    if end != len(wire) or len(other) != other_size:
        raise TsigError("the reply's TSIG record is broken")
    return _Record(key, algorithm, time, fudge, mac, original_id, error, other)
