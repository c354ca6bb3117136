"""How the CA looks at the world: TXT lookups over UDP, TCP when truncated, CNAMEs followed by asking again."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.TXT import TXT

from ci_acme.sandbox.jose import b64url
from ci_acme.sandbox.problems import Problem

_TRIES: Final = 3
_TIMEOUT: Final = 1.5
_MAX_CNAMES: Final = 10


def challenge_owner(kind: str, name: str, account_url: str) -> str:
    """Where the TXT record belongs: RFC 8555 section 8.4, or draft-ietf-acme-dns-account-label."""
    if kind == "dns-01":
        return f"_acme-challenge.{name}"
    digest = hashlib.sha256(account_url.encode()).digest()[:10]
    return f"_{base64.b32encode(digest).decode('ascii').lower()}._acme-challenge.{name}"


def check_txt(server: tuple[str, int], owner: str, token: str, thumbprint: str) -> None:
    """Raises `Problem` (``dns`` or ``unauthorized``) unless the key authorization's digest is among the TXT values."""
    wanted = b64url(hashlib.sha256(f"{token}.{thumbprint}".encode()).digest())
    found = lookup_txt(server, owner)
    if not found:
        raise Problem("unauthorized", f"no TXT record found at {owner}")
    if wanted not in found:
        raise Problem("unauthorized", f"none of the {len(found)} TXT values at {owner} is the expected one: {found}")


def lookup_txt(server: tuple[str, int], owner: str) -> list[str]:
    """The TXT values at `owner` or at the end of its CNAME chain; empty when there are none. Raises `Problem`."""
    name = dns.name.from_text(owner)
    for _ in range(_MAX_CNAMES):
        reply = _ask(server, name)
        target, values = _read(reply, name)
        if values:
            return values
        if target == name:
            _refuse_missing(reply, name)
            return []
        name = target
    raise Problem("dns", f"the CNAME chain of {owner} has more than {_MAX_CNAMES} links")


def _refuse_missing(reply: dns.message.Message, name: dns.name.Name) -> None:
    if reply.rcode() == dns.rcode.NXDOMAIN:
        raise Problem("dns", f"NXDOMAIN looking up TXT for {name.to_text(omit_final_dot=True)}")


def _ask(server: tuple[str, int], name: dns.name.Name) -> dns.message.Message:
    """One reply with an answer or a clean no."""
    reason = ""
    for _ in range(_TRIES):
        query = dns.message.make_query(name, dns.rdatatype.TXT, use_edns=0, payload=1232)
        try:
            reply, _ = dns.query.udp_with_fallback(query, server[0], timeout=_TIMEOUT, port=server[1])
        except (dns.exception.DNSException, OSError, EOFError) as error:
            reason = f"{type(error).__name__} from {server[0]} port {server[1]}"
            continue
        if reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return reply
        reason = dns.rcode.to_text(reply.rcode())
    raise Problem("dns", f"looking up TXT for {name.to_text(omit_final_dot=True)}: {reason}")


def _read(reply: dns.message.Message, name: dns.name.Name) -> tuple[dns.name.Name, list[str]]:
    """Follow the CNAMEs within one reply: where it ends, and the TXT values there. Raises `Problem` for a loop."""
    seen: set[dns.name.Name] = set()
    for _ in range(len(reply.answer) + 1):
        if name in seen:
            raise Problem("dns", f"the CNAME at {name.to_text(omit_final_dot=True)} leads back to itself")
        seen.add(name)
        rrset = next((rrset for rrset in reply.answer if rrset.name == name), None)
        if rrset is None:
            break
        record = next(iter(rrset))
        if isinstance(record, TXT):
            return name, [_joined(rdata) for rdata in rrset if isinstance(rdata, TXT)]
        if not isinstance(record, CNAME):
            break
        name = record.target
    return name, []


def _joined(record: TXT) -> str:
    return b"".join(record.strings).decode("ascii", "replace")
