"""Waiting for every authoritative server: lagging, dead, lame and slow ones beside a good BIND."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from ci_acme import dnswire
from ci_acme.clock import SystemClock
from ci_acme.dns.authority import Authority
from ci_acme.dns.propagation import Propagation, Wanted
from ci_acme.dns.question import Server
from ci_acme.errors import DnsPropagationTimeout, DnsUnreachable, Interrupted
from ci_acme.model.events import Event, Waiting, Warned
from ci_acme.ports import Deadline
from tests.dns.rig import Run, challenges, engine, entry
from tests.dns.servers import Bind, Stub, forward
from tests.servers.ports import free_port

pytestmark = pytest.mark.servers
StubMaker = Callable[..., Stub]


def with_rcode(wire: bytes, rcode: int) -> bytes:
    """An empty answer with a code."""
    size = dnswire.read_name(wire, 12)[1] + 4
    return wire[:2] + bytes((0x84, rcode, 0, 1, 0, 0, 0, 0, 0, 0)) + wire[12:size]


class Lagging:
    """A secondary that shows what BIND has `seconds` after it was asked for a TXT record first; before, NXDOMAIN."""

    def __init__(self, bind: Bind, seconds: float) -> None:
        self._bind = bind
        self._seconds = seconds
        self._since: float | None = None
        self.shown: float | None = None

    def __call__(self, wire: bytes, tcp: bool) -> bytes | None:
        _, end = dnswire.read_name(wire, 12)
        if wire[end : end + 2] != b"\0\x10":
            return forward(wire, self._bind.server)
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since < self._seconds:
            return with_rcode(wire, dnswire.NXDOMAIN)
        self.shown = self.shown or now
        return forward(wire, self._bind.server)


def test_a_lagging_server_is_waited_for(bind: Bind, make_stub: StubMaker) -> None:
    lagging = Lagging(bind, 1.5)
    stub = make_stub(lagging)
    run = Run(engine([entry(bind.server)], [bind.server, stub.server]))
    run.solve(challenges("a.ci.test", "*.a.ci.test", "b.ci.test"))
    assert lagging.shown is not None
    assert len(run.ready) == 3
    assert {event.where for event in run.waits} == {str(stub.server)}
    assert len(run.waits) <= 2, "at most one a second"
    assert run.warnings == []
    run.solver.cleanup()


def test_a_lagging_server_is_not_flooded(bind: Bind, make_stub: StubMaker) -> None:
    stub = make_stub(Lagging(bind, 1.5))
    run = Run(engine([entry(bind.server)], [bind.server, stub.server]))
    names = [f"h{number}.ci.test" for number in range(100)]
    run.solve(challenges(*names))
    assert len(run.ready) == 100
    assert stub.asked < 100 + 100 + 120, "all once, a sample while nothing is there, all once more"
    run.solver.cleanup()


def test_names_are_ready_one_by_one(bind: Bind, make_stub: StubMaker) -> None:
    """A name whose servers all have it does not wait for another name."""
    late = threading.Event()

    def answer(wire: bytes, tcp: bool) -> bytes | None:
        if b"\x04late" in wire and not late.is_set() and bytes((0, 16)) in wire[-20:]:
            return with_rcode(wire, dnswire.NXDOMAIN)
        return forward(wire, bind.server)

    stub = make_stub(answer)
    run = Run(engine([entry(bind.server)], [bind.server, stub.server]))
    seen: list[str] = []

    def ready(some: object) -> None:
        seen.extend(one.identifier for one in some)  # type: ignore[attr-defined]
        late.set()

    run.solver.solve(challenges("early.ci.test", "late.ci.test"), ready, deadline=Deadline(run.clock, 30))
    assert seen == ["early.ci.test", "late.ci.test"]
    run.solver.cleanup()


def test_a_refused_port_is_left_out_at_once(bind: Bind) -> None:
    dead = Server("127.0.0.1", free_port())
    run = Run(engine([entry(bind.server)], [dead, bind.server]))
    started = time.monotonic()
    run.solve(challenges("a.ci.test"))
    assert time.monotonic() - started < 3.0, "well below the seconds that silence takes"
    assert run.warnings == [f"name server {dead} of ci.test is left out: the port is refused"]
    run.solver.cleanup()


def test_a_silent_server_is_left_out_after_a_few_seconds(bind: Bind, make_stub: StubMaker) -> None:
    silent = make_stub(lambda wire, tcp: None)
    run = Run(engine([entry(bind.server)], [silent.server, bind.server]))
    run.solve(challenges("a.ci.test", "b.ci.test"))
    assert len(run.ready) == 2
    (warning,) = run.warnings
    assert f"name server {silent.server} of ci.test is left out: no answer" in warning
    run.solver.cleanup()


def test_a_lame_server_is_left_out(bind: Bind, make_stub: StubMaker) -> None:
    lame = make_stub(lambda wire, tcp: with_rcode(wire, dnswire.REFUSED))
    events: list[Event] = []
    authority = Authority("ci.test", (bind.server, lame.server))
    run = Run(engine([entry(bind.server)], [bind.server]))
    (one,) = challenges("a.ci.test")
    run.solve([one])
    propagation = Propagation("cert", events.append, SystemClock())
    try:
        wanted = Wanted(one.name, frozenset({one.value.encode()}), authority)
        propagation.add([wanted], Deadline(SystemClock(), 20))
        while propagation.waiting:
            propagation.step(1.0)
    finally:
        propagation.close()
    text = f"name server {lame.server} of ci.test is left out: answers REFUSED"
    assert Warned("cert", text) in events
    assert any(isinstance(event, Waiting) for event in events)
    run.solver.cleanup()


def test_timeout_reports_every_server(bind: Bind, make_stub: StubMaker) -> None:
    behind = make_stub(Lagging(bind, 3600))
    dead = Server("127.0.0.1", free_port())
    made = engine([entry(bind.server, propagation_timeout=1.2)], [bind.server, behind.server, dead])
    run = Run(made)
    with pytest.raises(DnsPropagationTimeout) as caught:
        run.solve(challenges("a.ci.test", "b.ci.test"))
    error = caught.value
    states = {row["server"]: row["state"] for row in error.details["servers"]}
    assert states == {str(bind.server): "has it", str(behind.server): "lacks it", str(dead): "dead"}
    assert f"{bind.server} has it; {behind.server} does not have it; {dead} the port is refused" in error.message
    assert "and 1 more name" in error.message
    assert run.ready == []
    run.solver.cleanup()
    assert bind.txt("_acme-challenge.a.ci.test") == {}


def test_the_deadline_of_the_run_ends_the_wait(bind: Bind, make_stub: StubMaker) -> None:
    behind = make_stub(Lagging(bind, 3600))
    run = Run(engine([entry(bind.server)], [bind.server, behind.server]))
    with pytest.raises(DnsPropagationTimeout):
        run.solve(challenges("a.ci.test"), seconds=1.0)
    run.solver.cleanup()


def test_an_interrupt_ends_the_wait(bind: Bind, make_stub: StubMaker) -> None:
    behind = make_stub(Lagging(bind, 3600))
    clock = SystemClock()
    run = Run(engine([entry(bind.server, clock=clock)], [bind.server, behind.server], clock=clock))
    timer = threading.Timer(0.5, clock.stop)
    timer.start()
    with pytest.raises(Interrupted):
        run.solve(challenges("a.ci.test"))
    timer.join()
    run.solver.cleanup()
    assert bind.txt("_acme-challenge.a.ci.test") == {}


def test_all_dead_is_unreachable() -> None:
    servers = (Server("127.0.0.1", free_port()), Server("127.0.0.1", free_port()))
    propagation = Propagation("cert", lambda event: None, SystemClock())
    try:
        wanted = Wanted("a.ci.test", frozenset({b"value"}), Authority("ci.test", servers))
        propagation.add([wanted], Deadline(SystemClock(), 60))
        with pytest.raises(DnsUnreachable, match=r"no name server of ci\.test answers"):
            propagation.step(30.0)
    finally:
        propagation.close()


def test_two_zones_are_waited_for_side_by_side(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind({"ci.test": (), "second.test": ()}).start()
    run = Run(engine([entry(bind.server), entry(bind.server, "second.test")], [bind.server]))
    run.solve(challenges("a.ci.test", "a.second.test", "b.second.test"))
    assert len(run.ready) == 3
    assert bind.updates() == 2
    run.solver.cleanup()
    assert bind.updates() == 4
    assert bind.txt("_acme-challenge.b.second.test") == {}
