"""The relevant CAA records of a name, at real servers and at servers that fail."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ci_acme import dnswire
from ci_acme.clock import SystemClock
from ci_acme.dns import ask as asking
from ci_acme.dns import zones
from ci_acme.dns.caa import RelevantCaa
from ci_acme.dns.engine import DnsEngine
from ci_acme.dns.question import Server
from ci_acme.errors import CaaUnanswered, DnssecBroken
from tests.dns.rig import engine, entry
from tests.dns.servers import Bind, Stub, checking_disabled, forward, negative, refuse
from tests.servers.ports import free_port

pytestmark = pytest.mark.servers
MakeBind = Callable[..., Bind]
MakeStub = Callable[..., Stub]


def find(made: DnsEngine, *names: str) -> list[RelevantCaa]:
    found = made.caa(names, SystemClock())
    return [found[name] for name in names]


def shown(relevant: RelevantCaa) -> tuple[str | None, list[str]]:
    assert relevant.error is None
    assert relevant.doubt is None
    return relevant.owner, sorted(map(str, relevant.records))


def at(bind: Bind | Stub, *zone_names: str) -> DnsEngine:
    return engine([entry(bind.server, name) for name in zone_names or ("ci.test",)], [bind.server])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", (0.1, 0.1, 0.2))


def test_the_nearest_record_set_counts(make_bind: MakeBind) -> None:
    bind = make_bind({"ci.test": ('@ CAA 0 issue "top.example"', '@ CAA 0 iodef "mailto:a@ci.test"')})
    bind.zone("ci.test", '@ CAA 0 issue "top.example"', '@ CAA 128 issue ";"', 'www CAA 0 issue "www.example"')
    bind.start()
    www, below, other, apex = find(at(bind), "www.ci.test", "a.www.ci.test", "b.c.ci.test", "ci.test")
    assert shown(www) == shown(below) == ("www.ci.test", ['0 issue "www.example"'])
    assert shown(other) == shown(apex) == ("ci.test", ['0 issue "top.example"', '128 issue ";"'])


def test_no_records_at_all(bind: Bind) -> None:
    (found,) = find(at(bind), "www.ci.test")
    assert shown(found) == (None, [])
    assert found.unseen == ()


def test_a_cname_is_followed_and_above_its_target_nobody_looks(make_bind: MakeBind) -> None:
    bind = make_bind()
    bind.zone("ci.test", '@ CAA 0 issue "ours.example"', "a CNAME with.cdn.test.", "b CNAME without.cdn.test.")
    bind.zone("cdn.test", '@ CAA 0 issue "cdn.example"', 'with CAA 0 issue "target.example"', "without A 192.0.2.1")
    bind.start()
    a, b, nowhere = find(at(bind, "ci.test", "cdn.test"), "a.ci.test", "b.ci.test", "c.b.ci.test")
    assert shown(a) == ("with.cdn.test", ['0 issue "target.example"'])
    assert shown(b) == shown(nowhere) == ("ci.test", ['0 issue "ours.example"'])


def test_a_dname_is_followed(make_bind: MakeBind) -> None:
    bind = make_bind()
    bind.zone("ci.test", "sub DNAME other.test.")
    bind.zone("other.test", 'www CAA 0 issue "other.example"')
    bind.start()
    (found,) = find(at(bind, "ci.test", "other.test"), "www.sub.ci.test")
    assert shown(found) == ("www.other.test", ['0 issue "other.example"'])


def test_cnames_in_a_circle_are_an_error_and_too_many_a_doubt(make_bind: MakeBind) -> None:
    """How many a resolver follows is its own choice."""
    many = tuple(f"c{number} CNAME c{number + 1}" for number in range(12))
    bind = make_bind({"ci.test": ("a CNAME b", "b CNAME a", *many)}).start()
    (found,) = find(at(bind), "c0.ci.test")
    assert found.error is None
    assert found.doubt is not None
    (found,) = find(at(bind), "a.ci.test")
    assert isinstance(found.error, CaaUnanswered)
    assert "a.ci.test -> b.ci.test -> a.ci.test" in found.error.message


def test_a_child_zone_and_its_parent_are_asked_each_for_itself(make_bind: MakeBind, make_stub: MakeStub) -> None:
    """The config knows the child zone only; the record stands in the parent, at another server."""
    port = free_port("127.0.0.2")
    parent = make_bind(port=port)
    parent.zone("ci.test", '@ CAA 0 issue "parent.example"', "pr NS ns1.pr", "ns1.pr A 127.0.0.2")
    child = make_bind({"pr.ci.test": ("ns1 A 127.0.0.2",)}).start()
    make_stub(lambda w, tcp: forward(w, child.server), address="127.0.0.2", port=port)
    resolver = make_bind()
    resolver.options = ["recursion yes;", "allow-recursion { any; };"]
    for zone, server in (("ci.test", parent), ("pr.ci.test", child)):
        resolver.raw_zone(zone, f"type forward; forward only; forwarders {{ 127.0.0.1 port {server.port}; }};")
    parent.start()
    made = engine([entry(child.server, "pr.ci.test")], [resolver.start().server], port=port)
    (found,) = find(made, "app.pr.ci.test")
    assert shown(found) == ("ci.test", ['0 issue "parent.example"'])
    assert not [line for line in resolver.queries() if "app.pr" in line], "a name that may not exist yet is not cached"


def test_what_the_configured_servers_do_not_serve_is_unseen(make_bind: MakeBind) -> None:
    deep = make_bind({"pr.ci.test": ()}).start()
    (found,) = find(at(deep, "pr.ci.test"), "app.pr.ci.test")
    assert shown(found) == (None, [])
    assert found.unseen == ("ci.test",)


def test_a_record_of_the_top_level_domain(make_bind: MakeBind) -> None:
    bind = make_bind({"ci.test": (), "test": ('@ CAA 0 issue "registry.example"',)}).start()
    (found,) = find(at(bind), "www.ci.test")
    assert shown(found) == ("test", ['0 issue "registry.example"'])


def test_a_hundred_names_and_eight_threads_ask_each_name_once(make_bind: MakeBind) -> None:
    bind = make_bind({"ci.test": ('@ CAA 0 issue "ca.example"',)}).start()
    made = at(bind)
    names = [f"n{number}.ci.test" for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: find(made, *names), range(8)))
    assert all(shown(one) == ("ci.test", ['0 issue "ca.example"']) for result in results for one in result)
    asked = [line for line in bind.queries() if line.endswith(" CAA")]
    assert sorted(asked) == sorted([f"{name} CAA" for name in [*names, "ci.test"]])


@pytest.mark.parametrize("rcode", [dnswire.SERVFAIL, dnswire.NOTIMP, dnswire.REFUSED])
def test_servers_that_fail_for_caa_are_an_error(bind: Bind, make_stub: MakeStub, rcode: int) -> None:
    stub = make_stub(lambda wire, tcp: refuse(wire, rcode, dnswire.CAA) or forward(wire, bind.server))
    (found,) = find(at(stub), "www.ci.test")
    assert isinstance(found.error, CaaUnanswered)
    assert f"{stub.server} answers {dnswire.rcode_name(rcode)}" in found.error.message
    assert "the name servers of ci.test fail for the CAA records of www.ci.test" in found.error.message


def test_one_server_of_two_that_fails_is_as_for_a_resolver(make_bind: MakeBind, make_stub: MakeStub) -> None:
    bind = make_bind({"ci.test": ('@ CAA 0 issue "ca.example"',)}).start()
    stub = make_stub(lambda wire, tcp: refuse(wire, dnswire.SERVFAIL, dnswire.CAA) or forward(wire, bind.server))
    (found,) = find(engine([entry(bind.server)], [stub.server, bind.server]), "www.ci.test")
    assert shown(found) == ("ci.test", ['0 issue "ca.example"'])


@pytest.mark.usefixtures("impatient")
def test_silence_for_caa_alone_is_an_error(bind: Bind, make_stub: MakeStub) -> None:
    """The old firewall that drops what it does not know: a CA waits in vain as well."""
    stub = make_stub(lambda w, tcp: None if refuse(w, 0, dnswire.CAA) else forward(w, bind.server))
    (found,) = find(at(stub), "www.ci.test")
    assert isinstance(found.error, CaaUnanswered)
    assert "they do answer for SOA" in found.error.message


@pytest.mark.usefixtures("impatient")
def test_servers_out_of_reach_are_a_doubt(make_stub: MakeStub, bind: Bind) -> None:
    """The zone was found, and then its servers say nothing at all: the CA may reach them."""
    only_ns = make_stub(lambda w, tcp: forward(w, bind.server) if refuse(w, 0, dnswire.NS) else None)
    (found,) = find(at(only_ns), "www.ci.test")
    assert found.error is None
    assert found.doubt is not None
    assert str(only_ns.server) in found.doubt.message


def test_no_server_at_all_is_a_doubt() -> None:
    dead = Server("127.0.0.1", free_port())
    (found,) = find(engine([entry(dead)], [dead]), "www.ci.test")
    assert found.error is None
    assert found.doubt is not None
    assert f"{dead} the port is refused" in found.doubt.message


def test_a_record_that_cannot_be_read_is_an_error(bind: Bind, make_stub: MakeStub) -> None:
    def answer(wire: bytes, _: bool) -> bytes:
        reply = refuse(wire, dnswire.NOERROR, dnswire.CAA)
        if reply is None:
            return forward(wire, bind.server)
        record = dnswire.pack_record(b"\xc0\x0c", dnswire.CAA, 1, 60, b"\0\x05iss-e;")
        return reply[:2] + b"\x84\0" + b"\0\1\0\1" + bytes(4) + reply[12:] + record

    (found,) = find(at(make_stub(answer)), "www.ci.test")
    assert isinstance(found.error, CaaUnanswered)
    assert "www.ci.test cannot be read" in found.error.message


# --- DNSSEC


def test_bogus_is_told_from_failing(bind: Bind, make_stub: MakeStub) -> None:
    """A validating resolver refuses everything in the zone, and answers with CD=1."""
    bogus = make_stub(lambda w, tcp: forward(w, bind.server) if checking_disabled(w) else refuse(w, dnswire.SERVFAIL))
    (found,) = find(engine([entry(bind.server)], [bogus.server]), "www.ci.test")
    assert isinstance(found.error, DnssecBroken)
    assert "DNSSEC of ci.test is broken" in found.error.message
    (found,) = find(engine([], [bogus.server]), "www.ci.test")  # no provider that could tell its servers
    assert isinstance(found.error, DnssecBroken)
    failing = make_stub(lambda w, tcp: refuse(w, dnswire.SERVFAIL))
    (found,) = find(engine([entry(bind.server)], [failing.server]), "www.ci.test")
    assert shown(found) == (None, []), "a resolver that knows nothing; the provider's own servers answer"
    (found,) = find(engine([], [failing.server]), "www.ci.test")
    assert found.error is None
    assert found.doubt is not None


def test_a_passing_failure_is_not_called_bogus(bind: Bind, make_stub: MakeStub) -> None:
    count = itertools.count()

    def answer(wire: bytes, _: bool) -> bytes | None:
        return refuse(wire, dnswire.SERVFAIL) if next(count) < 2 else negative(wire, "test.")

    (found,) = find(engine([entry(bind.server)], [make_stub(answer).server]), "www.ci.test")
    assert shown(found) == (None, [])


@pytest.mark.parametrize("expired", [False, True])
def test_a_signed_zone_and_one_with_expired_signatures(
    make_bind: MakeBind, monkeypatch: pytest.MonkeyPatch, *, expired: bool
) -> None:
    """A real validating resolver, with the key of the zone as its trust anchor."""
    authoritative = make_bind()
    authoritative.zone("ci.test", '@ CAA 0 issue "ca.example"', policy="")
    anchor = sign(authoritative.directory, "ci.test", expired=expired)
    authoritative.raw_zone("ci.test", 'type primary; file "ci.test.zone.signed";')
    authoritative.start()
    resolver = make_bind()
    resolver.validating = anchor
    resolver.options = ["recursion yes;", "allow-recursion { any; };"]
    forwarders = f"forwarders {{ 127.0.0.1 port {authoritative.port}; }};"
    resolver.raw_zone("ci.test", f"type forward; forward only; {forwarders}")
    resolver.start()
    monkeypatch.setattr(zones, "system_resolvers", lambda: [resolver.server])
    made = engine([entry(authoritative.server)], [], port=authoritative.port)
    (found,) = find(made, "www.ci.test")
    if expired:
        assert isinstance(found.error, DnssecBroken)
        assert found.error.details == {"zone": "ci.test", "resolver": str(resolver.server)}
    else:
        assert shown(found) == ("ci.test", ['0 issue "ca.example"'])


def sign(directory: Path, zone: str, *, expired: bool) -> str:
    """Sign a zone file; returns the trust anchor for a resolver's config."""
    key = subprocess.run(
        ["dnssec-keygen", "-q", "-K", str(directory), "-a", "ECDSAP256SHA256", "-f", "KSK", zone],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    public = (directory / f"{key}.key").read_text().splitlines()[-1].split(None, 6)
    times = ["-s", "20200101000000", "-e", "20200201000000"] if expired else []
    command = [
        "dnssec-signzone",
        "-q",
        "-P",
        "-z",
        "-S",
        "-K",
        str(directory),
        "-d",
        str(directory),
        *times,
        "-o",
        zone,
    ]
    subprocess.run([*command, str(directory / f"{zone}.zone")], check=True, capture_output=True, cwd=directory)
    return f'{zone}. static-key {public[3]} {public[4]} {public[5]} "{public[6].replace(" ", "")}";'
