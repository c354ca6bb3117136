"""`check`, and CNAMEs that come from wildcards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ci_acme.dns.question import Server
from ci_acme.errors import (
    ConfigError,
    DnsCredentialsError,
    DnsDelegationError,
    DnsRefused,
    DnsUnreachable,
    ZoneNotFound,
)
from tests.dns.rig import Run, challenges, engine, entry
from tests.dns.servers import Bind
from tests.servers.ports import free_port

pytestmark = pytest.mark.servers


def test_a_good_config_has_no_error_and_nothing_is_written(bind: Bind) -> None:
    (finding, other) = engine([entry(bind.server)], [bind.server]).check(["a.ci.test", "*.a.ci.test", "ci.test"])
    assert finding.error is None
    assert finding.warnings == ()
    assert finding.name == "_acme-challenge.a.ci.test"
    assert (finding.zone, finding.entry, finding.where) == ("ci.test", "ci.test", str(bind.server))
    assert finding.servers == (str(bind.server),)
    assert other.name == "_acme-challenge.ci.test"
    assert bind.txt("_acme-challenge.a.ci.test") == {}


def test_each_name_has_its_own_finding(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind()
    records = ("_acme-challenge.away CNAME x.elsewhere.", "_acme-challenge.loop CNAME _acme-challenge.loop")
    bind.zone("ci.test", *records, policy="grant {key} name _acme-challenge.good.ci.test. TXT;")
    bind.zone("elsewhere")
    bind.start()
    names = ["good.ci.test", "bad.ci.test", "away.ci.test", "loop.ci.test"]
    good, bad, away, loop = engine([entry(bind.server)], [bind.server]).check(names)
    assert good.error is None
    assert isinstance(bad.error, DnsRefused)
    assert "_acme-challenge.bad.ci.test" in bad.error.fix
    assert isinstance(away.error, ZoneNotFound)
    assert away.chain == ("_acme-challenge.away.ci.test", "x.elsewhere")
    assert isinstance(loop.error, DnsDelegationError)


def test_wrong_credentials_and_dead_servers_are_findings(bind: Bind) -> None:
    dead = Server("127.0.0.1", free_port())
    (finding,) = engine([entry(bind.server, tsig_secret="env:OTHER")], [bind.server, dead]).check(["a.ci.test"])
    assert isinstance(finding.error, DnsCredentialsError)
    assert finding.warnings == (f"name server {dead} the port is refused",)
    (finding,) = engine([entry(dead)], [dead]).check(["a.ci.test"])
    assert isinstance(finding.error, DnsUnreachable)


def test_unusable_name_servers_are_a_config_error(bind: Bind) -> None:
    with pytest.raises(ConfigError):
        engine([entry(bind.server)], ["127.0.0.1:port"]).check(["a.ci.test"])


@pytest.mark.parametrize("hosted", [False, True], ids=["parent", "child"])
def test_a_wildcard_cname_is_no_delegation(make_bind: Callable[..., Bind], *, hosted: bool) -> None:
    """`*.preview CNAME load-balancer` leads out of all zones: the value goes to the name itself."""
    bind = make_bind()
    if hosted:
        bind.zone("ci.test", "preview NS ns1.preview", "ns1.preview A 127.0.0.1")
        bind.zone("preview.ci.test", "* CNAME lb.cloud.test.")
    else:
        bind.zone("ci.test", "*.preview CNAME lb.cloud.test.")
    bind.zone("cloud.test", "lb A 192.0.2.1")
    bind.start()
    run = Run(engine([entry(bind.server)], [bind.server]))
    run.solve(challenges("pr-7.preview.ci.test", "*.pr-7.preview.ci.test"))
    assert len(bind.txt("_acme-challenge.pr-7.preview.ci.test")) == 2
    zone = "preview.ci.test" if hosted else "ci.test"
    assert any(f"in {zone} (" in step for step in run.steps)
    assert "wildcard CNAME to lb.cloud.test" in run.warnings[0]
    run.solver.cleanup()
    assert bind.txt("_acme-challenge.pr-7.preview.ci.test") == {}


def test_a_wildcard_that_leads_nowhere(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind({"ci.test": ("*.preview CNAME lb.cloud.test.",)}).start()
    run = Run(engine([entry(bind.server)], [bind.server]))
    run.solve(challenges("pr-7.preview.ci.test"))
    assert len(run.ready) == 1
    run.solver.cleanup()


def test_a_wildcard_into_a_served_zone_is_followed(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind({"ci.test": ("*.preview CNAME all.acme.test.",), "acme.test": ()}).start()
    run = Run(engine([entry(bind.server), entry(bind.server, "acme.test")], [bind.server]))
    run.solve(challenges("pr-7.preview.ci.test"))
    assert len(bind.txt("all.acme.test")) == 1
    run.solver.cleanup()
