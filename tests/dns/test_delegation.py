"""The zone that is written to, with real name servers and a provider that lists its zones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from ci_acme.dns import zones as zones_module
from ci_acme.dns.authority import Authority
from ci_acme.dns.delegation import inner_view
from ci_acme.dns.engine import DnsEngine, DnsEntry
from ci_acme.dns.question import Server
from ci_acme.errors import DnsDelegationError, DnsPropagationTimeout, ZoneNotFound
from ci_acme.ports import Deadline, Placement, TxtValue, Zone
from ci_acme_providers.rfc2136.adapter import Rfc2136
from tests.dns.doh import Doh
from tests.dns.rig import Run, challenges, engine, entry
from tests.dns.servers import Bind, Stub, forward

pytestmark = pytest.mark.servers


class Listing(Rfc2136):
    """A cloud: it lists zones with handles and the servers that it has given them, and writes by RFC 2136."""

    zones: Sequence[Zone] = ()
    listed = 0
    nameservers: Any = ()

    def zones_for(self, name: str, apex: str | None, *, deadline: Deadline) -> Sequence[Zone]:
        if self._settings.zone_id is not None:
            return [zone for zone in self.zones if zone.id == self._settings.zone_id]
        self.listed += 1
        return self.zones

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        return super().ensure(Zone(zone.name, zone.name), values, ttl=ttl, deadline=deadline)

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        moved = [Placement(Zone(p.zone.name, p.zone.name), p.name, p.value, p.created) for p in placements]
        super().release(moved, deadline=deadline)


def listing(bind: Bind, *zones: Zone, **settings: Any) -> DnsEntry:
    plain = entry(bind.server, **settings)
    made = Listing(plain.settings, plain.make_provider()._context)  # type: ignore[attr-defined]
    made.zones, made.nameservers = zones, ()
    return DnsEntry(plain.settings, lambda: made)


OURS, THEIRS = ("ns1.ci.test", "ns9.cloud.test"), ("ns7.cloud.test", "ns8.cloud.test")


def test_the_usual_path_costs_no_question_more(bind: Bind) -> None:
    """Neither one zone without name servers, nor one whose name servers came with the answer that found the apex."""
    for zone in (Zone("Z1", "ci.test"), Zone("Z1", "ci.test", OURS)):
        before = Counter(bind.queries())
        run = Run(engine([listing(bind, zone)], [bind.server]))
        run.solve(challenges("app.ci.test"))
        run.solver.cleanup()
        asked = Counter(bind.queries()) - before
        assert asked == {"ci.test NS": 1, "_acme-challenge.app.ci.test TXT": 2}
        assert run.warnings == []
        assert run.solver.propagation == "authoritative"


def test_the_zone_of_the_delegation_among_several_of_its_name(bind: Bind) -> None:
    zones = [
        Zone("Zdead", "ci.test", THEIRS),
        Zone("Zlive", "CI.test.", ("NS1.ci.test.",)),
        Zone("Zprivate", "ci.test", THEIRS, public=False),
        Zone("Zdeep", "app.ci.test", THEIRS),
    ]
    made = engine([listing(bind, *zones)], [bind.server])
    run = Run(made)
    run.solve(challenges("app.ci.test"))
    assert len(bind.txt("_acme-challenge.app.ci.test")) == 1
    assert {group.zone.id for group in run.solver._groups} == {"Zlive"}
    assert run.warnings == []
    run.solver.cleanup()
    (finding,) = made.check(["app.ci.test"])
    assert finding.error is None
    assert len(finding.warnings) == 3
    assert any("app.ci.test (Zdeep)" in warning for warning in finding.warnings)
    assert any("(Zprivate) as a private zone" in warning for warning in finding.warnings)


def test_a_zone_that_is_not_delegated_to_is_never_written(bind: Bind) -> None:
    made = engine([listing(bind, Zone("Z1", "ci.test", THEIRS))], [bind.server])
    with pytest.raises(DnsDelegationError) as caught:
        Run(made).solve(challenges("app.ci.test"))
    assert bind.updates() == 0
    assert caught.value.details["expected"] == list(THEIRS)
    assert caught.value.details["actual"] == ["ns1.ci.test"]
    (finding,) = made.check(["app.ci.test"])
    assert isinstance(finding.error, DnsDelegationError)
    assert "zone_id: Z1" in finding.error.fix


def test_white_label_name_servers_are_recognised(make_bind: Callable[..., Bind]) -> None:
    """The delegation has other names for the addresses of the servers that the provider has assigned."""
    bind = make_bind({"ci.test": (), "cloud.test": ("ns7 A 127.0.0.1", "ns8 A 127.0.0.1")}).start()
    run = Run(engine([listing(bind, Zone("Z1", "ci.test", THEIRS))], [bind.server]))
    run.solve(challenges("app.ci.test"))
    assert len(run.ready) == 1
    run.solver.cleanup()


def test_an_explicit_zone_is_written_and_told(bind: Bind) -> None:
    made = listing(bind, Zone("Z1", "ci.test", THEIRS), Zone("Z2", "ci.test", OURS), zone_id="Z1")
    run = Run(engine([made], [bind.server]))
    run.solve(challenges("app.ci.test", "*.app.ci.test", "b.ci.test"))
    (warning,) = run.warnings
    assert "zone_id names ci.test (Z1)" in warning
    assert made.make_provider().listed == 0  # type: ignore[attr-defined]
    run.solver.cleanup()


def test_a_sub_zone_elsewhere_is_told_before_anything_is_written(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind({"ci.test": ("sub NS ns1.sub", "ns1.sub A 127.0.0.1"), "sub.ci.test": ()}).start()
    made = engine([listing(bind, Zone("Z1", "ci.test", OURS))], [bind.server])
    with pytest.raises(DnsDelegationError, match=r"sub\.ci\.test, which is delegated, served by ns1\.sub\.ci\.test"):
        Run(made).solve(challenges("a.sub.ci.test"))
    assert bind.updates() == 0
    good, bad = made.check(["a.ci.test", "a.sub.ci.test"])
    assert good.error is None
    assert isinstance(bad.error, DnsDelegationError)


def test_a_private_zone(bind: Bind) -> None:
    private = Zone("P1", "ci.test", public=False)
    with pytest.raises(ZoneNotFound) as caught:
        Run(engine([listing(bind, private)], [bind.server])).solve(challenges("app.ci.test"))
    assert "private: true" in caught.value.fix
    run = Run(engine([listing(bind, private, Zone("Z1", "ci.test", OURS), private=True)], [bind.server]))
    run.solve(challenges("app.ci.test"))
    assert {group.zone.id for group in run.solver._groups} == {"P1"}
    run.solver.cleanup()


def test_zones_are_listed_once_for_a_hundred_names(bind: Bind) -> None:
    made = listing(bind, Zone("Z1", "ci.test", OURS))
    run = Run(engine([made], [bind.server]))
    run.solve(challenges(*[f"h{number}.ci.test" for number in range(100)]))
    assert made.make_provider().listed == 1  # type: ignore[attr-defined]
    run.solver.cleanup()


# --- split horizon


def other_view(make_bind: Callable[..., Bind], name: str = "inner") -> Bind:
    """A server with another zone of the same name."""
    bind = make_bind()
    bind.zone("ci.test", f"{name} A 127.0.0.1", ns=(name,), policy="")
    return bind.start()


def test_split_horizon_is_explained_when_a_record_does_not_appear(bind: Bind, make_bind: Callable[..., Bind]) -> None:
    inner = other_view(make_bind)
    made = engine([entry(bind.server, propagation_timeout=0.5)], [inner.server])
    run = Run(made)
    with pytest.raises(DnsPropagationTimeout) as caught:
        run.solve(challenges("app.ci.test"))
    error = caught.value
    assert f"split horizon: the provider's server {bind.server} has NS ns1.ci.test" in error.message
    assert f"{inner.server}, which this machine finds, has NS inner.ci.test" in error.message
    assert "resolver.nameservers" in error.fix
    assert error.details["split_horizon"]
    run.solver.cleanup()
    (finding,) = made.check(["app.ci.test"])
    assert any("split horizon" in warning for warning in finding.warnings)


def test_a_transfer_that_lags_is_no_split_horizon(bind: Bind, make_bind: Callable[..., Bind]) -> None:
    stale = make_bind({"ci.test": ()}).start()
    run = Run(engine([entry(bind.server, propagation_timeout=0.5)], [stale.server]))
    with pytest.raises(DnsPropagationTimeout, match="the transfer from one to the other lags"):
        run.solve(challenges("app.ci.test"))
    run.solver.cleanup()


def test_servers_of_two_views_among_the_configured_ones(bind: Bind, make_bind: Callable[..., Bind]) -> None:
    inner = other_view(make_bind)
    (finding,) = engine([entry(bind.server)], [bind.server, inner.server]).check(["app.ci.test"])
    assert any("have different zones ci.test" in warning for warning in finding.warnings)


@pytest.fixture
def public(bind: Bind) -> Iterator[Doh]:
    with Doh(bind.server) as server:
        yield server


def test_a_resolver_over_https_shows_another_view(bind: Bind, public: Doh, make_bind: Callable[..., Bind]) -> None:
    inner = other_view(make_bind)
    made: DnsEngine = engine([entry(inner.server)], [inner.server, public.endpoint])
    try:
        (finding,) = made.check(["app.ci.test"])
    finally:
        made.close()
    assert any(f"the resolver {public.endpoint} has NS ns1.ci.test" in warning for warning in finding.warnings)


def test_private_addresses_of_a_delegation_are_another_view() -> None:
    inside = {Server("10.0.0.53"): "dc1.corp.example", Server("fd00::53"): "dc2.corp.example"}
    told = inner_view(Authority("corp.example", tuple(inside), inside))
    assert told is not None
    assert "dc1.corp.example (10.0.0.53:53)" in told
    public = {Server("192.88.99.1"): "ns1.example", Server("2a00:1450::1"): "ns2.example"}
    assert inner_view(Authority("corp.example", tuple(public), public)) is None
    assert inner_view(Authority("corp.example", (Server("10.0.0.53"),))) is None, "the config has named it"
    local = {Server("127.0.0.1"): "ns1.example"}
    assert inner_view(Authority("example", tuple(local), local)) is None


def test_the_internal_view_is_named_when_no_zone_is_delegated(
    bind: Bind, make_stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = make_stub(lambda wire, tcp: forward(wire, bind.server))
    monkeypatch.setattr(zones_module, "system_resolvers", lambda: [resolver.server])
    monkeypatch.setattr("ci_acme.dns.delegation._private", list)  # loopback stands for an internal network
    with pytest.raises(DnsDelegationError, match="split horizon") as caught:
        Run(engine([listing(bind, Zone("Z1", "ci.test", THEIRS))], [], port=bind.port)).solve(challenges("app.ci.test"))
    assert caught.value.fix.startswith("name public resolvers in resolver.nameservers")
