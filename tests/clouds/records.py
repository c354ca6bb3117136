"""What the fakes of DNS providers with single records share: zones in memory that are served over real DNS."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dns.message
import dns.query
import dns.rdata
import dns.rdatatype
from dns.rdtypes.ANY.TXT import TXT

from ci_acme.sandbox.dns import SandboxDns
from tests.clouds.api import Call, FakeApi


@dataclass
class Rec:
    """One TXT record; `name` is absolute."""

    id: Any
    name: str
    value: str
    ttl: int | None
    note: str = ""


@dataclass
class FakeZone:
    """A zone of an account. `facts` are what the provider says of it beside its name."""

    id: Any
    name: str
    records: list[Rec] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def at(self, name: str) -> list[Rec]:
        return [record for record in self.records if record.name == name]


class RecordsApi(FakeApi):
    """A subclass answers as its provider does, and calls `serve` for names whose records name servers shall show."""

    first_id = 1000

    def __init__(self, server: SandboxDns) -> None:
        super().__init__()
        self.dns = server
        self.zones: list[FakeZone] = []
        self.ids = itertools.count(self.first_id)

    def new_id(self) -> Any:
        return next(self.ids)

    def zone(self, name: str) -> FakeZone:
        return next(zone for zone in self.zones if zone.name == name)

    def plant(self, name: str, value: str, ttl: int | None = 300, note: str = "") -> Rec:
        """A neighbour's record, served at once."""
        with self.lock:
            zone = max((one for one in self.zones if name.endswith(one.name)), key=lambda one: len(one.name))
            record = Rec(self.new_id(), name, value, ttl, note)
            zone.records.append(record)
            self.serve(zone, name)
        return record

    def serve(self, zone: FakeZone, name: str) -> None:
        """Show the records of a name over DNS; twins are one there."""
        records = zone.at(name)
        if records:
            values = list(dict.fromkeys(record.value for record in records))
            ttl = min(record.ttl or 300 for record in records)
            self.dns.add(name, "TXT", *(text_of(value) for value in values), ttl=ttl)
        else:
            self.dns.remove(name, "TXT")

    def served(self, name: str) -> Mapping[str, int]:
        """What the name server answers: values and TTLs."""
        query = dns.message.make_query(name, dns.rdatatype.TXT)
        reply = dns.query.tcp(query, self.dns.host, timeout=5, port=self.dns.port)
        return {
            b"".join(data.strings).decode(): rrset.ttl
            for rrset in reply.answer
            if rrset.rdtype == dns.rdatatype.TXT
            for data in rrset
        }

    def values(self, name: str) -> list[str]:
        """The values that the API has, twins included."""
        return sorted(record.value for zone in self.zones for record in zone.at(name))

    def sent(self, method: str, part: str = "") -> list[Call]:
        return [call for call in self.calls if call.method == method and part in call.path]


DELEGATED = ("ada.ns.cloudflare.com.", "ns1.digitalocean.com.", "hydrogen.ns.hetzner.com.", "dns18.ovh.net.")


@contextmanager
def open_dns(*zones: str) -> Iterator[SandboxDns]:
    """A server of the zones, whose NS are one of each provider's: the delegation leads to whichever is under test."""
    with SandboxDns(zones) as server:
        for zone in zones:
            server.add(zone, "NS", *DELEGATED)
        yield server


def text_of(value: str) -> str:
    """TXT data in quotes, as dnspython writes it."""
    data = value.encode()
    strings = [data[start : start + 255] for start in range(0, len(data), 255)] or [b""]
    return TXT("IN", "TXT", strings).to_text()


def value_of(text: str) -> str:
    """The value of TXT data in quotes, as dnspython reads it; anything else is taken as it is."""
    if not text.startswith('"'):
        return text
    data = dns.rdata.from_text("IN", "TXT", text)
    assert isinstance(data, TXT)
    return b"".join(data.strings).decode()


def page_of(call: Call, items: list[Any], default: int, most: int) -> tuple[list[Any], int, int, int]:
    """The items of the page that the call asks for; page, page size and the number of pages."""
    size = min(most, int(call.one("per_page") or default))
    page = int(call.one("page") or 1)
    pages = max(1, -(-len(items) // size))
    return items[(page - 1) * size : page * size], page, size, pages
