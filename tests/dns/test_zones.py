"""Finding the authoritative servers: through resolvers, at configured servers, at the provider's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.clock import SystemClock
from ci_acme.dns import zones
from ci_acme.dns.addresses import parse_servers, system_resolvers
from ci_acme.dns.authority import Authority
from ci_acme.dns.follow import first_starts
from ci_acme.dns.question import Server
from ci_acme.dns.zones import Directory
from ci_acme.errors import ConfigError, ZoneNotFound
from ci_acme.model.names import is_suffix
from tests.dns.rig import Run, challenges, engine, entry
from tests.dns.servers import Bind, Stub, forward, negative
from tests.servers.ports import free_port

pytestmark = pytest.mark.servers


@pytest.fixture
def world(make_bind: Callable[..., Bind]) -> tuple[Bind, Bind]:
    """An authoritative server for `example.test` and a child zone, and a resolver that knows it."""
    port = free_port()
    authoritative = make_bind(port=port)
    authoritative.zone("example.test", "sub NS ns1.sub", "ns1.sub A 127.0.0.1", "www A 192.0.2.1")
    authoritative.zone("sub.example.test")
    authoritative.zone("test", "example NS ns1.example", "ns1.example A 127.0.0.1")
    resolver = make_bind()
    resolver.options = ["recursion yes;", "allow-recursion { any; };", "minimal-responses yes;"]
    resolver.raw_zone("test", f"type forward; forward only; forwarders {{ 127.0.0.1 port {port}; }};")
    return authoritative.start(), resolver.start()


def test_through_the_resolver_of_the_system(world: tuple[Bind, Bind], monkeypatch: pytest.MonkeyPatch) -> None:
    """NS and addresses come from the resolver, which never hears a challenge name; the zone's servers are asked."""
    authoritative, resolver = world
    monkeypatch.setattr(zones, "system_resolvers", lambda: [resolver.server])
    made = engine([entry(authoritative.server, "example.test")], [], port=authoritative.port)
    run = Run(made)
    run.prepare(["www.example.test", "a.sub.example.test"])
    run.solve(challenges("www.example.test", "a.sub.example.test"))
    assert len(run.ready) == 2
    assert len(authoritative.txt("_acme-challenge.a.sub.example.test")) == 1
    run.solver.cleanup()
    asked = resolver.queries()
    assert asked
    assert not [line for line in asked if "_acme-challenge" in line]
    assert "example.test NS" in asked


def test_through_a_configured_resolver(world: tuple[Bind, Bind]) -> None:
    authoritative, resolver = world
    made = engine([entry(authoritative.server, "example.test")], [resolver.server], port=authoritative.port)
    run = Run(made)
    run.solve(challenges("www.example.test"))
    assert len(run.ready) == 1
    run.solver.cleanup()
    assert not [line for line in resolver.queries() if "_acme-challenge" in line]


def test_an_entry_deeper_than_its_zone(world: tuple[Bind, Bind]) -> None:
    """An entry's zone need not be an apex."""
    authoritative, resolver = world
    made = engine([entry(authoritative.server, "preview.example.test")], [resolver.server], port=authoritative.port)
    run = Run(made)
    run.solve(challenges("pr-7.preview.example.test"))
    assert any("in example.test" in step for step in run.steps)
    run.solver.cleanup()


def test_servers_without_a_route_are_told_and_left(world: tuple[Bind, Bind], monkeypatch: pytest.MonkeyPatch) -> None:
    authoritative, resolver = world
    monkeypatch.setattr("ci_acme.dns.addresses._has_route", lambda server: ":" not in server.address)
    authoritative.stop()
    authoritative.zone("example.test", "ns1 A 127.0.0.1", "ns1 AAAA 2001:db8::53")
    authoritative.start()
    made = engine([entry(authoritative.server, "example.test")], [resolver.server], port=authoritative.port)
    run = Run(made)
    run.solve(challenges("www.example.test"))
    assert len(run.ready) == 1
    (warning,) = run.warnings
    assert f"[2001:db8::53]:{authoritative.port}" in warning
    run.solver.cleanup()


