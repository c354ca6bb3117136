"""`acme-dns`: two slots that nobody can empty, and a name that challenges have to lead to."""

from __future__ import annotations

import json
import string
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from ci_acme.clock import SystemClock
from ci_acme.dns.publish import NOTHING_WRITTEN
from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, DnsUnreachable, SecretError, ZoneNotFound
from ci_acme.model.secret import Secret
from ci_acme.ports import Concurrency, Deadline, PermissionRequest, Placement, ProviderContext, TxtValue, Zone
from ci_acme.sandbox.dns import SandboxDns
from ci_acme_providers.acmedns.adapter import AcmeDns
from ci_acme_providers.acmedns.config import AcmeDnsSettings
from ci_acme_providers.acmedns.permissions import policies
from tests.clouds.acmedns import AcmeDnsApi, Registration
from tests.clouds.api import Answer, Call, commit_then, lose_call, lose_reply, refuse
from tests.providers.support import SteppedClock, soon
from tests.servers.ports import free_port

ZONE = Zone("auth.test", "auth.test")
ONE, TWO, THREE, FOUR = (letter * 43 for letter in "ABCD")
WWW = "_acme-challenge.www.example.com"


class Lab:
    """A server with one registration; its clock is the adapter's."""

    def __init__(self, dns: SandboxDns) -> None:
        self.clock = SteppedClock()
        self.dns = dns
        self.api = AcmeDnsApi(dns, ZONE.name, now=self.now)
        self.made: Registration = self.api.register()
        self.warnings: list[str] = []
        self.frozen: float | None = 1000.0

    def now(self) -> float:
        """Whole seconds of the server: they go on only when somebody waits."""
        assert self.frozen is not None
        return self.frozen + sum(self.clock.slept)

    def settings(self, **settings: Any) -> AcmeDnsSettings:
        given = {
            "zone": ZONE.name,
            "url": self.api.url,
            "nameserver": self.dns.address,
            "username": "env:USER",
            "password": "env:PASSWORD",
            "subdomain": self.made.subdomain,
        }
        return AcmeDnsSettings.model_validate({**given, **settings})

    def adapter(self, *, password: str | None = None, **settings: Any) -> AcmeDns:
        texts = {"env:USER": self.made.username, "env:PASSWORD": password or self.made.password}
        context = ProviderContext(
            lambda name: Secret(texts[name].encode()), self.clock, warn=self.warnings.append, environ={}
        )
        return AcmeDns(self.settings(**settings), context)

    def ensure(self, provider: AcmeDns, *values: str) -> list[Placement]:
        items = [TxtValue(self.made.full_domain, value) for value in values]
        return list(provider.ensure(ZONE, items, ttl=60, deadline=self.deadline()))

    def deadline(self, seconds: float = 30.0) -> Deadline:
        return soon(seconds, self.clock)

    def served(self) -> set[str]:
        return set(self.api.values(self.made))

    def posts(self) -> list[str]:
        return [call.json["txt"] for call in self.api.calls]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with SandboxDns([ZONE.name]) as dns:
        lab = Lab(dns)
        with lab.api:
            yield lab


# --- slots


def test_what_is_sent(lab: Lab) -> None:
    (placement,) = lab.ensure(lab.adapter(), ONE)
    assert placement.created
    (call,) = lab.api.calls
    assert (call.method, call.path) == ("POST", "/update")
    assert call.json == {"subdomain": lab.made.subdomain, "txt": ONE}
    assert call.headers["x-api-user"] == lab.made.username
    assert call.headers["x-api-key"] == lab.made.password
    assert call.headers["content-type"] == "application/json"


def test_two_values_take_two_requests_and_no_wait(lab: Lab) -> None:
    lab.ensure(lab.adapter(), ONE, TWO)
    assert lab.served() == {ONE, TWO}
    assert lab.posts() == [ONE, TWO]
    assert lab.clock.slept == []


def test_slots_of_the_same_second_are_written_again_a_second_later(lab: Lab) -> None:
    """A run right after another: all four dates are equal, and the server takes its first slot twice."""
    lab.ensure(lab.adapter(), ONE, TWO)
    lab.ensure(lab.adapter(), THREE, FOUR)
    assert lab.served() == {THREE, FOUR}
    assert lab.posts()[2:] == [THREE, FOUR, THREE, FOUR], "in the next second it takes its first slot once more"
    assert len(lab.clock.slept) == 2


