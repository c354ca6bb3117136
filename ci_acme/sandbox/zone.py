"""Zones in memory, and what an authoritative server says about a name in them (RFC 1034 section 4.3.2, RFC 2308)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.SOA import SOA

from ci_acme.dataclass import dataclass, field

Node = dict[dns.rdatatype.RdataType, dns.rdataset.Rdataset]
Contents = dict[dns.name.Name, Node]

TTL: Final = 1
"""Of the records that the sandbox makes by itself, in seconds: nobody shall cache a sandbox."""
MAX_CNAMES: Final = 16

_SOA: Final = dns.rdatatype.SOA
_NS: Final = dns.rdatatype.NS
_CNAME: Final = dns.rdatatype.CNAME


class Zone:
    """One zone: the newest contents, and older versions as long as queries still see them."""

    def __init__(self, origin: dns.name.Name, text: str = "", *, now: Callable[[], float] = time.monotonic) -> None:
        self.origin = origin
        self._now = now
        self._versions: list[tuple[float, Contents]] = [(now(), initial_contents(origin, text))]

    @property
    def newest(self) -> Contents:
        """What an update works on."""
        return self._versions[-1][1]

    @property
    def visible(self) -> Contents:
        """What a query sees: the newest version whose time has come."""
        now = self._now()
        index = max((i for i, (at, _) in enumerate(self._versions) if at <= now), default=0)
        del self._versions[:index]
        return self._versions[0][1]

    @property
    def serial(self) -> int:
        """The SOA serial of the newest version."""
        return soa_serial(self.newest[self.origin][_SOA])

    def publish(self, contents: Contents, *, lag: float) -> None:
        """Make `contents` the newest version, seen by queries after `lag` seconds."""
        if contents != self.newest:
            self._versions.append((self._now() + lag, bump_serial(self.origin, contents)))


def initial_contents(origin: dns.name.Name, text: str) -> Contents:
    """The records of master file `text` (names relative to `origin`), with an SOA and an NS if it has none."""
    contents: Contents = {}
    if text.strip():
        from dns.zonefile import read_rrsets

        for rrset in read_rrsets(text, origin=origin, relativize=False, default_ttl=TTL, rdclass=dns.rdataclass.IN):
            contents.setdefault(rrset.name, {})[rrset.rdtype] = rrset.to_rdataset()
    apex = contents.setdefault(origin, {})
    server = dns.name.Name([b"ns"]).concatenate(origin)
    if _NS not in apex:
        apex[_NS] = make_rdataset("NS", server.to_text())
        contents.setdefault(server, {}).setdefault(dns.rdatatype.A, make_rdataset("A", "127.0.0.1"))
    if _SOA not in apex:
        apex[_SOA] = make_rdataset("SOA", f"{server} hostmaster.{origin} 1 60 60 600 {TTL}")
    return contents


def make_rdataset(rdtype: str, text: str, ttl: int = TTL) -> dns.rdataset.Rdataset:
    """A set of one record from its presentation form."""
    return dns.rdataset.from_text(dns.rdataclass.IN, rdtype, ttl, text)


def soa_serial(soa: dns.rdataset.Rdataset) -> int:
    """The serial in an SOA record set."""
    rdata = _first(soa)
    assert isinstance(rdata, SOA)
    return int(rdata.serial)


def _first(rdataset: dns.rdataset.Rdataset) -> dns.rdata.Rdata:
    record: dns.rdata.Rdata = next(iter(rdataset))
    return record


def bump_serial(origin: dns.name.Name, contents: Contents) -> Contents:
    """The same contents with the SOA serial one higher (RFC 1982 arithmetic)."""
    soa = contents[origin][_SOA]
    serial = (soa_serial(soa) + 1) & 0xFFFFFFFF or 1
    newer = dns.rdataset.from_rdata(soa.ttl, _first(soa).replace(serial=serial))
    return {**contents, origin: {**contents[origin], _SOA: newer}}


@dataclass
class Answer:
    """The sections of a reply."""

    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    authoritative: bool = True
    answer: list[dns.rrset.RRset] = field(default_factory=list[dns.rrset.RRset])
    authority: list[dns.rrset.RRset] = field(default_factory=list[dns.rrset.RRset])


def zone_of(zones: Mapping[dns.name.Name, Zone], name: dns.name.Name) -> Zone | None:
    """The zone that serves `name`: the one with the longest origin."""
    best = max((origin for origin in zones if name.is_subdomain(origin)), key=len, default=None)
    return None if best is None else zones[best]


def resolve(
    zones: Mapping[dns.name.Name, Zone], name: dns.name.Name, rdtype: dns.rdatatype.RdataType, *, cross_zone: bool
) -> Answer:
    """The answer to a query, following CNAMEs through the zones that are served here.

    With `cross_zone` off, a CNAME that leaves its zone ends the answer, as BIND does it.
    """
    reply = Answer()
    first = zone_of(zones, name)
    if first is None:
        return Answer(dns.rcode.REFUSED, authoritative=False)
    seen: set[dns.name.Name] = set()
    for _ in range(MAX_CNAMES):
        zone = zone_of(zones, name)
        if zone is None or name in seen or (zone is not first and not cross_zone):
            break
        seen.add(name)
        target = _answer_in_zone(reply, zone, name, rdtype)
        if target is None:
            break
        name = target
    return reply


def _answer_in_zone(
    reply: Answer, zone: Zone, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> dns.name.Name | None:
    """Add what `zone` knows about `name`; the target when the answer goes on behind a CNAME."""
    contents = zone.visible
    cut = _zone_cut(contents, zone.origin, name)
    if cut is not None:
        reply.authoritative = bool(reply.answer)
        reply.authority.append(_rrset(cut, contents[cut][_NS]))
        return None
    node = contents.get(name, {})
    if _CNAME in node and rdtype not in (_CNAME, dns.rdatatype.ANY):
        reply.answer.append(_rrset(name, node[_CNAME]))
        return dns.name.from_text(_first(node[_CNAME]).to_text())
    found = list(node.values()) if rdtype == dns.rdatatype.ANY else [node[rdtype]] if rdtype in node else []
    reply.answer.extend(_rrset(name, rdataset) for rdataset in found)
    if not found:
        reply.authority.append(_rrset(zone.origin, contents[zone.origin][_SOA]))
        exists = node or any(owner.is_subdomain(name) for owner in contents)
        reply.rcode = dns.rcode.NOERROR if exists else dns.rcode.NXDOMAIN
    return None


def _zone_cut(contents: Contents, origin: dns.name.Name, name: dns.name.Name) -> dns.name.Name | None:
    """The topmost delegation between `origin` and `name`, if there is one."""
    cut = None
    while name != origin:
        if _NS in contents.get(name, {}):
            cut = name
        name = name.parent()
    return cut


def _rrset(name: dns.name.Name, rdataset: dns.rdataset.Rdataset) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))
