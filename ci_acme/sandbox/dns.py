"""An authoritative DNS server on loopback: queries over UDP and TCP, and RFC 2136 updates signed with TSIG."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final, final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.update

from ci_acme.dataclass import dataclass
from ci_acme.model.secret import Secret
from ci_acme.sandbox.listener import DnsListener
from ci_acme.sandbox.loopback import host_port, require_loopback
from ci_acme.sandbox.tsig import Keyring, TsigKey
from ci_acme.sandbox.update import UpdateError, apply_update, describe
from ci_acme.sandbox.zone import TTL, Contents, Zone, resolve, zone_of

_MAX_UDP: Final = 1232


@dataclass(frozen=True, slots=True)
class LoggedQuery:
    """One query that was answered (or dropped: `rcode` is then empty)."""

    name: str
    type: str
    transport: str
    rcode: str


@dataclass(frozen=True, slots=True)
class LoggedUpdate:
    """One UPDATE message: the key that signed it (empty: unsigned or refused), and its changes as lines."""

    key: str
    zone: str
    changes: tuple[str, ...]
    rcode: str


@final
class SandboxDns:
    """A context manager that serves zones from memory.

    Args:
        zones: zone names, or zone name -> records in master file form (names relative to the zone).
        keys: TSIG key name -> secret (base64, as in a key file) for hmac-sha256, or a `TsigKey`.
        host: a loopback address; anything else is a `ValueError`.
        port: for UDP and TCP alike; 0 takes a free one.

    Attributes (may be changed while it runs):
        lag: seconds until queries see an update.
        drop: receive and never answer.
        servfail: answer every query and update with SERVFAIL.
        cross_zone: whether an answer goes on into another zone of this server behind a CNAME.
        queries, updates: what was asked, oldest first.
    """

    def __init__(
        self,
        zones: Mapping[str, str] | Iterable[str],
        keys: Mapping[str, TsigKey | Secret | bytes] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.host = require_loopback(host)
        self.port = port
        self.lag = 0.0
        self.drop = False
        self.servfail = False
        self.cross_zone = True
        self.queries: list[LoggedQuery] = []
        self.updates: list[LoggedUpdate] = []
        texts = zones if isinstance(zones, Mapping) else dict.fromkeys(zones, "")
        origins = {dns.name.from_text(name): text for name, text in texts.items()}
        self._zones = {origin: Zone(origin, text) for origin, text in origins.items()}
        self._keyring = Keyring(keys or {})
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """``host:port``, as a config wants it."""
        return host_port(self.host, self.port)

    def __enter__(self) -> SandboxDns:
        self._listener = DnsListener(self.host, self.port)
        self.port = self._listener.port
        self._listener.start(self.handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    # what tests and the demo do by hand

    def add(self, name: str, rdtype: str, *texts: str, ttl: int = TTL) -> None:
        """Put a record set as the server's owner would: at once (with all that still lags), without a message."""
        with self._lock:
            owner, zone = self._owner(name)
            rdataset = dns.rdataset.from_text_list(dns.rdataclass.IN, rdtype, ttl, list(texts))
            node = {**zone.newest.get(owner, {}), rdataset.rdtype: rdataset}
            zone.publish({**zone.newest, owner: node}, lag=0.0)

    def remove(self, name: str, rdtype: str) -> None:
        """Take a record set away; none there is fine."""
        with self._lock:
            owner, zone = self._owner(name)
            wanted = dns.rdatatype.from_text(rdtype)
            node = {key: value for key, value in zone.newest.get(owner, {}).items() if key != wanted}
            contents: Contents = {**zone.newest, owner: node}
            if not node:
                del contents[owner]
            zone.publish(contents, lag=0.0)

    def values(self, name: str, rdtype: str = "TXT") -> list[str]:
        """The newest values of a record set, sorted; TXT values without quotes."""
        with self._lock:
            owner, zone = self._owner(name)
            rdataset = zone.newest.get(owner, {}).get(dns.rdatatype.from_text(rdtype), ())
            return sorted(_plain_text(rdata.to_text()) for rdata in rdataset)

    def serial(self, zone: str) -> int:
        """The SOA serial of a zone."""
        with self._lock:
            return self._zones[dns.name.from_text(zone)].serial

    def _owner(self, name: str) -> tuple[dns.name.Name, Zone]:
        owner = dns.name.from_text(name)
        zone = zone_of(self._zones, owner)
        if zone is None:
            raise ValueError(f"{name} is in no zone of this server")
        return owner, zone

    # answers

    def handle(self, wire: bytes, transport: str) -> bytes | None:
        """The reply to one message, or None when there shall be none."""
        try:
            message, refusal = self._keyring.parse(wire)
        except (dns.exception.DNSException, ValueError):
            return None
        if message.flags & dns.flags.QR or not message.question:
            return None
        with self._lock:
            reply = None if refusal else self._reply(message)
            self._note(message, transport, dns.rcode.NOTAUTH if reply is None else reply.rcode())
        if self.drop:
            return None
        if reply is None:
            return refusal
        if transport == "tcp":
            return reply.to_wire(max_size=65535)
        size = min(max(message.payload, 512), _MAX_UDP) if message.edns >= 0 else 512
        return _fit(reply, message, size)

    def _reply(self, message: dns.message.Message) -> dns.message.Message:
        return self._update(message) if isinstance(message, dns.update.UpdateMessage) else self._query(message)

    def _note(self, message: dns.message.Message, transport: str, code: dns.rcode.Rcode) -> None:
        """Log a query or an update."""
        question = message.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        rcode = "" if self.drop else dns.rcode.to_text(code)
        if isinstance(message, dns.update.UpdateMessage):
            key = message.keyname.to_text(omit_final_dot=True) if message.keyname else ""
            changes = tuple(describe(change) for change in message.update)
            self.updates.append(LoggedUpdate(key, name, changes, rcode))
        else:
            self.queries.append(LoggedQuery(name, dns.rdatatype.to_text(question.rdtype), transport, rcode))

    def _query(self, message: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(message, our_payload=_MAX_UDP)
        question = message.question[0]
        if self.servfail:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif message.opcode() != dns.opcode.QUERY:
            reply.set_rcode(dns.rcode.NOTIMP)
        elif question.rdclass != dns.rdataclass.IN or question.rdtype in (dns.rdatatype.AXFR, dns.rdatatype.IXFR):
            reply.set_rcode(dns.rcode.REFUSED)
        else:
            found = resolve(self._zones, question.name, question.rdtype, cross_zone=self.cross_zone)
            reply.set_rcode(found.rcode)
            reply.answer, reply.authority = found.answer, found.authority
            if found.authoritative:
                reply.flags |= dns.flags.AA
        return reply

    def _update(self, message: dns.update.UpdateMessage) -> dns.message.Message:
        reply = dns.message.make_response(message)
        if self.servfail:
            reply.set_rcode(dns.rcode.SERVFAIL)
            return reply
        origin = message.zone[0].name
        zone = self._zones.get(origin)
        grant = self._keyring.grant(message)
        if zone is None:
            reply.set_rcode(dns.rcode.NOTAUTH)
        elif self.drop:
            pass  # nobody will see the reply, and a server that never answers has not changed anything either
        elif grant is None or not grant.may_update(origin):
            reply.set_rcode(dns.rcode.REFUSED)
        else:
            try:
                zone.publish(apply_update(origin, zone.newest, message), lag=self.lag)
            except UpdateError as error:
                reply.set_rcode(error.rcode)
        return reply


def _fit(reply: dns.message.Message, request: dns.message.Message, size: int) -> bytes:
    """The reply for UDP: empty with TC when it is too large (RFC 2181 section 9)."""
    try:
        return reply.to_wire(max_size=size)
    except dns.exception.TooBig:
        short = dns.message.make_response(request, our_payload=_MAX_UDP)
        short.flags |= reply.flags & dns.flags.AA | dns.flags.TC
        short.set_rcode(reply.rcode())
        return short.to_wire(max_size=size)


def _plain_text(text: str) -> str:
    return "".join(text[1:-1].split('" "')) if text.startswith('"') else text