def test_a_value_that_is_there_is_not_sent_again(lab: Lab) -> None:
    provider = lab.adapter()
    lab.ensure(provider, ONE)
    placements = lab.ensure(provider, ONE, TWO)
    assert [placement.created for placement in placements] == [False, True]
    assert lab.posts() == [ONE, TWO]


@pytest.mark.parametrize("nameserver", ["served", "silent"])
@pytest.mark.parametrize("fault", [lose_reply, lose_call, commit_then(Answer(503))])
@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_reply_costs_no_value(lab: Lab, fault: Any, lost: int, nameserver: str) -> None:
    """A request that went out twice fills both slots with one value."""
    place = lab.dns.address if nameserver == "served" else f"127.0.0.1:{free_port()}"
    provider = lab.adapter(nameserver=place)
    lab.api.fail(lambda _: len(lab.api.calls) == lost, fault)
    lab.ensure(provider, ONE, TWO)
    assert lab.served() == {ONE, TWO}


def test_a_server_whose_dns_cannot_be_asked(lab: Lab) -> None:
    """Its web side may be behind a proxy: values are written, and that nothing was looked at is told once."""
    provider = lab.adapter(nameserver=f"127.0.0.1:{free_port()}")
    lab.ensure(provider, ONE, TWO)
    lab.ensure(provider, ONE, TWO)
    assert lab.served() == {ONE, TWO}
    (warning,) = lab.warnings
    assert "nameserver" in warning


def test_a_server_without_authority_is_not_believed(lab: Lab) -> None:
    lab.dns.servfail = True
    lab.ensure(lab.adapter(), ONE)
    assert len(lab.warnings) == 1
    assert lab.served() == {ONE}


def test_somebody_who_keeps_writing_there(lab: Lab) -> None:
    def evict(call: Call, do: Any) -> Answer:
        answer: Answer = do(call)
        for value in (THREE, FOUR):
            lab.clock.slept.append(1.0)
            lab.api.plant(lab.made, value)
        return answer

    lab.api.fail(lambda _: True, evict, times=100)
    with pytest.raises(DnsError, match="does not keep 1 value") as raised:
        lab.ensure(lab.adapter(), ONE)
    assert not isinstance(raised.value, NOTHING_WRITTEN)
    assert "registration of its own" in raised.value.fix


def test_release_leaves_everything_and_asks_nothing(lab: Lab) -> None:
    provider = lab.adapter()
    placements = lab.ensure(provider, ONE)
    sent = len(lab.api.calls)
    provider.release(placements, deadline=lab.deadline())
    assert len(lab.api.calls) == sent
    assert lab.served() == {ONE}
    assert not provider.capabilities.can_remove
    assert provider.capabilities.max_values == 2
    assert provider.capabilities.concurrency is Concurrency.RING


# --- what cannot be


def test_a_third_value_is_refused_before_anything_is_written(lab: Lab) -> None:
    with pytest.raises(DnsRefused, match="two values") as raised:
        lab.ensure(lab.adapter(), ONE, TWO, THREE)
    assert "register" in raised.value.fix
    assert lab.api.calls == []


@pytest.mark.parametrize("value", ["short", "A" * 44, "A" * 42 + "=", "A" * 42 + "\n", "ä" * 43])
def test_only_digests_are_taken(lab: Lab, value: str) -> None:
    with pytest.raises(DnsRefused, match="43 characters"):
        lab.ensure(lab.adapter(), value)
    assert lab.api.calls == []


def test_a_name_that_is_no_cname_is_told_the_record(lab: Lab) -> None:
    provider = lab.adapter(zone="example.com", full_domain=lab.made.full_domain)
    attempts = [
        lambda: provider.zones_for(WWW, "example.com", deadline=lab.deadline()),
        lambda: provider.check_access(ZONE, [WWW], deadline=lab.deadline()),
        lambda: provider.ensure(ZONE, [TxtValue(WWW, ONE)], ttl=60, deadline=lab.deadline()),
    ]
    for attempt in attempts:
        with pytest.raises(ZoneNotFound) as raised:
            attempt()
        record = f"{WWW}. CNAME {lab.made.full_domain}."
        assert record in raised.value.fix
        assert raised.value.details["record"] == record
    assert lab.api.calls == []


def test_zones(lab: Lab) -> None:
    def zone(apex: str | None, **settings: Any) -> Zone:
        return lab.adapter(**settings).zones_for(lab.made.full_domain, apex, deadline=lab.deadline())[0]

    assert zone(None).name == "auth.test"
    assert zone("test").name == "test"
    assert zone(None, zone=lab.made.full_domain).name == "auth.test"
    assert zone(None, zone=".", full_domain=f"{lab.made.full_domain}.").name == "auth.test"


