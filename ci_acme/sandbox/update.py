"""RFC 2136: prerequisites and updates, as functions of a zone's contents."""

from __future__ import annotations

from typing import Final

import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.update

from ci_acme.sandbox.zone import Contents, Node, soa_serial

_ANY: Final = dns.rdatatype.ANY
_CNAME: Final = dns.rdatatype.CNAME
_PROTECTED: Final = (dns.rdatatype.SOA, dns.rdatatype.NS)
_META: Final = (_ANY, dns.rdatatype.AXFR, dns.rdatatype.IXFR, dns.rdatatype.OPT, dns.rdatatype.TSIG)


class UpdateError(Exception):
    """The update is not applied; the reply carries `rcode`."""

    def __init__(self, rcode: dns.rcode.Rcode) -> None:
        super().__init__(dns.rcode.to_text(rcode))
        self.rcode = rcode


def apply_update(origin: dns.name.Name, contents: Contents, message: dns.update.UpdateMessage) -> Contents:
    """The contents after `message`, all of it or nothing. Raises `UpdateError` (RFC 2136 sections 3.2 and 3.4)."""
    _check_prerequisites(origin, contents, message.prerequisite)
    for change in message.update:
        _prescan(origin, change)
    changed = dict(contents)
    for change in message.update:
        _apply(origin, changed, change)
    return changed


def describe(change: dns.rrset.RRset) -> str:
    """One change of an update message as a line for the log: ``add``, ``delete`` or ``delete-all``."""
    rdtype = dns.rdatatype.to_text(change.rdtype)
    values = " ".join(rdata.to_text() for rdata in change)
    name = change.name.to_text(omit_final_dot=True)
    verb = {None: "add", dns.rdataclass.NONE: "delete"}.get(change.deleting, "delete-all")
    return f"{verb} {name} {rdtype} {values}".rstrip()


def _check_prerequisites(origin: dns.name.Name, contents: Contents, prerequisites: list[dns.rrset.RRset]) -> None:
    exact: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], set[dns.rdata.Rdata]] = {}
    for wanted in prerequisites:
        _require_in_zone(origin, wanted.name)
        node = contents.get(wanted.name, {})
        present = bool(node) if wanted.rdtype == _ANY else wanted.rdtype in node
        if wanted.deleting == dns.rdataclass.ANY and not present:
            raise UpdateError(dns.rcode.NXDOMAIN if wanted.rdtype == _ANY else dns.rcode.NXRRSET)
        if wanted.deleting == dns.rdataclass.NONE and present:
            raise UpdateError(dns.rcode.YXDOMAIN if wanted.rdtype == _ANY else dns.rcode.YXRRSET)
        if wanted.deleting is None:
            exact.setdefault((wanted.name, wanted.rdtype), set()).update(wanted)
    for (name, rdtype), values in exact.items():
        if set(contents.get(name, {}).get(rdtype, ())) != values:
            raise UpdateError(dns.rcode.NXRRSET)


def _prescan(origin: dns.name.Name, change: dns.rrset.RRset) -> None:
    _require_in_zone(origin, change.name)
    if change.rdtype in _META and not (change.deleting == dns.rdataclass.ANY and change.rdtype == _ANY):
        raise UpdateError(dns.rcode.FORMERR)


def _require_in_zone(origin: dns.name.Name, name: dns.name.Name) -> None:
    if not name.is_subdomain(origin):
        raise UpdateError(dns.rcode.NOTZONE)


def _apply(origin: dns.name.Name, contents: Contents, change: dns.rrset.RRset) -> None:
    node = dict(contents.get(change.name, {}))
    if change.deleting is None:
        _add(origin, node, change)
    elif change.deleting == dns.rdataclass.ANY:
        _delete_sets(node, change, apex=change.name == origin)
    else:
        _delete_record(node, change, apex=change.name == origin)
    if node:
        contents[change.name] = node
    else:
        contents.pop(change.name, None)


def _add(origin: dns.name.Name, node: Node, change: dns.rrset.RRset) -> None:
    """Section 3.4.2.2: a CNAME stays alone, silently; an SOA only replaces one with a lower serial."""
    is_cname = change.rdtype == _CNAME
    if any((rdtype == _CNAME) != is_cname for rdtype in node):
        return
    if change.rdtype == dns.rdatatype.SOA:
        if change.name == origin and soa_serial(change) > soa_serial(node[change.rdtype]):
            node[change.rdtype] = change.to_rdataset()
        return
    old = [] if is_cname else [rdata for rdata in node.get(change.rdtype, ()) if rdata not in change]
    node[change.rdtype] = dns.rdataset.from_rdata_list(change.ttl, [*old, *change])


def _delete_sets(node: Node, change: dns.rrset.RRset, *, apex: bool) -> None:
    for rdtype in list(node):
        if change.rdtype in (rdtype, _ANY) and not (apex and rdtype in _PROTECTED):
            del node[rdtype]


def _delete_record(node: Node, change: dns.rrset.RRset, *, apex: bool) -> None:
    old = node.get(change.rdtype)
    if old is None or change.rdtype == dns.rdatatype.SOA:
        return
    left = [rdata for rdata in old if rdata not in change]
    if apex and change.rdtype == dns.rdatatype.NS and not left:
        return
    if left:
        node[change.rdtype] = dns.rdataset.from_rdata_list(old.ttl, left)
    else:
        del node[change.rdtype]
