"""`rfc2136`: challenge records by DNS UPDATE (RFC 2136), signed with TSIG (RFC 8945).

Single records are added and deleted, never RRsets, so that the values of others stand whatever happens at the same
time. Sending a change twice is the same as sending it once: a reply that was lost is asked for again.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from typing import Final

from ci_acme import dnswire
from ci_acme.dnswire import Message, Soa, WireError
from ci_acme.errors import ConfigError, DnsCredentialsError, DnsUnreachable, SecretError, ZoneNotFound
from ci_acme.model.names import is_suffix, split_host_port
from ci_acme.model.secret import Secret
from ci_acme.ports import Concurrency, Deadline, DnsCapabilities, Placement, ProviderContext, TxtValue, Zone
from ci_acme_providers.rfc2136 import tsig
from ci_acme_providers.rfc2136.config import Rfc2136Settings
from ci_acme_providers.rfc2136.exchange import NoAnswer, exchange
from ci_acme_providers.rfc2136.faults import rcode_fault, tsig_fault
from ci_acme_providers.rfc2136.update import Change, messages

_PORT: Final = 53
_SECONDS: Final = 10.0
"""How long one server may take for a change: signing a big zone is slow."""
_QUERY_SECONDS: Final = 4.0
_PROOF_SECONDS: Final = 2.0
_PAUSES: Final = (0.25, 1.0)
"""Seconds before a change that failed with SERVFAIL is tried again."""


_OF_THE_SERVER: Final = (dnswire.SERVFAIL, dnswire.NOTIMP)
"""Answers that say nothing of the key, signed or not: the server is in trouble, or takes no UPDATE."""


class Rfc2136:
    """`DnsProvider` over DNS UPDATE."""

    def __init__(self, settings: Rfc2136Settings, context: ProviderContext) -> None:
        texts = settings.server
        self.nameservers: Final = texts
        """The servers as the config has them: where the zones can be asked for if no delegation leads to them."""
        self._servers = [(text, *split_host_port(text, _PORT)) for text in texts]
        self._settings = settings
        self._context = context
        self._key: tsig.Key | None = None

    @property
    def capabilities(self) -> DnsCapabilities:
        return DnsCapabilities(concurrency=Concurrency.PER_VALUE)

    @property
    def where(self) -> str:
        return ", ".join(self.nameservers)

    def zones_for(self, name: str, apex: str | None, *, deadline: Deadline) -> Sequence[Zone]:
        zone = dnswire.canonical(self._settings.zone_id or apex or self._walk(name, deadline))
        try:
            dnswire.encode_name(zone)
        except WireError as error:
            raise ConfigError(
                f"zone_id is not the name of a zone: {error}", fix="give the zone's apex, or none"
            ) from None
        return [Zone(id=zone, name=zone)]

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        changes = [Change(v.name, v.value.encode(), ttl if v.ttl is None else v.ttl) for v in values]
        self._change(zone.name, changes, deadline)
        return [Placement(zone, value.name, value.value, created=True) for value in values]

    def wait_in_sync(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        return None

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        zones: dict[str, list[Change]] = {}
        for placement in placements:
            if placement.created:
                change = Change(placement.name, placement.value.encode(), None)
                zones.setdefault(placement.zone.name, []).append(change)
        for zone, changes in zones.items():
            self._change(zone, changes, deadline)

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """Deletes values that cannot be there: the server judges key and policy for each name and changes nothing."""
        nothing = f"ci-acme-check-{os.urandom(16).hex()}".encode()
        self._change(zone.name, [Change(name, nothing, None) for name in names], deadline)

    def prove_credentials(self, zone: Zone, *, deadline: Deadline) -> None:
        """A signed question for the zone's SOA: a server that does not take the key says so before it looks.

        Whether the key may change anything is not told. A server that answers no such question, or without a
        signature, is not held against the key.
        """
        key = self._read_key()
        if key is None:
            return
        now = int(self._context.clock.now().timestamp())
        query = bytes(dnswire.query(zone.name, dnswire.SOA, recurse=False, edns=False))
        wire, mac = tsig.sign(tsig.fresh_id().to_bytes(2, "big") + query[2:], key, now)
        try:
            server, raw, reply = self._exchange(wire, _PROOF_SECONDS, deadline.within(_PROOF_SECONDS))
        except DnsUnreachable:
            return
        try:
            tsig.verify(raw, reply.tsig, key, mac, now)
        except tsig.TsigError as error:
            # NOTAUTH is no answer to a question but for its signature (RFC 8945 section 5.2); PowerDNS signs it not.
            if reply.rcode == dnswire.NOTAUTH or error.kind in {tsig.BADKEY, tsig.BADSIG, tsig.BADTIME}:
                asked = self._context.clock.now()
                raise tsig_fault(error, reply.rcode, key, server=server, zone=zone.name, now=asked) from None

    # --- changes

    def _change(self, zone: str, changes: Sequence[Change], deadline: Deadline) -> None:
        """Carry out changes in one zone, in one message. Raises `DnsError`s."""
        names = list(dict.fromkeys(change.name for change in changes))
        for message in messages(zone, changes):
            server, rcode = self._update(message, zone, deadline)
            for pause in _PAUSES:
                if rcode != dnswire.SERVFAIL or deadline.remaining() <= pause:
                    break
                deadline.clock.sleep(pause)
                server, rcode = self._update(message, zone, deadline)
            if rcode != dnswire.NOERROR:
                raise rcode_fault(rcode, self._key, server, zone, names)

    def _update(self, message: bytes, zone: str, deadline: Deadline) -> tuple[str, int]:
        """Send one UPDATE; the server that answered and its answer. Raises `DnsCredentialsError`."""
        key = self._read_key()
        now = self._context.clock.now()
        wire = tsig.fresh_id().to_bytes(2, "big") + message[2:]
        mac = b""
        if key is not None:
            wire, mac = tsig.sign(wire, key, int(now.timestamp()))
        server, raw, reply = self._exchange(wire, _SECONDS, deadline)
        if key is not None:
            try:
                tsig.verify(raw, reply.tsig, key, mac, int(self._context.clock.now().timestamp()))
            except tsig.TsigError as error:
                if not isinstance(error, tsig.Unsigned) or reply.rcode not in _OF_THE_SERVER:
                    raise tsig_fault(error, reply.rcode, key, server=server, zone=zone, now=now) from None
        return server, reply.rcode

    def _exchange(self, wire: bytes, seconds: float, deadline: Deadline) -> tuple[str, bytes, Message]:
        """Ask the servers in turn until one answers, which is asked first from then on. Raises `DnsUnreachable`."""
        reasons: list[str] = []
        servers = self._servers
        for index, server in enumerate(servers):
            text, host, port = server
            share = min(seconds, deadline.remaining() / (len(servers) - index))
            try:
                raw = exchange(wire, host, port, seconds=share, deadline=deadline)
                reply = dnswire.parse(raw)
            except NoAnswer as error:
                reasons.append(f"{text}: {error}")
            except WireError as error:
                reasons.append(f"{text}: broken answer ({error})")
            else:
                self._servers = [server, *(other for other in servers if other != server)]
                return text, raw, reply
        raise DnsUnreachable(
            f"the DNS server for updates does not answer: {'; '.join(reasons)}",
            fix="check server of the DNS entry, and that this machine may reach it over UDP and TCP",
            details={"servers": list(self.nameservers)},
        )

    # --- the zone

    def _walk(self, name: str, deadline: Deadline) -> str:
        """The zone that holds `name` at our own server: the SOA that it shows for the name or for one above."""
        above = name
        while above != ".":
            wire = bytes(dnswire.query(above, dnswire.SOA, recurse=False))
            wire = tsig.fresh_id().to_bytes(2, "big") + wire[2:]
            reply = self._exchange(wire, _QUERY_SECONDS, deadline)[2]
            if reply.aa:
                for record in (*reply.answers, *reply.authority):
                    if isinstance(record.data, Soa) and is_suffix(record.name, name):
                        return record.name
            above = dnswire.parent_of(above)
        raise ZoneNotFound(
            f"the DNS server {self.where} holds no zone for {name}",
            fix="correct server of the DNS entry, or name the zone there as zone_id",
            details={"name": name, "servers": list(self.nameservers)},
        )

    # --- the key

    def _read_key(self) -> tsig.Key | None:
        """The TSIG key, read when it is first needed. Raises `SecretError`."""
        settings = self._settings
        if settings.tsig_name is None or settings.tsig_secret is None:
            return None
        if self._key is None:
            text = self._context.secrets(settings.tsig_secret).reveal()
            try:
                secret = base64.b64decode(b"".join(text.split()), validate=True)
            except binascii.Error:
                raise _bad_secret(settings.tsig_secret, "is not base64") from None
            if not secret:
                raise _bad_secret(settings.tsig_secret, "is empty")
            if settings.algorithm not in tsig.ALGORITHMS:
                known = ", ".join(tsig.ALGORITHMS)
                raise DnsCredentialsError(f"no TSIG algorithm {settings.algorithm}", fix=f"use one of: {known}")
            self._key = tsig.Key(dnswire.canonical(settings.tsig_name), Secret(secret), settings.algorithm)
        return self._key


def _bad_secret(reference: str, what: str) -> SecretError:
    return SecretError(
        f"the TSIG secret at {reference} {what}",
        fix="store the secret as the server's configuration has it: the base64 text, without quotes",
        details={"reference": reference},
    )