# --- credentials


@pytest.mark.parametrize("attempt", ["check", "ensure"])
def test_wrong_credentials_write_nothing(lab: Lab, attempt: str) -> None:
    wrong = lab.made.password[::-1]
    provider = lab.adapter(password=wrong)
    attempts = {
        "check": lambda: provider.check_access(ZONE, [lab.made.full_domain], deadline=lab.deadline()),
        "ensure": lambda: lab.ensure(provider, ONE),
    }
    with pytest.raises(DnsCredentialsError, match="forbidden") as raised:
        attempts[attempt]()
    assert "allowfrom" in raised.value.fix
    assert wrong not in json.dumps(raised.value.as_dict())
    assert lab.served() == set()


def test_another_subdomain_is_forbidden(lab: Lab) -> None:
    other = lab.api.register()
    provider = lab.adapter(subdomain=other.subdomain)
    with pytest.raises(DnsCredentialsError, match="forbidden"):
        provider.check_access(ZONE, [other.full_domain], deadline=lab.deadline())


@pytest.mark.parametrize("password", ["two\nlines", "ä" * 40, " "])
def test_a_password_that_is_none(lab: Lab, password: str) -> None:
    with pytest.raises(SecretError, match="env:PASSWORD"):
        lab.ensure(lab.adapter(password=password), ONE)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer.of({"error": "bad_subdomain"}, 400), DnsRefused),
        (Answer(404, b"404 page not found"), DnsRefused),
        (Answer(403, b"<html>"), DnsCredentialsError),
        (Answer.of({"error": "db_error"}, 500), DnsError),
    ],
)
def test_refusals(lab: Lab, answer: Answer, kind: type[DnsError]) -> None:
    lab.api.fail(lambda _: True, refuse(answer), times=100)
    with pytest.raises(DnsError) as raised:
        lab.ensure(lab.adapter(), ONE)
    assert type(raised.value) is kind
    assert raised.value.fix


def test_a_refusal_of_the_second_value_does_not_say_that_nothing_was_written(lab: Lab) -> None:
    lab.api.fail(lambda _: len(lab.api.calls) == 2, refuse(Answer.of({"error": "forbidden"}, 401)))
    with pytest.raises(DnsError, match="forbidden") as raised:
        lab.ensure(lab.adapter(), ONE, TWO)
    assert not isinstance(raised.value, NOTHING_WRITTEN)


def test_a_server_that_is_not_there(lab: Lab) -> None:
    provider = lab.adapter(url="http://127.0.0.1:9")
    with pytest.raises(DnsUnreachable, match="acme-dns"):
        provider.ensure(ZONE, [TxtValue(lab.made.full_domain, ONE)], ttl=60, deadline=lab.deadline(1))


def test_an_interrupt_is_heard_while_it_looks(lab: Lab) -> None:
    from ci_acme.errors import Interrupted
    from ci_acme_providers.acmedns.look import look

    clock = SystemClock()
    clock.stop()
    lab.dns.drop = True
    begun = time.monotonic()
    with pytest.raises(Interrupted):
        look(lab.made.full_domain, (lab.dns.host, lab.dns.port), Deadline(clock, 30))
    assert time.monotonic() - begun < 5


# --- settings, permissions


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"zone": "."}, "full_domain"),
        ({"url": "http://auth.example.org"}, "plain"),
        ({"subdomain": "a.b"}, "pattern"),
        ({"password": "literal"}, "reference"),
        ({"nameserver": "a:b:c]"}, "is not one"),
    ],
)
def test_settings_that_make_no_sense(lab: Lab, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        lab.settings(**settings)


def test_where_dns_is_asked(lab: Lab) -> None:
    assert lab.settings(nameserver=None, url="https://auth.test/api").server == ("auth.test", 53)
    assert lab.adapter(nameserver="[::1]:5353").nameservers == ("[::1]:5353",)


def test_permissions_are_the_records_that_are_missing(lab: Lab) -> None:
    names = (WWW, lab.made.full_domain)
    records, registration = policies(PermissionRequest(lab.settings(), names=names, zone=ZONE.name))
    assert records.text == f"{WWW}. CNAME {lab.made.full_domain}."
    assert "allowfrom" in registration.text


def test_the_fake_gives_what_the_server_gives(lab: Lab) -> None:
    assert len(lab.made.password) == 40
    assert set(lab.made.password) <= set(string.ascii_letters + string.digits + "-_")
