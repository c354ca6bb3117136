"""What is asked of a name server, and what comes back: values, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, TypeAlias

from ci_acme import dnswire
from ci_acme.dnswire import Record

Exchange: TypeAlias = Callable[[bytes], bytes]
"""A DNS message for a DNS message, blocking; any thread may call it."""


class Server(NamedTuple):
    """One address of a name server; with `via`, a resolver that is asked over HTTPS, and `address` is its URL."""

    address: str
    port: int = 53
    via: Exchange | None = None

    def __str__(self) -> str:
        if self.via is not None:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Question(NamedTuple):
    """`recurse` is for resolvers; authoritative servers are asked without. `unchecked` asks past DNSSEC validation."""

    server: Server
    name: str
    rtype: int
    recurse: bool = False
    unchecked: bool = False

    def wire(self, *, edns: bool = True) -> bytearray:
        """The message to send, with id 0."""
        return dnswire.query(self.name, self.rtype, recurse=self.recurse, edns=edns, unchecked=self.unchecked)


class Answer(NamedTuple):
    """What a server said. `rcode` is as in `dnswire`; records are those of class IN and OPT, TSIG left out."""

    rcode: int
    aa: bool
    answers: Sequence[Record] = ()
    authority: Sequence[Record] = ()
    additional: Sequence[Record] = ()

    @property
    def usable(self) -> bool:
        """Whether a resolver would take it, rather than turn to the next server."""
        return self.rcode in {dnswire.NOERROR, dnswire.NXDOMAIN}

    @property
    def soa(self) -> Record | None:
        """The SOA record, whether it is the answer or says that there is none."""
        return next((record for record in (*self.answers, *self.authority) if record.rtype == dnswire.SOA), None)

    def alias(self, name: str) -> str | None:
        """Where a CNAME of exactly `name` leads, None without one."""
        for record in self.answers:
            if record.rtype == dnswire.CNAME and record.name == name and isinstance(record.data, str):
                return record.data
        return None

    def values(self, name: str) -> dict[bytes, int]:
        """The TXT values of exactly `name`, each with its TTL."""
        found = (record for record in self.answers if record.rtype == dnswire.TXT and record.name == name)
        return {record.data: record.ttl for record in found if isinstance(record.data, bytes)}

    def octets(self, name: str, rtype: int) -> list[bytes]:
        """The data of the records of exactly `name` and a type that is not taken apart here."""
        found = (record.data for record in self.answers if record.rtype == rtype and record.name == name)
        return [data for data in found if isinstance(data, bytes)]

    def hosts(self, name: str) -> list[str]:
        """The NS names of exactly `name`, be they the answer or a referral."""
        records = (*self.answers, *self.authority)
        found = (record.data for record in records if record.rtype == dnswire.NS and record.name == name)
        return sorted({host for host in found if isinstance(host, str)})

    @property
    def referral(self) -> str | None:
        """The zone cut that a referral names: NS in the authority section of a reply that answers nothing itself."""
        if self.aa or self.answers or self.rcode != dnswire.NOERROR or self.soa is not None:
            return None
        return next((record.name for record in self.authority if record.rtype == dnswire.NS), None)


class Failure(Enum):
    """Why there is no answer."""

    TIMEOUT = "no answer"
    REFUSED = "port refused"
    UNREACHABLE = "unreachable"
    BROKEN = "broken answer"


class Failed(NamedTuple):
    """No answer came. `tries` counts the tries over UDP and TCP."""

    failure: Failure
    reason: str
    tries: int = 1


Reply: TypeAlias = Answer | Failed
