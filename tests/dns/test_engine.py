"""Solving challenges on real BIND servers."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ci_acme.clock import SystemClock
from ci_acme.dns.solver import CLEANUP_SECONDS
from ci_acme.errors import (
    DnsCredentialsError,
    DnsDelegationError,
    DnsRefused,
    DnsUnreachable,
    Interrupted,
    SecretError,
    ZoneNotFound,
)
from ci_acme.ports import Deadline, Placement, TxtValue, Zone
from ci_acme_providers.rfc2136.adapter import Rfc2136
from tests.dns.rig import Journal, Run, challenges, engine, entry, provider
from tests.dns.servers import Bind, Stub, forward, update
from tests.structure.project import ROOT

pytestmark = pytest.mark.servers


def test_apex_and_wildcard_are_two_values_at_one_name(bind: Bind) -> None:
    run = Run(engine([entry(bind.server)], [bind.server]))
    wanted = challenges("ci.test", "*.ci.test")
    run.prepare(["ci.test", "*.ci.test"])
    run.solve(wanted)
    assert set(bind.txt("_acme-challenge.ci.test")) == {one.value for one in wanted}
    assert sorted(one.identifier for one in run.ready) == ["*.ci.test", "ci.test"]
    assert run.steps == [f"published 2 TXT values in ci.test ({bind.server})"]
    run.solver.cleanup()
    assert bind.txt("_acme-challenge.ci.test") == {}
    assert run.warnings == []


def test_a_hundred_names_are_one_update_each_way(bind: Bind) -> None:
    journal = Journal()
    run = Run(engine([entry(bind.server)], [bind.server], journal=journal))
    names = [f"h{number}.ci.test" for number in range(100)]
    run.prepare(names)
    run.solve(challenges(*names))
    assert bind.updates() == 1
    assert sorted(one.identifier for one in run.ready) == sorted(names)
    assert len(journal.open) == 100
    run.solver.cleanup()
    assert bind.updates() == 2
    assert journal.open == {}
    assert all(bind.txt(f"_acme-challenge.{name}") == {} for name in names[::10])
    run.solver.cleanup()
    assert bind.updates() == 2, "a second cleanup has nothing to do"


def test_foreign_value_and_its_ttl_survive(bind: Bind) -> None:
    update(bind.server, "ci.test", add=('_acme-challenge.app.ci.test 900 TXT "foreign"',))
    run = Run(engine([entry(bind.server)], [bind.server]))
    run.solve(challenges("app.ci.test"))
    assert set(bind.txt("_acme-challenge.app.ci.test").values()) == {900}
    assert len(bind.txt("_acme-challenge.app.ci.test")) == 2
    run.solver.cleanup()
    assert bind.txt("_acme-challenge.app.ci.test") == {"foreign": 900}


def test_a_value_that_was_there_is_adopted_and_stays(bind: Bind) -> None:
    (one,) = challenges("app.ci.test")
    update(bind.server, "ci.test", add=(f'{one.name} 300 TXT "{one.value}"',))
    journal = Journal()
    run = Run(engine([entry(bind.server)], [bind.server], journal=journal))
    run.solve([one])
    assert journal.open == {}
    run.solver.cleanup()
    assert bind.txt(one.name) == {one.value: 300}


def test_cname_into_another_zone_with_another_key(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind({"ci.test": ("_acme-challenge.app CNAME app.acme.other.",)})
    bind.zone("acme.other", key="other")
    bind.start()
    entries = [entry(bind.server), entry(bind.server, "acme.other", tsig_name="other", tsig_secret="env:OTHER")]
    run = Run(engine(entries, [bind.server]))
    wanted = challenges("app.ci.test", "www.ci.test")
    run.solve(wanted)
    assert set(bind.txt("app.acme.other")) == {wanted[0].value}
    assert set(bind.txt("_acme-challenge.www.ci.test")) == {wanted[1].value}
    assert len(run.ready) == 2
    run.solver.cleanup()
    assert bind.txt("app.acme.other") == {}
    assert bind.txt("_acme-challenge.www.ci.test") == {}


def test_cname_loop_prints_the_chain(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind({"ci.test": ("_acme-challenge.app CNAME a.ci.test.", "a CNAME b.ci.test.", "b CNAME a.ci.test.")})
    run = Run(engine([entry(bind.start().server)], [bind.server]))
    with pytest.raises(DnsDelegationError) as caught:
        run.solve(challenges("app.ci.test"))
    assert "_acme-challenge.app.ci.test -> a.ci.test -> b.ci.test -> a.ci.test" in caught.value.message
    assert bind.updates() == 0


def test_eight_cnames_are_followed_and_nine_are_not(make_bind: Callable[..., Bind]) -> None:
    hops = tuple(f"h{number} CNAME h{number + 1}" for number in range(1, 8))
    bind = make_bind(
        {"ci.test": ("_acme-challenge.app CNAME h1", "_acme-challenge.long CNAME h0", "h0 CNAME h1", *hops)}
    )
    made = engine([entry(bind.start().server)], [bind.server])
    run = Run(made)
    run.solve(challenges("app.ci.test"))
    assert len(bind.txt("h8.ci.test")) == 1
    run.solver.cleanup()
    with pytest.raises(DnsDelegationError, match="more than 8"):
        Run(made).solve(challenges("long.ci.test"))


def test_cname_to_a_zone_that_nobody_serves(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind({"ci.test": ("_acme-challenge.app CNAME x.elsewhere.",)})
    bind.zone("elsewhere")
    run = Run(engine([entry(bind.start().server)], [bind.server]))
    with pytest.raises(ZoneNotFound) as caught:
        run.solve(challenges("app.ci.test"))
    assert "x.elsewhere" in caught.value.message
    assert "configured zones: ci.test" in caught.value.message
    assert caught.value.details["chain"] == ["_acme-challenge.app.ci.test", "x.elsewhere"]


def test_cname_to_a_name_that_does_not_exist(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind({"ci.test": ("_acme-challenge.app CNAME x.nowhere.invalid.",)})
    bind.zone("root", ns=("ns1",))
    bind.zones["root"] = bind.zones["root"].replace('zone "root"', 'zone "."')
    run = Run(engine([entry(bind.start().server)], [bind.server]))
    with pytest.raises(DnsDelegationError, match="lead nowhere"):
        run.solve(challenges("app.ci.test"))


def test_the_longest_zone_serves_and_a_child_zone_is_found(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind({"ci.test": ("sub NS ns1.sub", "ns1.sub A 127.0.0.1"), "sub.ci.test": ()}).start()
    run = Run(engine([entry(bind.server)], [bind.server]))
    run.solve(challenges("a.ci.test", "a.sub.ci.test"))
    assert any("in sub.ci.test" in step for step in run.steps)
    assert bind.updates() == 2
    run.solver.cleanup()
    assert bind.txt("_acme-challenge.a.sub.ci.test") == {}


def test_existing_txt_in_a_child_zone_does_not_hide_the_apex(make_bind: Callable[..., Bind]) -> None:
    child = ('_acme-challenge.a 600 TXT "old"',)
    bind = make_bind({"ci.test": ("sub NS ns1.sub", "ns1.sub A 127.0.0.1"), "sub.ci.test": child}).start()
    run = Run(engine([entry(bind.server)], [bind.server]))
    run.solve(challenges("a.sub.ci.test"))
    assert len(bind.txt("_acme-challenge.a.sub.ci.test")) == 2
    run.solver.cleanup()
    assert bind.txt("_acme-challenge.a.sub.ci.test") == {"old": 600}


def test_the_root_entry_serves_every_name(bind: Bind) -> None:
    run = Run(engine([entry(bind.server, ".")], [bind.server]))
    run.solve(challenges("app.ci.test"))
    assert run.ready
    run.solver.cleanup()


def test_wrong_secret(bind: Bind) -> None:
    journal = Journal()
    run = Run(engine([entry(bind.server, tsig_secret="env:OTHER")], [bind.server], journal=journal))
    with pytest.raises(DnsCredentialsError, match="another secret for the TSIG key ci-acme"):
        run.solve(challenges("app.ci.test"))
    assert journal.open == {}
    run.solver.cleanup()
    assert bind.updates() == 1, "nothing was written, so nothing is removed"
    assert run.warnings == []


def test_unknown_key_and_broken_secret(bind: Bind) -> None:
    with pytest.raises(DnsCredentialsError, match="BADKEY"):
        Run(engine([entry(bind.server, tsig_name="nobody")], [bind.server])).solve(challenges("app.ci.test"))
    with pytest.raises(SecretError) as caught:
        Run(engine([entry(bind.server, tsig_secret="env:BROKEN")], [bind.server])).solve(challenges("app.ci.test"))
    assert "env:BROKEN" in caught.value.message
    assert "~~~" not in str(caught.value.as_dict())


def test_refused_by_policy_names_the_line_to_add(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind()
    bind.zone("ci.test", policy="grant {key} name _acme-challenge.good.ci.test. TXT;")
    made = engine([entry(bind.start().server)], [bind.server])
    run = Run(made)
    with pytest.raises(DnsRefused) as caught:
        run.solve(challenges("bad.ci.test"))
    assert "grant ci-acme name _acme-challenge.bad.ci.test. TXT;" in caught.value.fix
    good = Run(made)
    good.solve(challenges("good.ci.test"))
    good.solver.cleanup()
    assert bind.txt("_acme-challenge.good.ci.test") == {}


def test_two_solvers_at_one_name(bind: Bind) -> None:
    made = engine([entry(bind.server)], [bind.server])
    first, second = Run(made, "one"), Run(made, "two")
    (one,) = challenges("app.ci.test")
    (two,) = challenges("*.app.ci.test")
    threads = [threading.Thread(target=run.solve, args=([each],)) for run, each in ((first, one), (second, two))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(bind.txt(one.name)) == {one.value, two.value}
    first.solver.cleanup()
    assert set(bind.txt(one.name)) == {two.value}
    second.solver.cleanup()
    assert bind.txt(one.name) == {}


def test_the_same_value_of_two_certificates_is_removed_by_the_last(bind: Bind) -> None:
    made = engine([entry(bind.server)], [bind.server])
    first, second = Run(made, "one"), Run(made, "two")
    wanted = challenges("app.ci.test")
    first.solve(wanted)
    second.solve(wanted)
    first.solver.cleanup()
    assert len(bind.txt(wanted[0].name)) == 1
    second.solver.cleanup()
    assert bind.txt(wanted[0].name) == {}


class Slow(Rfc2136):
    """Holds each change until it may go, so that others queue up."""

    gate: threading.Event
    entered: threading.Event

    def ensure(self, zone: Zone, values: Any, *, ttl: int, deadline: Deadline) -> Any:
        self.entered.set()
        assert self.gate.wait(10)
        return super().ensure(zone, values, ttl=ttl, deadline=deadline)


def test_certificates_share_an_update_while_one_is_in_flight(bind: Bind) -> None:
    plain = entry(bind.server)
    slow = Slow(plain.settings, plain.make_provider()._context)  # type: ignore[attr-defined]
    slow.gate, slow.entered = threading.Event(), threading.Event()
    made = engine([type(plain)(plain.settings, lambda: slow)], [bind.server])
    runs = [Run(made, f"cert-{number}") for number in range(20)]
    threads = [
        threading.Thread(target=run.solve, args=(challenges(f"h{number}.ci.test"),)) for number, run in enumerate(runs)
    ]
    threads[0].start()
    assert slow.entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    publisher = next(iter(made.desks[0]._publishers.values()))
    while len(publisher._ensures._queue) < 19:
        made.clock.sleep(0.005)
    slow.gate.set()
    for thread in threads:
        thread.join()
    assert bind.updates() == 2
    assert all(len(run.ready) == 1 for run in runs)
    for run in runs:
        run.solver.cleanup()


def test_a_guilty_certificate_does_not_take_others_with_it(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind()
    bind.zone(
        "ci.test",
        policy="grant {key} name _acme-challenge.h1.ci.test. TXT; grant {key} name _acme-challenge.h0.ci.test. TXT;",
    )
    plain = entry(bind.start().server)
    slow = Slow(plain.settings, plain.make_provider()._context)  # type: ignore[attr-defined]
    slow.gate, slow.entered = threading.Event(), threading.Event()
    made = engine([type(plain)(plain.settings, lambda: slow)], [bind.server])
    runs = [Run(made, f"cert-{number}") for number in range(3)]
    errors: list[BaseException] = []

    def solve(number: int) -> None:
        try:
            runs[number].solve(challenges(f"h{number}.ci.test"))
        except DnsRefused as error:
            errors.append(error)

    threads = [threading.Thread(target=solve, args=(number,)) for number in range(3)]
    threads[0].start()
    assert slow.entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    publisher = next(iter(made.desks[0]._publishers.values()))
    while len(publisher._ensures._queue) < 2:
        made.clock.sleep(0.005)
    slow.gate.set()
    for thread in threads:
        thread.join()
    assert [len(run.ready) for run in runs] == [1, 1, 0]
    assert len(errors) == 1
    assert "_acme-challenge.h2.ci.test" in str(errors[0])


class Losing(Rfc2136):
    """Commits, and loses the reply."""

    def ensure(self, zone: Zone, values: Any, *, ttl: int, deadline: Deadline) -> Any:
        super().ensure(zone, values, ttl=ttl, deadline=deadline)
        raise DnsUnreachable("the reply was lost")


def test_a_lost_reply_is_cleaned_up(bind: Bind) -> None:
    plain = entry(bind.server)
    losing = Losing(plain.settings, plain.make_provider()._context)  # type: ignore[attr-defined]
    journal = Journal()
    run = Run(engine([type(plain)(plain.settings, lambda: losing)], [bind.server], journal=journal))
    wanted = challenges("app.ci.test")
    with pytest.raises(DnsUnreachable):
        run.solve(wanted)
    assert len(bind.txt(wanted[0].name)) == 1
    assert list(journal.open.values()) == ["intended"]
    run.solver.cleanup()
    assert bind.txt(wanted[0].name) == {}
    assert journal.open == {}


def test_an_interrupt_leaves_nothing_behind(bind: Bind) -> None:
    clock = SystemClock()
    plain = entry(bind.server, clock=clock)
    losing = Losing(plain.settings, plain.make_provider()._context)  # type: ignore[attr-defined]
    losing.ensure = lambda zone, values, *, ttl, deadline: (  # type: ignore[method-assign]
        Rfc2136.ensure(losing, zone, values, ttl=ttl, deadline=deadline),
        clock.stop(),
    )[0]
    run = Run(engine([type(plain)(plain.settings, lambda: losing)], [bind.server], clock=clock))
    wanted = challenges("app.ci.test")
    with pytest.raises(Interrupted):
        run.solve(wanted)
    assert len(bind.txt(wanted[0].name)) == 1
    run.solver.cleanup()
    assert bind.txt(wanted[0].name) == {}
    assert run.warnings == []


def test_cleanup_that_fails_names_the_records_and_can_be_repeated(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind({"ci.test": ()}).start()
    journal = Journal()
    run = Run(engine([entry(bind.server)], [bind.server], journal=journal))
    wanted = challenges("app.ci.test")
    run.solve(wanted)
    bind.stop()
    run.solver.cleanup()
    (warning,) = run.warnings
    assert f'_acme-challenge.app.ci.test TXT "{wanted[0].value}"' in warning
    assert list(journal.open.values()) == ["placed"]
    bind.start()
    run.solver.cleanup()
    assert bind.txt(wanted[0].name) == {}
    assert journal.open == {}


def test_cleanup_ends_when_the_server_is_silent(bind: Bind, make_stub: Callable[..., Stub]) -> None:
    silent = threading.Event()
    stub = make_stub(lambda wire, tcp: None if silent.is_set() else forward(wire, bind.server))
    run = Run(engine([entry(stub.server)], [bind.server]))
    wanted = challenges("app.ci.test")
    run.solve(wanted)
    silent.set()
    within = Deadline(SystemClock(), 2 * CLEANUP_SECONDS)
    run.solver.cleanup()
    assert not within.expired
    assert f'_acme-challenge.app.ci.test TXT "{wanted[0].value}"' in run.warnings[0]


def test_the_second_certificate_uses_what_the_first_found(bind: Bind) -> None:
    made = engine([entry(bind.server)], [bind.server])
    for number in range(3):
        run = Run(made, f"cert-{number}")
        run.solve(challenges(f"h{number}.ci.test"))
        run.solver.cleanup()
    assert bind.queries().count("ci.test NS") == 1
    assert len([line for line in bind.queries() if line.endswith("TXT")]) == 6, "one to find and one to see, for each"


def test_cleanup_before_anything_and_after_prepare(bind: Bind) -> None:
    made = engine([entry(bind.server)], [bind.server])
    run = Run(made)
    run.solver.cleanup()
    run.prepare(["app.ci.test"])
    run.solver.cleanup()
    assert run.warnings == []
    assert bind.updates() == 0
    fresh = Run(made)
    fresh.solve(challenges("app.ci.test"))
    fresh.solver.cleanup()


def test_prepare_never_raises_and_solve_does() -> None:
    run = Run(engine([entry("127.0.0.1:1")], ["127.0.0.1:1"]))
    run.prepare(["app.ci.test"])
    with pytest.raises(DnsUnreachable, match="the port is refused"):
        run.solve(challenges("app.ci.test"))


def test_txt_beside_a_cname_is_not_reported_as_published(make_bind: Callable[..., Bind]) -> None:
    """BIND answers NOERROR and drops a TXT record beside a CNAME: only looking at the servers tells."""
    bind = make_bind({"ci.test": ("_acme-challenge.app CNAME target.ci.test.",)}).start()
    adapter = provider(bind.server)
    zone = Zone("ci.test", "ci.test")
    deadline = Deadline(SystemClock(), 10)
    adapter.ensure(zone, [TxtValue("_acme-challenge.app.ci.test", "value")], ttl=60, deadline=deadline)
    assert bind.txt("_acme-challenge.app.ci.test") == {}
    adapter.release([Placement(zone, "_acme-challenge.app.ci.test", "value", created=True)], deadline=deadline)


def test_the_usual_path_loads_nothing_that_it_does_not_need(bind: Bind) -> None:
    """One zone, servers that keep writers apart, port 53 open: no HTTP, no leases, no second look."""
    program = f"""
import sys
from tests.dns.rig import Run, challenges, engine, entry
run = Run(engine([entry("{bind.server}")], ["{bind.server}"]))
run.solve(challenges("app.ci.test"))
run.solver.cleanup()
spare = ("choice", "delegation", "dual", "horizon", "https", "ladder", "turns")
print([name for name in spare if f"ci_acme.dns.{{name}}" in sys.modules], "ci_acme.wire" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"
    assert bind.queries() == ["ci.test NS", *["_acme-challenge.app.ci.test TXT"] * 2]
