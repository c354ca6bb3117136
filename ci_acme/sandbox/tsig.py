"""TSIG on the server's side (RFC 8945): who signed a message, and the answers to a signature that does not hold."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
from dns.rdtypes.ANY.TSIG import TSIG

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

    def parse(self, wire: bytes) -> tuple[dns.message.Message, dns.message.Message | None]:
        """A message, and the reply if its signature does not hold. Raises `dns.exception.DNSException` for garbage."""
        try:
            return dns.message.from_wire(wire, keyring=self._keys), None
        except (dns.message.UnknownTSIGKey, dns.tsig.BadKey, dns.tsig.BadAlgorithm):
            error = dns.rcode.BADKEY
        except dns.tsig.BadSignature:
            error = dns.rcode.BADSIG
        except dns.tsig.BadTime:
            error = dns.rcode.BADTIME
        message = dns.message.from_wire(wire, keyring=False)
        return message, self._refusal(message, error)

    def _refusal(self, message: dns.message.Message, error: dns.rcode.Rcode) -> dns.message.Message:
        """NOTAUTH with a TSIG record that names the error; only BADTIME is signed (RFC 8945 section 5.2)."""
        name = message.keyname
        assert name is not None
        now = int(time.time())
        reply = dns.message.make_response(message)
        reply.set_rcode(dns.rcode.NOTAUTH)
        if error == dns.rcode.BADTIME:
            reply.use_tsig(self._keys[name], fudge=_FUDGE, tsig_error=error, other_data=now.to_bytes(6, "big"))
            reply.request_mac = message.mac or b""
            return reply
        algorithm = message.keyalgorithm
        rdata = TSIG(  # type: ignore[no-untyped-call]  # dnspython leaves this constructor without types
            dns.rdataclass.ANY, dns.rdatatype.TSIG, algorithm, now, _FUDGE, b"", message.id, error, b""
        )
        reply.tsig = dns.rrset.from_rdata(name, 0, rdata)
        return reply
