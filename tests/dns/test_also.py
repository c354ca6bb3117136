"""Two BINDs that are both primary for one zone: a value is written to both, seen at both, and removed from both."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_acme.clock import SystemClock
from ci_acme.config.load import load_text
from ci_acme.dns import zones as zones_module
from ci_acme.dns.engine import DnsEngine, DnsEntry
from ci_acme.errors import DnsCredentialsError, DnsPropagationTimeout, DnsRefused, NotAvailable
from ci_acme.ports import Deadline, TxtValue, Zone
from ci_acme.runner.leftovers import replay
from ci_acme.runner.services import Services
from ci_acme.state import journal as state
from tests.dns.rig import Journal, Run, challenges, engine, entry
from tests.dns.servers import OTHER_SECRET, SECRET, Bind, Stub, forward, update

pytestmark = pytest.mark.servers
NAME = "_acme-challenge.app.ci.test"


@pytest.fixture
def pair(make_bind: Callable[..., Bind]) -> tuple[Bind, Bind]:
    """Primaries that are each other's NS, each with a key of its own."""
    hosts = ("ns1 A 127.0.0.1", "ns2 A 127.0.0.2")
    first = make_bind()
    first.zone("ci.test", *hosts, ns=("ns1", "ns2"))
    second = make_bind()
    second.zone("ci.test", *hosts, ns=("ns1", "ns2"), key="other")
    return first.start(), second.start()


def dual(pair: tuple[Bind, Bind], **settings: object) -> DnsEntry:
    first, second = pair
    main = entry(first.server, **settings)
    other = entry(second.server, tsig_name="other", tsig_secret="env:OTHER")
    return DnsEntry(main.settings, main.make_provider, (other,))


def made(pair: tuple[Bind, Bind], journal: Journal | None = None, **settings: object) -> DnsEngine:
    return engine([dual(pair, **settings)], [one.server for one in pair], journal=journal)


def test_a_value_is_at_both_and_gone_from_both(pair: tuple[Bind, Bind]) -> None:
    journal = Journal()
    run = Run(made(pair, journal))
    wanted = challenges("app.ci.test", "*.app.ci.test")
    run.solve(wanted)
    values = {one.value for one in wanted}
    assert [set(one.txt(NAME)) for one in pair] == [values, values]
    assert sorted(one.identifier for one in run.ready) == ["*.app.ci.test", "app.ci.test"]
    assert {key[0] for key in journal.open} == {"ci.test", "ci.test#1"}
    assert run.solver.changes == 2
    assert len(run.steps) == 2
    run.solver.cleanup()
    assert [one.txt(NAME) for one in pair] == [{}, {}]
    assert journal.open == {}
    assert run.warnings == []


