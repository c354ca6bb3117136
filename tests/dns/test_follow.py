"""What following names has in common for challenges and for CAA: servers that were silent, and CNAMEs of wildcards."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from ci_acme import dnswire
from ci_acme.clock import SystemClock
from ci_acme.dns.authority import Authority, Hint
from ci_acme.dns.follow import Follower
from ci_acme.dns.zones import Directory
from ci_acme.errors import CiAcmeError
from ci_acme.model.names import challenge_name
from ci_acme.ports import Clock
from tests.dns.rig import engine, entry
from tests.dns.servers import Bind, Stub

pytestmark = pytest.mark.servers


class Known(Directory):
    """One zone, its servers in the order that is given."""

    def __init__(self, authority: Authority) -> None:
        super().__init__([], SystemClock())
        self._authority_of_all = authority

    def lookup(
        self, starts: Mapping[str, Hint | None], clock: Clock | None = None
    ) -> dict[str, Authority | CiAcmeError]:
        return dict.fromkeys(starts, self._authority_of_all)


@pytest.mark.parametrize("rtype", [dnswire.TXT, dnswire.CAA])
def test_a_server_that_was_silent_is_asked_last(
    make_bind: Callable[..., Bind], make_stub: Callable[..., Stub], rtype: int
) -> None:
    bind = make_bind({"ci.test": ("a CNAME b", "b CNAME c", "c A 192.0.2.1")}).start()
    asked: set[str] = set()
    mute = make_stub(lambda wire, tcp: asked.add(dnswire.read_name(wire, 12)[0]))
    directory = Known(Authority("ci.test", (mute.server, bind.server)))
    follower = Follower(directory, rtype, lambda _: ["ci.test"], SystemClock())
    for name in ("a.ci.test", "d.ci.test"):
        assert follower.follow([name])[name].answer is not None
    assert asked == {"a.ci.test"}


def test_a_wildcard_cname_hides_no_caa_record_of_its_target(make_bind: Callable[..., Bind]) -> None:
    """Only a challenge's record takes the wildcard's place; a CA asks for CAA while the CNAME is there."""
    bind = make_bind({"ci.test": ("*.preview CNAME lb.cloud.test.",)})
    bind.zone("cloud.test", 'lb CAA 0 issue "cloud.example"')
    made = engine([entry(bind.start().server)], [bind.server])
    name = "app.preview.ci.test"
    relevant = made.caa([name], SystemClock())[name]
    assert (relevant.owner, [*map(str, relevant.records)]) == ("lb.cloud.test", ['0 issue "cloud.example"'])
    target = made.locate([challenge_name(name)], SystemClock())[challenge_name(name)]
    assert not isinstance(target, CiAcmeError)
    assert target.name == challenge_name(name)
    assert target.note is not None
