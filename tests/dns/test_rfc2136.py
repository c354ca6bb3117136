"""The rfc2136 adapter: servers, replies that are lost or foreign, zones, credentials."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from ci_acme import dnswire
from ci_acme.clock import SystemClock
from ci_acme.errors import (
    ConfigError,
    DnsCredentialsError,
    DnsError,
    DnsRefused,
    DnsUnreachable,
    Interrupted,
    SecretError,
    ZoneNotFound,
)
from ci_acme.ports import Clock, Deadline, DnsProvider, TxtValue, Zone
from tests.dns.rig import provider
from tests.dns.servers import Bind, Stub, forward
from tests.servers.ports import free_port

pytestmark = pytest.mark.servers
ZONE = Zone("ci.test", "ci.test")
NAME = "_acme-challenge.a.ci.test"
VALUES = [TxtValue(NAME, "value")]
StubMaker = Callable[..., Stub]


def deadline(seconds: float = 30, clock: Clock | None = None) -> Deadline:
    return Deadline(clock or SystemClock(), seconds)


def serial(bind: Bind) -> int:
    query = dnswire.query("ci.test", dnswire.SOA, recurse=False)
    soa = dnswire.parse(forward(bytes(query), bind.server)).answers[0].data
    assert isinstance(soa, dnswire.Soa)
    return soa.serial


def test_it_is_a_dns_provider(bind: Bind) -> None:
    adapter = provider(bind.server)
    assert isinstance(adapter, DnsProvider)
    assert adapter.where == str(bind.server)


def test_servers_are_tried_in_order(bind: Bind) -> None:
    refused = f"127.0.0.1:{free_port()}"
    adapter = provider([refused, "does-not-exist.invalid:53", f"localhost:{bind.port}"])
    adapter.ensure(ZONE, VALUES, ttl=60, deadline=deadline())
    assert bind.txt(NAME) == {"value": 60}


def test_no_server_answers() -> None:
    refused = f"127.0.0.1:{free_port()}"
    with pytest.raises(DnsUnreachable, match="port refused") as caught:
        provider([refused]).ensure(ZONE, VALUES, ttl=60, deadline=deadline())
    assert refused in caught.value.message


def test_a_reply_that_is_lost_is_asked_for_again(bind: Bind, make_stub: StubMaker) -> None:
    """UDP commits and is silent; TCP sends the same again, which is the same as once."""
    sent: list[bool] = []

    def answer(wire: bytes, tcp: bool) -> bytes | None:
        sent.append(tcp)
        reply = forward(wire, bind.server)
        return reply if tcp else None

    provider(make_stub(answer).server).ensure(ZONE, VALUES, ttl=60, deadline=deadline())
    assert sent == [False, True]
    assert bind.txt(NAME) == {"value": 60}


def test_truncated_and_foreign_udp_replies_lead_to_tcp(bind: Bind, make_stub: StubMaker) -> None:
    def answer(wire: bytes, tcp: bool) -> bytes | None:
        reply = forward(wire, bind.server)
        return reply if tcp else reply[:2] + bytes((reply[2] | 2,)) + reply[3:]

    provider(make_stub(answer).server).ensure(ZONE, VALUES, ttl=60, deadline=deadline())
    assert bind.txt(NAME) == {"value": 60}


def test_an_unsigned_success_is_not_believed(make_stub: StubMaker) -> None:
    stub = make_stub(lambda wire, tcp: wire[:2] + b"\xa8\0" + bytes(8))
    with pytest.raises(DnsCredentialsError, match="NOERROR without a signature"):
        provider(stub.server).ensure(ZONE, VALUES, ttl=60, deadline=deadline())


@pytest.mark.parametrize(
    ("rcode", "kind"),
    [
        (dnswire.NOTAUTH, DnsCredentialsError),
        (dnswire.REFUSED, DnsCredentialsError),
        (dnswire.FORMERR, DnsCredentialsError),
    ],
)
def test_unsigned_refusals_are_about_the_key(make_stub: StubMaker, rcode: int, kind: type[DnsError]) -> None:
    """PowerDNS and Knot do not sign what they say to a key that they do not know."""
    stub = make_stub(lambda wire, tcp: wire[:2] + bytes((0xA8, rcode)) + bytes(8))
    with pytest.raises(kind, match="TSIG key ci-acme"):
        provider(stub.server).ensure(ZONE, VALUES, ttl=60, deadline=deadline())


@pytest.mark.parametrize(
    ("rcode", "words"), [(dnswire.SERVFAIL, "failed to change"), (dnswire.NOTIMP, "does not take DNS UPDATE")]
)
def test_a_server_in_trouble_is_not_held_against_the_key(make_stub: StubMaker, rcode: int, words: str) -> None:
    """Nor is one that is no primary at all, as a resolver that was given by mistake."""
    stub = make_stub(lambda wire, tcp: wire[:2] + bytes((0xA8, rcode)) + bytes(8))
    with pytest.raises(DnsError, match=words) as caught:
        provider(stub.server).ensure(ZONE, VALUES, ttl=60, deadline=deadline())
    assert not isinstance(caught.value, DnsCredentialsError)


@pytest.mark.parametrize(
    ("rcode", "kind"),
    [(dnswire.REFUSED, DnsRefused), (dnswire.NOTIMP, DnsRefused), (dnswire.NOTZONE, ZoneNotFound), (2, DnsError)],
)
def test_refusals_without_a_key(make_stub: StubMaker, rcode: int, kind: type[DnsError]) -> None:
    stub = make_stub(lambda wire, tcp: wire[:2] + bytes((0xA8, rcode)) + bytes(8))
    adapter = provider(stub.server, tsig_name=None, tsig_secret=None)
    with pytest.raises(kind) as caught:
        adapter.ensure(ZONE, VALUES, ttl=60, deadline=deadline())
    assert type(caught.value) is kind
    assert caught.value.fix
    assert stub.asked == (3 if rcode == dnswire.SERVFAIL else 1)


def test_a_wrong_clock_is_told_with_both_times(bind: Bind) -> None:
    class Late(SystemClock):
        def now(self) -> datetime:
            return super().now() - timedelta(hours=2)

    with pytest.raises(DnsCredentialsError, match=r"BADTIME.* 7[12]\d\d s apart") as caught:
        provider(bind.server, clock=Late()).ensure(ZONE, VALUES, ttl=60, deadline=deadline())
    assert "clock" in caught.value.fix


def test_a_zone_that_the_server_does_not_hold(bind: Bind) -> None:
    with pytest.raises(ZoneNotFound, match="NOTAUTH"):
        provider(bind.server).ensure(Zone("x", "other.test"), VALUES, ttl=60, deadline=deadline())
    with pytest.raises(ZoneNotFound, match="holds no zone"):
        provider(bind.server).zones_for("_acme-challenge.other.test", None, deadline=deadline())


def test_a_name_outside_the_zone(bind: Bind) -> None:
    with pytest.raises(ZoneNotFound, match="NOTZONE"):
        provider(bind.server).ensure(ZONE, [TxtValue("a.other.test", "value")], ttl=60, deadline=deadline())


def test_find_zone_prefers_what_the_config_says(bind: Bind) -> None:
    adapter = provider(bind.server, zone_id="chosen.test")
    assert adapter.zones_for(NAME, "ci.test", deadline=deadline()) == [Zone("chosen.test", "chosen.test")]
    assert provider(bind.server).zones_for(NAME, None, deadline=deadline()) == [ZONE]
    with pytest.raises(ConfigError, match="zone_id"):
        provider(bind.server, zone_id="a..b").zones_for(NAME, None, deadline=deadline())


def test_check_access_leaves_the_serial_and_names_what_is_refused(make_bind: Callable[..., Bind]) -> None:
    bind = make_bind()
    bind.zone("ci.test", policy=f"grant {{key}} name {NAME}. TXT;")
    bind.start()
    before = serial(bind)
    provider(bind.server).check_access(ZONE, [NAME], deadline=deadline())
    with pytest.raises(DnsRefused, match=r"_acme-challenge\.b\.ci\.test"):
        provider(bind.server).check_access(ZONE, ["_acme-challenge.b.ci.test"], deadline=deadline())
    assert serial(bind) == before


def test_a_secret_that_is_not_base64_is_not_shown(bind: Bind) -> None:
    with pytest.raises(SecretError) as caught:
        provider(bind.server, tsig_secret="env:BROKEN").ensure(ZONE, VALUES, ttl=60, deadline=deadline())
    assert "env:BROKEN" in caught.value.message
    assert "~~~" not in repr(caught.value.as_dict())


def test_the_key_shows_no_secret(bind: Bind) -> None:
    adapter = provider(bind.server)
    adapter.ensure(ZONE, VALUES, ttl=60, deadline=deadline())
    assert "0123456789" not in repr(adapter._key)


def test_an_interrupt_is_heard_while_a_server_is_silent(make_stub: StubMaker) -> None:
    clock = SystemClock()
    stub = make_stub(lambda wire, tcp: None)
    timer = threading.Timer(0.3, clock.stop)
    timer.start()
    with pytest.raises(Interrupted):
        provider(stub.server, clock=clock).ensure(ZONE, VALUES, ttl=60, deadline=deadline(clock=clock))
    timer.join()


def test_the_deadline_bounds_a_silent_server(make_stub: StubMaker) -> None:
    stub = make_stub(lambda wire, tcp: None)
    with pytest.raises(DnsUnreachable, match="no answer"):
        provider(stub.server).ensure(ZONE, VALUES, ttl=60, deadline=deadline(0.5))


def test_long_values_and_many_of_them(bind: Bind) -> None:
    values = [TxtValue(f"_acme-challenge.h{number}.ci.test", "v" * 300) for number in range(300)]
    adapter = provider(bind.server)
    placements = adapter.ensure(ZONE, values, ttl=60, deadline=deadline())
    assert bind.updates() == 2, "more than 64 KiB are two messages"
    assert bind.txt(values[-1].name) == {"v" * 300: 60}
    adapter.release(placements, deadline=deadline())
    assert bind.txt(values[-1].name) == {}