def test_through_the_delegation(
    pair: tuple[Bind, Bind], make_stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ns2 is at an address of its own, where the second is reached."""
    make_stub(lambda wire, tcp: forward(wire, pair[1].server), address="127.0.0.2", port=pair[0].port)
    monkeypatch.setattr(zones_module, "system_resolvers", lambda: [pair[0].server])
    run = Run(engine([dual(pair)], [], port=pair[0].port))
    run.solve(challenges("app.ci.test"))
    assert [len(one.txt(NAME)) for one in pair] == [1, 1]
    run.solver.cleanup()
    assert [one.txt(NAME) for one in pair] == [{}, {}]


def test_no_challenge_is_answered_before_the_second_has_it(pair: tuple[Bind, Bind]) -> None:
    """The first is done while the second still writes."""
    from ci_acme_providers.rfc2136.adapter import Rfc2136

    gate = threading.Event()
    entries = dual(pair)
    slow = entries.also[0].make_provider()

    def ensure(zone: object, values: object, *, ttl: int, deadline: object) -> object:
        assert gate.wait(10)
        return Rfc2136.ensure(slow, zone, values, ttl=ttl, deadline=deadline)  # type: ignore[arg-type]

    slow.ensure = ensure  # type: ignore[method-assign, assignment]
    run = Run(engine([entries], [pair[0].server]))  # the second is not even asked
    thread = threading.Thread(target=run.solve, args=(challenges("app.ci.test"),))
    thread.start()
    while not pair[0].txt(NAME):
        run.clock.sleep(0.01)
    run.clock.sleep(0.2)
    assert run.ready == []
    gate.set()
    thread.join()
    assert len(run.ready) == 1
    run.solver.cleanup()


def test_what_one_had_before_is_left_there_and_removed_from_the_other(pair: tuple[Bind, Bind]) -> None:
    """Somebody's equal value at the first is adopted there; at the second it is ours."""
    first, second = pair
    (one,) = challenges("app.ci.test")
    update(first.server, "ci.test", add=(f'{NAME} 300 TXT "{one.value}"',))
    journal = Journal()
    run = Run(made(pair, journal))
    run.solve([one])
    assert set(second.txt(NAME)) == {one.value}
    assert {key[0] for key in journal.open} == {"ci.test#1"}
    run.solver.cleanup()
    assert first.txt(NAME) == {one.value: 300}
    assert second.txt(NAME) == {}


def test_each_keeps_the_ttl_of_its_own_neighbour(pair: tuple[Bind, Bind]) -> None:
    first, second = pair
    update(first.server, "ci.test", add=(f'{NAME} 900 TXT "foreign"',))
    run = Run(made(pair))
    run.solve(challenges("app.ci.test"))
    assert set(first.txt(NAME).values()) == {900}
    assert set(second.txt(NAME).values()) == {60}
    run.solver.cleanup()
    assert first.txt(NAME) == {"foreign": 900}
    assert second.txt(NAME) == {}


def test_one_that_refuses_fails_the_order_and_leaves_nothing(pair: tuple[Bind, Bind]) -> None:
    first, second = pair
    entries = dual(pair)
    broken = entry(second.server, tsig_name="other", tsig_secret="env:SECRET")
    run = Run(engine([DnsEntry(entries.settings, entries.make_provider, (broken,))], [first.server, second.server]))
    with pytest.raises(DnsCredentialsError):
        run.solve(challenges("app.ci.test"))
    run.solver.cleanup()
    assert [one.txt(NAME) for one in pair] == [{}, {}]


def test_one_server_that_never_shows_it_is_named(pair: tuple[Bind, Bind], make_stub: Callable[..., Stub]) -> None:
    first, second = pair
    snapshot = make_stub(lambda wire, tcp: forward(wire, second.server) if b"_acme" not in wire else _nothing(wire))
    run = Run(engine([dual(pair, propagation_timeout=0.6)], [first.server, snapshot.server]))
    with pytest.raises(DnsPropagationTimeout, match=str(snapshot.server)):
        run.solve(challenges("app.ci.test"))
    run.solver.cleanup()


def _nothing(wire: bytes) -> bytes:
    from ci_acme import dnswire

    size = dnswire.read_name(wire, 12)[1] + 4
    return wire[:2] + bytes((0x84, dnswire.NXDOMAIN, 0, 1, 0, 0, 0, 0, 0, 0)) + wire[12:size]


def test_check_looks_at_both(pair: tuple[Bind, Bind]) -> None:
    (good,) = made(pair).check(["app.ci.test"])
    assert good.error is None
    assert good.where == f"{pair[0].server} and {pair[1].server}"
    assert good.warnings == ()
    entries = dual(pair)
    refused = entry(pair[1].server)  # the key is not allowed there
    made_up = engine([DnsEntry(entries.settings, entries.make_provider, (refused,))], [one.server for one in pair])
    (bad,) = made_up.check(["app.ci.test"])
    assert isinstance(bad.error, DnsRefused)
    assert str(pair[1].server) in bad.error.message


def test_what_a_dead_run_left_at_the_second_is_removed_there(pair: tuple[Bind, Bind], tmp_path: Path) -> None:
    first, second = pair
    config = f"""\
version: 1
state: sqlite:{tmp_path / "state.db"}
authorities: {{ca: {{directory: letsencrypt}}}}
dns:
  - zone: ci.test
    provider: rfc2136
    server: "{first.server}"
    tsig_name: ci-acme
    tsig_secret: env:TSIG
    also:
      - {{provider: rfc2136, server: "{second.server}", tsig_name: other, tsig_secret: env:OTHER}}
certificates: {{web: {{names: [app.ci.test], stores: [{{provider: file, directory: certs}}]}}}}
"""
    clock = SystemClock()
    services = Services(
        load_text(config.encode(), "ci-acme.yaml", environ={}, environment=None).config,
        run_id="later",
        clock=clock,
        notify=lambda event: None,
        environ={"TSIG": SECRET, "OTHER": OTHER_SECRET},
        deadline=Deadline(clock, 60),
        may_register=False,
        force=False,
        dry_run=False,
    )
    for one, secret, key in ((first, SECRET, "ci-acme"), (second, OTHER_SECRET, "other")):
        update(one.server, "ci.test", add=(f'{NAME} 60 TXT "left"',), secret=secret, key=key)
    zone = Zone("ci.test", "ci.test")
    state.Journal(services.state(), "dead").intend("ci.test#1", zone, [TxtValue(NAME, "left")])
    state.Journal(services.state(), "dead").intend("ci.test#2", zone, [TxtValue(NAME, "left")])
    try:
        done = {item.item.entry: item.error for item in replay(services)}
    finally:
        services.close()
    assert done["ci.test#1"] is None
    assert isinstance(done["ci.test#2"], NotAvailable), "the config has one entry in also"
    assert set(first.txt(NAME)) == {"left"}
    assert second.txt(NAME) == {}
