"""Providers that cannot keep writers apart are written to in turn."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ci_acme.clock import SystemClock
from ci_acme.dns import solver as solver_module
from ci_acme.dns.turns import release_in_turn
from ci_acme.errors import DnsRefused, LeaseHeld
from ci_acme.model.events import Event, Step, Warned
from ci_acme.ports import Challenge, Deadline, Placement, Zone
from ci_acme.runner.leftovers import replay
from ci_acme.runner.services import Services
from ci_acme.state.journal import open_items
from ci_acme_providers.rfc2136.adapter import Rfc2136
from tests.dns.crude import Blind, Opaque, Ring, Small, services
from tests.dns.rig import Run, challenges, engine, entry, provider
from tests.dns.servers import Bind, update
from tests.structure.project import ROOT

pytestmark = pytest.mark.servers
NAME = "_acme-challenge.app.ci.test"
PROCESSES = 8


@pytest.fixture(autouse=True)
def fresh_ring() -> None:
    Ring.slots.clear()


class Party:
    """Runs that share a state, in this process."""

    def __init__(self, port: int, state: Path, stack: ExitStack) -> None:
        self._port = port
        self._state = state
        self._stack = stack
        self.events: list[Event] = []

    def run(self, kind: type[Rfc2136], name: str, **environ: str) -> Services:
        made = services(kind, self._port, self._state, name, self.events.append, **environ)
        self._stack.callback(made.close)
        return made

    @property
    def warnings(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Warned)]

    @property
    def steps(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Step)]


@pytest.fixture
def party(bind: Bind, tmp_path: Path) -> Iterator[Party]:
    with ExitStack() as stack:
        yield Party(bind.port, tmp_path / "state.db", stack)


def solve(made: Services, *values: str) -> object:
    solver = made.solver("web")
    some = [Challenge("app.ci.test", NAME, value) for value in values]
    solver.solve(some, lambda _: None, deadline=Deadline(made.clock, 30))
    return solver


def test_without_a_lease_blind_writers_lose_values(bind: Bind) -> None:
    """The control of the next test: this provider is as bad as it says."""
    barrier = threading.Barrier(PROCESSES)
    plain = provider(bind.server)

    def write(number: int) -> None:
        blind = Blind(plain._settings, plain._context)
        barrier.wait()
        blind.rewrite(NAME, lambda there: [*there, f"value-{number}"])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(PROCESSES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bind.txt(NAME)) < PROCESSES


def test_eight_processes_at_a_blind_provider_keep_every_value(bind: Bind, tmp_path: Path) -> None:
    update(bind.server, "ci.test", add=(f'{NAME} 60 TXT "foreign"',))
    values = [f"value-{number}" for number in range(PROCESSES)]
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.dns.crude", str(bind.port), str(tmp_path / "state.db"), value],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for value in values
        ]
        for process in running:
            stack.callback(process.kill)
        assert [process.stdout.readline() for process in running if process.stdout] == ["ready\n"] * PROCESSES
        assert set(bind.txt(NAME)) == {"foreign", *values}
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go on\n")
            process.stdin.flush()
        assert [process.stdout.readline() for process in running if process.stdout] == ["gone\n"] * PROCESSES
        assert [process.wait(20) for process in running] == [0] * PROCESSES
    assert set(bind.txt(NAME)) == {"foreign"}


def test_certificates_of_one_run_take_turns_as_well(bind: Bind, party: Party) -> None:
    made = party.run(Blind, "one")
    solvers: list[object] = []
    threads = [
        threading.Thread(target=lambda value=value: solvers.append(solve(made, value)))  # type: ignore[misc]
        for value in ("a", "b", "c")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(bind.txt(NAME)) == {"a", "b", "c"}
    removing = [threading.Thread(target=solver.cleanup) for solver in solvers]  # type: ignore[attr-defined]
    for thread in removing:
        thread.start()
    for thread in removing:
        thread.join()
    assert bind.txt(NAME) == {}
    assert party.warnings == []


def test_a_ring_holds_one_order_at_a_time(bind: Bind, party: Party) -> None:
    """Each of three runs needs both slots; no value goes before its run has let go."""
    seen: list[set[str]] = []

    def work(number: int) -> None:
        made = party.run(Ring, f"run-{number}")
        values = {f"{number}-apex", f"{number}-wild"}
        solver = solve(made, *sorted(values))
        time.sleep(0.15)
        seen.append(set(bind.txt(NAME)) ^ values)
        solver.cleanup()  # type: ignore[attr-defined]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [set()] * 3
    assert any(f"{NAME} at 127.0.0.1:{bind.port} is being worked on by run" in step for step in party.steps)


def test_more_values_than_slots_are_refused_before_anything_is_written(bind: Bind, party: Party) -> None:
    with pytest.raises(DnsRefused, match="holds at most 2 values") as caught:
        solve(party.run(Ring, "one"), "a", "b", "c")
    assert "CNAME" in caught.value.fix
    assert caught.value.details["wanted"] == 3
    assert bind.txt(NAME) == {}


def test_values_of_others_count_where_nothing_is_evicted(bind: Bind) -> None:
    update(bind.server, "ci.test", add=(f'{NAME} 60 TXT "x"', f'{NAME} 60 TXT "y"'))
    plain = entry(bind.server)
    small = Small(plain.settings, plain.make_provider()._context)  # type: ignore[attr-defined]
    with pytest.raises(DnsRefused, match="beside 2 of others"):
        Run(engine([type(plain)(plain.settings, lambda: small)], [bind.server])).solve(challenges("app.ci.test"))


def test_a_hook_has_a_name_to_itself_until_the_value_is_gone(bind: Bind, party: Party) -> None:
    first = solve(party.run(Opaque, "one"), "a")
    second = party.run(Opaque, "two")
    waiting = threading.Thread(target=solve, args=(second, "b"))
    waiting.start()
    time.sleep(0.4)
    assert set(bind.txt(NAME)) == {"a"}
    elsewhere = party.run(Opaque, "three").solver("web")
    elsewhere.solve(challenges("other.ci.test"), lambda _: None, deadline=Deadline(SystemClock(), 20))
    elsewhere.cleanup()
    first.cleanup()  # type: ignore[attr-defined]
    waiting.join(20)
    assert set(bind.txt(NAME)) == {"b"}


def test_a_name_that_stays_held_is_an_error_that_says_by_whom(party: Party) -> None:
    solver = solve(party.run(Opaque, "one"), "a")
    late = party.run(Opaque, "two").solver("web")
    with pytest.raises(LeaseHeld, match="is held by run one"):
        late.solve([Challenge("app.ci.test", NAME, "b")], lambda _: None, deadline=Deadline(SystemClock(), 0.5))
    late.cleanup()
    solver.cleanup()  # type: ignore[attr-defined]


def test_a_state_that_others_do_not_share_is_told_once(party: Party) -> None:
    made = party.run(Blind, "one", CI="true")
    for value in ("a", "b"):
        solve(made, value).cleanup()  # type: ignore[attr-defined]
    (warning,) = party.warnings
    assert "only against runs that share this state" in warning
    assert "state.db" in warning


def test_check_says_that_writers_are_not_kept_apart(party: Party) -> None:
    (finding,) = party.run(Blind, "one").dns.check(["app.ci.test"])
    assert finding.error is None
    assert any("cannot keep writers apart" in warning for warning in finding.warnings)
    (finding,) = party.run(Rfc2136, "two").dns.check(["app.ci.test"])
    assert finding.warnings == ()


def test_providers_that_keep_writers_apart_need_no_lease(bind: Bind, party: Party) -> None:
    made = party.run(Rfc2136, "one", CI="true")
    made.lease = _no_lease  # type: ignore[method-assign]
    solve(made, "a").cleanup()  # type: ignore[attr-defined]
    assert party.warnings == []


def _no_lease(*_: object, **__: object) -> None:
    raise AssertionError("a lease was taken")


def test_what_cannot_be_removed_in_turn_is_left_to_the_next_run(
    bind: Bind, party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cleaning up has a few seconds: whoever holds the zone for longer leaves the value to the journal."""
    monkeypatch.setattr(solver_module, "CLEANUP_SECONDS", 0.4)
    made, other = party.run(Blind, "one"), party.run(Blind, "two")
    solver = solve(made, "a")
    where = f"127.0.0.1:{bind.port}"
    key = f'["dns", "{where}", "ci.test", "ci.test"]'
    with other.lease(key, "", what="the zone", deadline=Deadline(other.clock, 5)):
        solver.cleanup()  # type: ignore[attr-defined]
    assert any("left in ci.test" in warning for warning in party.warnings)
    assert set(bind.txt(NAME)) == {"a"}
    assert [item.value for item in open_items(other.state())] == ["a"]
    made.close()
    (leftover,) = replay(other)
    assert leftover.error is None
    assert bind.txt(NAME) == {}


def test_leftovers_are_removed_in_turn(bind: Bind) -> None:
    taken: list[str] = []

    @contextmanager
    def lease(key: str, certificate: str, *, what: str, deadline: Deadline) -> Generator[None]:
        taken.append(what)
        yield

    plain = provider(bind.server)
    zone = Zone("ci.test", "ci.test")
    placements = [Placement(zone, name, "x", created=True) for name in (NAME, NAME, "b.ci.test")]
    deadline = Deadline(SystemClock(), 10)
    for kind in (Blind, Opaque, Rfc2136):
        release_in_turn(kind(plain._settings, plain._context), placements, lease, deadline=deadline)
    where = str(bind.server)
    assert taken == [f"the zone ci.test at {where}", f"{NAME} at {where}", f"b.ci.test at {where}"]
    release_in_turn(plain, [], lease, deadline=deadline)