@pytest.mark.parametrize("resolver", ["refused", "ignorant"])
def test_a_zone_that_no_resolver_knows_is_asked_at_the_provider(
    bind: Bind, make_stub: Callable[..., Stub], resolver: str
) -> None:
    ignorant = make_stub(lambda wire, tcp: negative(wire, "."))
    nameserver = ignorant.server if resolver == "ignorant" else Server("127.0.0.1", free_port())
    run = Run(engine([entry(bind.server)], [nameserver]))
    run.solve(challenges("app.ci.test"))
    assert len(run.ready) == 1
    assert run.warnings == [f"the resolver tells no name servers of ci.test: only {bind.server} is checked"]
    run.solver.cleanup()


def test_configured_authoritative_servers_and_a_dead_one(bind: Bind, make_stub: Callable[..., Stub]) -> None:
    dead = Server("127.0.0.1", free_port())
    second = make_stub(lambda wire, tcp: forward(wire, bind.server))
    directory = Directory([str(bind.server), str(second.server), str(dead)], SystemClock())
    found = directory.lookup({"ci.test": None})["ci.test"]
    assert isinstance(found, Authority)
    assert found.apex == "ci.test"
    assert set(found.servers) == {bind.server, second.server, dead}


def test_lookups_are_shared(bind: Bind) -> None:
    directory = Directory([str(bind.server)], SystemClock())
    first = directory.lookup({"ci.test": None})
    assert directory.lookup({"ci.test": None}) == first
    assert bind.queries().count("ci.test NS") == 1


def test_a_zone_that_does_not_exist(bind: Bind, make_stub: Callable[..., Stub]) -> None:
    ignorant = make_stub(lambda wire, tcp: negative(wire, "."))
    run = Run(engine([entry(bind.server, "nowhere.invalid")], [ignorant.server]))
    with pytest.raises(ZoneNotFound, match=r"the zone nowhere\.invalid does not exist"):
        run.solve(challenges("app.nowhere.invalid"))


def test_what_is_no_address() -> None:
    with pytest.raises(ConfigError, match="port 53"):
        parse_servers("https://dns.example/dns-query")
    with pytest.raises(ConfigError):
        parse_servers("127.0.0.1:port")


def test_parse_servers() -> None:
    assert parse_servers("127.0.0.1") == [Server("127.0.0.1", 53)]
    assert parse_servers("127.0.0.1:5353") == [Server("127.0.0.1", 5353)]
    assert parse_servers("[::1]:5353") == [Server("::1", 5353)]
    assert Server("127.0.0.1", 5353) in parse_servers("localhost:5353")


def test_system_resolvers(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text(
        "# nameserver 192.0.2.9\nsearch x\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver junk\n"
    )
    assert system_resolvers(conf) == [Server("192.0.2.1"), Server("fe80::1%eth0")]
    assert system_resolvers(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("name", "known", "wanted"),
    [
        ("_acme-challenge.www.example.com", ["example.com"], "example.com"),
        ("_acme-challenge.www.example.com", [], "example.com"),
        ("_acme-challenge.www.example.com", ["com", "www.example.com"], "www.example.com"),
        ("_acme-challenge.www.example.com", ["_acme-challenge.www.example.com"], "example.com"),
        ("acme.example", [], "example"),
        ("example", [], "."),
    ],
)
def test_the_name_itself_is_never_a_start(name: str, known: list[str], wanted: str) -> None:
    starts = first_starts(name, known)
    assert starts[0] == wanted
    assert name not in starts


LABELS = st.lists(st.sampled_from(["a", "b", "ab", "test"]), min_size=1, max_size=5).map(".".join)


@given(LABELS, st.lists(LABELS, max_size=6))
def test_starts_are_above_the_name_and_the_entry_is_the_longest_suffix(name: str, known: list[str]) -> None:
    starts = first_starts(name, known)
    assert name not in starts
    assert len(set(starts)) == len(starts)
    assert all(is_suffix(start, name) for start in starts)
    made = engine([entry("127.0.0.1:1", zone) for zone in dict.fromkeys(known)], [])
    desk = made._desk_of(name)
    suffixes = [zone for zone in known if name == zone or name.endswith("." + zone)]
    assert (desk.zone if desk else None) == max(suffixes, key=len, default=None)
