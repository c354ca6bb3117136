"""TSIG on the server's side (RFC 8945): who signed a message, and the answers to a signature that does not hold."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from typing import Final

import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
from dns.rdtypes.ANY.TSIG import TSIG

from ci_acme.dataclass import dataclass
from ci_acme.model.secret import Secret

ALGORITHMS: Final = ("hmac-sha256", "hmac-sha384", "hmac-sha512")
_FUDGE: Final = 300


@dataclass(frozen=True)
class TsigKey:
    """A key that may update: `secret` is base64 as in a key file; `zones` limits it (None: every zone)."""

    secret: Secret
    algorithm: str = "hmac-sha256"
    zones: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"TSIG algorithm {self.algorithm!r} is none of {', '.join(ALGORITHMS)}")

    def may_update(self, origin: dns.name.Name) -> bool:
        """Whether this key is allowed to change the zone."""
        return self.zones is None or any(dns.name.from_text(zone) == origin for zone in self.zones)


class Keyring:
    """The keys of a server."""

    def __init__(self, keys: Mapping[str, TsigKey | Secret | bytes]) -> None:
        self._grants: dict[dns.name.Name, TsigKey] = {}
        self._keys: dict[dns.name.Name, dns.tsig.Key] = {}
        for text, value in keys.items():
            grant = (
                value if isinstance(value, TsigKey) else TsigKey(value if isinstance(value, Secret) else Secret(value))
            )
            name = dns.name.from_text(text)
            self._grants[name] = grant
            self._keys[name] = dns.tsig.Key(name, grant.secret.reveal().decode("ascii"), grant.algorithm)

    def grant(self, message: dns.message.Message) -> TsigKey | None:
        """The key that signed a message which `parse` accepted; None for an unsigned one."""
        return None if message.keyname is None else self._grants.get(message.keyname)

    def parse(self, wire: bytes) -> tuple[dns.message.Message, bytes | None]:
        """A message, and the reply if its signature does not hold. Raises `dns.exception.DNSException` for garbage."""
        try:
            return dns.message.from_wire(wire, keyring=self._keys), None
        except (dns.message.UnknownTSIGKey, dns.tsig.BadKey, dns.tsig.BadAlgorithm):
            error = dns.rcode.BADKEY
        except dns.tsig.BadSignature:
            error = dns.rcode.BADSIG
        except dns.tsig.BadTime:
            error = dns.rcode.BADTIME
        unsigned, name, signature = split_tsig(wire)
        message = dns.message.from_wire(unsigned)
        return message, self._refusal(message, name, signature, error)

    def _refusal(
        self, message: dns.message.Message, name: dns.name.Name, signature: TSIG, error: dns.rcode.Rcode
    ) -> bytes:
        """NOTAUTH with a TSIG record that names the error; only BADTIME is signed (RFC 8945 section 5.2)."""
        now = int(time.time())
        reply = dns.message.make_response(message)
        reply.set_rcode(dns.rcode.NOTAUTH)
        if error == dns.rcode.BADTIME:
            reply.use_tsig(self._keys[name], fudge=_FUDGE, tsig_error=error, other_data=now.to_bytes(6, "big"))
            reply.request_mac = signature.mac
            return reply.to_wire()
        rdata = signature.replace(time_signed=now, fudge=_FUDGE, mac=b"", error=error, other=b"")
        return _append(reply.to_wire(), name, rdata)


def split_tsig(wire: bytes) -> tuple[bytes, dns.name.Name, TSIG]:
    """A message without the TSIG record at its end, and that record. Raises `dns.exception.DNSException`."""
    questions, *counts = struct.unpack("!HHHH", wire[4:12])
    at = 12
    for _ in range(questions):
        at += dns.name.from_wire(wire, at)[1] + 4
    for _ in range(sum(counts) - 1):
        at += dns.name.from_wire(wire, at)[1] + 10
        at += int.from_bytes(wire[at - 2 : at], "big")
    name, used = dns.name.from_wire(wire, at)
    start = at + used + 10
    length = int.from_bytes(wire[start - 2 : start], "big")
    rdata = dns.rdata.from_wire(dns.rdataclass.ANY, dns.rdatatype.TSIG, wire, start, length)
    assert isinstance(rdata, TSIG)
    return _with_additional(wire[:at], -1), name, rdata


def _append(wire: bytes, name: dns.name.Name, rdata: dns.rdata.Rdata) -> bytes:
    """Dnspython writes no TSIG record without a signature, and these must have none."""
    content = rdata.to_wire()
    assert content is not None
    fixed = struct.pack("!HHIH", dns.rdatatype.TSIG, dns.rdataclass.ANY, 0, len(content))
    owner = name.to_wire()
    assert owner is not None
    return _with_additional(wire, 1) + owner + fixed + content


def _with_additional(wire: bytes, difference: int) -> bytes:
    """The message with another count of additional records."""
    count = int.from_bytes(wire[10:12], "big") + difference
    return wire[:10] + count.to_bytes(2, "big") + wire[12:]
