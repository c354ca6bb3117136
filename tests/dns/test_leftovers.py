"""What a killed run has left at a name, and a run that needs the same value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ci_acme.ports import Challenge, Deadline, TxtValue, Zone
from ci_acme.runner.leftovers import replay
from ci_acme.runner.services import Services
from ci_acme.state.journal import Journal, open_items
from ci_acme_providers.rfc2136.adapter import Rfc2136
from tests.dns.crude import Opaque, services
from tests.dns.servers import Bind, update

pytestmark = pytest.mark.servers
NAME = "_acme-challenge.app.ci.test"
ZONE = Zone("ci.test", "ci.test")
MakeRun = Callable[..., Services]


@pytest.fixture
def run(bind: Bind, tmp_path: Path) -> Iterator[MakeRun]:
    """Makes runs that share a state, in this process."""
    with ExitStack() as stack:

        def make(name: str, kind: type[Rfc2136] = Rfc2136) -> Services:
            made = services(kind, bind.port, tmp_path / "state.db", name, lambda event: None)
            stack.callback(made.close)
            return made

        yield make


def owners(made: Services) -> list[tuple[str, str]]:
    return [(item.run, item.value) for item in open_items(made.state())]


@pytest.mark.parametrize("kind", [Rfc2136, Opaque])
@pytest.mark.parametrize("placed", [True, False], ids=["placed", "meant"])
def test_a_value_that_is_needed_again_is_the_next_runs(
    bind: Bind, run: MakeRun, kind: type[Rfc2136], placed: bool
) -> None:
    other = run("other", kind)
    Journal(other.state(), "dead").intend("ci.test", ZONE, [TxtValue(NAME, "a"), TxtValue(NAME, "b")])
    if placed:
        update(bind.server, "ci.test", add=(f'{NAME} 60 TXT "a"', f'{NAME} 60 TXT "b"'))
    made = run("next", kind)
    solver = made.solver("web")
    shown: list[set[str]] = []

    def ready(_: object) -> None:
        if kind is not Opaque:  # else the name is held, and the other waits for its turn
            replay(other)
        shown.append(set(bind.txt(NAME)))

    solver.solve([Challenge("app.ci.test", NAME, "a")], ready, deadline=Deadline(made.clock, 30))
    assert shown == [{"a"} if kind is not Opaque else {"a", "b"} if placed else {"a"}]
    solver.cleanup()
    replay(other)
    assert bind.txt(NAME) == {}
    assert owners(made) == []


def test_a_value_of_nobody_is_left_where_it_is(bind: Bind, run: MakeRun) -> None:
    """Another account's pipeline, or a person: it was there before us."""
    update(bind.server, "ci.test", add=(f'{NAME} 60 TXT "a"',))
    made = run("next")
    solver = made.solver("web")
    solver.solve([Challenge("app.ci.test", NAME, "a")], lambda _: None, deadline=Deadline(made.clock, 30))
    solver.cleanup()
    assert set(bind.txt(NAME)) == {"a"}
    assert owners(made) == []
