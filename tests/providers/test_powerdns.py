"""`powerdns`: what is sent, what is learnt of the server, and what its answers mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ci_acme.dns.publish import NOTHING_WRITTEN
from ci_acme.errors import (
    CiAcmeError,
    DnsCredentialsError,
    DnsError,
    DnsRefused,
    DnsUnreachable,
    SecretError,
    ZoneNotFound,
)
from ci_acme.model.secret import Secret
from ci_acme.ports import Concurrency, PermissionRequest, Placement, ProviderContext, TxtValue, Zone
from ci_acme.sandbox.dns import SandboxDns
from ci_acme_providers.powerdns.adapter import PowerDns
from ci_acme_providers.powerdns.config import PowerDnsSettings
from ci_acme_providers.powerdns.content import quote, unquote
from ci_acme_providers.powerdns.permissions import policies
from tests.clouds.api import Answer, Call, commit_then, lose_call, lose_reply, refuse
from tests.clouds.powerdns import KEY, LOCKED, PowerDnsApi
from tests.providers.support import SteppedClock, soon

ZONES = {"pdns.test": "Native", "sub.pdns.test": "Master", "copy.test": "Slave"}
ZONE = Zone("pdns.test.", "pdns.test")
NAME = "_acme-challenge.www.pdns.test"
Make = Callable[..., PowerDnsApi]


@pytest.fixture
def make() -> Iterator[Make]:
    servers: list[PowerDnsApi] = []
    with SandboxDns(list(ZONES)) as dns:

        def start(**kind: Any) -> PowerDnsApi:
            servers.append(PowerDnsApi(dns, ZONES, **kind).__enter__())
            return servers[-1]

        yield start
        for server in servers:
            server.__exit__(None, None, None)


@pytest.fixture(params=[True, False], ids=["EXTEND", "REPLACE"])
def api(request: pytest.FixtureRequest, make: Make) -> PowerDnsApi:
    """A server of each kind."""
    return make(single=request.param)


@pytest.fixture
def new(make: Make) -> PowerDnsApi:
    return make(single=True)


@pytest.fixture
def old(make: Make) -> PowerDnsApi:
    return make(single=False)


def adapter(api: PowerDnsApi, key: bytes = KEY.encode(), **settings: Any) -> PowerDns:
    parsed = PowerDnsSettings.model_validate(
        {"zone": "pdns.test", "url": api.url, "api_key": "env:PDNS_KEY", **settings}
    )
    return PowerDns(parsed, ProviderContext(lambda _: Secret(key), SteppedClock()))


def ensure(provider: PowerDns, *values: str, name: str = NAME, ttl: int | None = None) -> list[Placement]:
    return list(provider.ensure(ZONE, [TxtValue(name, value, ttl) for value in values], ttl=60, deadline=soon()))


def is_patch(call: Call) -> bool:
    return call.method == "PATCH"


def sent(api: PowerDnsApi) -> list[str]:
    return [f"{call.method} {call.target.removeprefix('/api/v1/servers/localhost')}" for call in api.calls]


# --- requests


def test_requests_of_a_run_on_a_new_server(new: PowerDnsApi) -> None:
    provider = adapter(new)
    (zone,) = provider.zones_for(NAME, "pdns.test", deadline=soon())
    names = [f"_acme-challenge.{number}.pdns.test" for number in range(100)]
    values = [TxtValue(name, value) for name in names for value in ("apex", "wildcard")]
    placements = provider.ensure(zone, values, ttl=60, deadline=soon())
    provider.release(placements, deadline=soon())
    patch, read = "PATCH /zones/pdns.test.", "GET /zones/pdns.test."
    assert sent(new) == ["GET /zones?zone=pdns.test.&dnssec=false", patch, patch, read, patch, read]
    probe, add, remove = (call.json["rrsets"] for call in new.calls if is_patch(call))
    assert len(probe) == 1
    assert {change["changetype"] for change in probe} == {"PRUNE"}
    assert {change["changetype"] for change in add} == {"EXTEND"}
    assert {change["changetype"] for change in remove} == {"PRUNE"}
    assert len(add) == len(remove) == 200


def test_requests_of_a_run_on_an_old_server(old: PowerDnsApi) -> None:
    provider = adapter(old)
    (zone,) = provider.zones_for(NAME, "pdns.test", deadline=soon())
    placements = provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    provider.release(placements, deadline=soon())
    patch, read = "PATCH /zones/pdns.test.", f"GET /zones/pdns.test.?rrset_name={NAME}.&rrset_type=TXT"
    assert sent(old)[1:] == [patch, read, patch, read, read, patch, read]


def test_capabilities_say_blind_until_the_better_is_proven(new: PowerDnsApi, old: PowerDnsApi) -> None:
    provider = adapter(new)
    assert provider.capabilities.concurrency is Concurrency.BLIND
    provider.zones_for(NAME, "pdns.test", deadline=soon())
    assert provider.capabilities.concurrency is Concurrency.PER_VALUE
    provider = adapter(old)
    provider.zones_for(NAME, "pdns.test", deadline=soon())
    assert provider.capabilities.concurrency is Concurrency.BLIND


def test_a_change_without_a_probe_finds_out_by_itself(api: PowerDnsApi) -> None:
    """`cleanup` in a new process."""
    provider = adapter(api)
    api.put(NAME, "value")
    provider.release([Placement(ZONE, NAME, "value", created=True)], deadline=soon())
    assert api.at(NAME) == {}
    assert (provider.capabilities.concurrency is Concurrency.PER_VALUE) == api.single


def test_a_primary_tells_its_secondaries_at_once(api: PowerDnsApi) -> None:
    provider = adapter(api)
    zone = Zone("sub.pdns.test.", "sub.pdns.test")
    placements = provider.ensure(zone, [TxtValue("_acme-challenge.sub.pdns.test", "v")], ttl=60, deadline=soon())
    assert sent(api)[-1] == "PUT /zones/sub.pdns.test./notify"
    provider.release(placements, deadline=soon())
    assert sent(api).count("PUT /zones/sub.pdns.test./notify") == 1


def test_a_server_that_knows_no_filter_is_read_once(old: PowerDnsApi) -> None:
    old.filters = False
    old.put("other.pdns.test", "foreign")
    names = [f"_acme-challenge.{letter}.pdns.test" for letter in "abc"]
    adapter(old).ensure(ZONE, [TxtValue(name, "v") for name in names], ttl=60, deadline=soon())
    assert [call.method for call in old.calls] == ["PATCH", "GET", "PATCH", "GET"]
    assert all(old.at(name) == {"v": 60} for name in names)


# --- values


def test_what_is_there_already_is_known_where_it_is_read_first(old: PowerDnsApi) -> None:
    old.put(NAME, "adopted")
    placements = ensure(adapter(old), "adopted", "ours")
    assert [placement.created for placement in placements] == [False, True]
    assert old.at(NAME) == {"adopted": 300, "ours": 300}


def test_nothing_is_written_that_is_there(api: PowerDnsApi) -> None:
    provider = adapter(api)
    ensure(provider, "value")
    before = len([call for call in api.calls if is_patch(call)])
    ensure(provider, "value")
    after = len([call for call in api.calls if is_patch(call)])
    assert after - before == (1 if api.single else 0), "an EXTEND that the server ignores, or none"
    assert api.at(NAME) == {"value": 60}


def test_the_ttl_of_a_neighbour_whom_nobody_knew_is_taken(api: PowerDnsApi) -> None:
    """It came between the core's look and our change; a 5.1 refuses another TTL in the set."""
    api.put(NAME, "foreign", ttl=900)
    ensure(adapter(api), "ours")
    assert api.at(NAME) == {"foreign": 900, "ours": 900}


def test_disabled_records_and_comments_are_left_alone(old: PowerDnsApi) -> None:
    old.put(NAME, "switched-off", "twin", disabled=True)
    provider = adapter(old)
    placements = ensure(provider, "ours", "twin")
    assert old.at(NAME) == {"ours": 300, "twin": 300}, "a disabled record serves nothing"
    provider.release(placements, deadline=soon())
    records = old.zones["pdns.test."].sets[f"{NAME}.", "TXT"]["records"]
    assert records == [{"content": '"switched-off"', "disabled": True}]
    assert all("comments" not in change for call in old.calls if is_patch(call) for change in call.json["rrsets"])


def test_what_another_writer_wipes_is_written_again(api: PowerDnsApi) -> None:
    """Whole record sets that others write, and transactions that do not exclude each other (MySQL, PostgreSQL)."""
    provider = adapter(api)
    provider.zones_for(NAME, "pdns.test", deadline=soon())

    def wiped(call: Call, do: Callable[[Call], Answer]) -> Answer:
        answer = do(call)
        api.drop(NAME, "ours")
        api.put(NAME, "theirs")
        return answer

    api.fail(is_patch, wiped, times=3)
    (placement,) = ensure(provider, "ours")
    assert placement.created
    assert api.at(NAME).keys() == {"ours", "theirs"}


def test_a_value_that_is_never_kept_is_an_error_in_time(old: PowerDnsApi) -> None:
    def wiped(call: Call, do: Callable[[Call], Answer]) -> Answer:
        answer = do(call)
        old.drop(NAME, "ours")
        return answer

    provider = adapter(old)
    provider.zones_for(NAME, "pdns.test", deadline=soon())
    old.fail(is_patch, wiped, times=1000)
    with pytest.raises(DnsError, match="does not keep") as raised:
        provider.ensure(ZONE, [TxtValue(NAME, "ours")], ttl=60, deadline=soon(5, SteppedClock()))
    assert not isinstance(raised.value, NOTHING_WRITTEN)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=600))
def test_quoting_has_an_inverse(value: str) -> None:
    content = quote(value)
    assert unquote(content) == value
    assert content.isascii()
    assert content.isprintable()
    assert all(len(unquote(piece).encode()) <= 255 for piece in content.split('" "'))


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ('"plain"', "plain"),
        ('"a" "b"', "ab"),
        (r'"a\"b\\c"', 'a"b\\c'),
        (r'"d\195\164"', "dä"),
        ("bare", "bare"),
        ('""', ""),
        (r'"\255"', "\ufffd"),
    ],
)
def test_contents_as_servers_write_them(content: str, value: str) -> None:
    assert unquote(content) == value


# --- trouble


@pytest.mark.parametrize(
    "fault",
    [lose_reply, lose_call, refuse(LOCKED), commit_then(LOCKED), commit_then(Answer(503, b"<html>"))],
    ids=["lost reply", "lost call", "locked", "locked after all", "gateway"],
)
def test_what_passes_is_tried_again_and_ours_stays_ours(api: PowerDnsApi, fault: Any) -> None:
    provider = adapter(api)
    provider.zones_for(NAME, "pdns.test", deadline=soon())
    api.fail(is_patch, fault, times=3)
    placements = ensure(provider, "one", "two")
    assert [placement.created for placement in placements] == [True, True], "a lost reply makes nobody else's value"
    assert api.at(NAME) == {"one": 60, "two": 60}
    api.fail(is_patch, fault, times=3)
    provider.release(placements, deadline=soon())
    assert api.at(NAME) == {}


def test_a_doubtful_first_try_is_never_adopted(api: PowerDnsApi) -> None:
    api.fail(is_patch, lose_reply)
    (placement,) = ensure(adapter(api), "value")
    assert placement.created


def test_a_probe_that_fails_leaves_it_open(new: PowerDnsApi) -> None:
    new.fail(is_patch, refuse(LOCKED))
    provider = adapter(new)
    assert provider.zones_for(NAME, "pdns.test", deadline=soon())
    assert provider.capabilities.concurrency is Concurrency.BLIND
    ensure(provider, "value")
    assert provider.capabilities.concurrency is Concurrency.PER_VALUE


def test_a_database_that_stays_locked_is_told(api: PowerDnsApi) -> None:
    api.fail(is_patch, refuse(LOCKED), times=1000)
    with pytest.raises(DnsError, match=r"500: Internal Server Error") as raised:
        adapter(api).ensure(ZONE, [TxtValue(NAME, "value")], ttl=60, deadline=soon(5, SteppedClock()))
    assert not isinstance(raised.value, NOTHING_WRITTEN)


def test_a_server_that_is_not_there(new: PowerDnsApi) -> None:
    provider = adapter(new, url="http://127.0.0.1:9")
    with pytest.raises(DnsUnreachable, match="PowerDNS"):
        provider.zones_for(NAME, "pdns.test", deadline=soon(1, SteppedClock()))


def test_a_refusal_after_a_change_that_may_have_been_made_does_not_say_that_nothing_was(api: PowerDnsApi) -> None:
    provider = adapter(api)
    provider.zones_for(NAME, "pdns.test", deadline=soon())
    api.fail(is_patch, lose_reply)
    patches = 2  # the probe, and the one whose reply is lost
    api.fail(
        lambda call: call.method == "GET" and len(list(filter(is_patch, api.calls))) == patches,
        refuse(Answer(401, b"Unauthorized")),
    )
    with pytest.raises(DnsError, match="API key") as raised:
        ensure(provider, "value")
    assert not isinstance(raised.value, NOTHING_WRITTEN)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer(401, b"Unauthorized", {"Content-Type": "text/plain"}), DnsCredentialsError, "env:PDNS_KEY"),
        (Answer(404, b"Not Found", {"Content-Type": "text/plain"}), ZoneNotFound, "zone_id"),
        (Answer.of({"error": "Could not find domain 'pdns.test.'"}, 422), ZoneNotFound, "zone_id"),
        (Answer.of({"error": "RRset x IN TXT: Conflicts with pre-existing RRset"}, 422), DnsRefused, "server"),
        (Answer.of({"error": "Multiple errors", "errors": ["one", "two"]}, 422), DnsRefused, "server"),
        (Answer(400, b"\xff\x00<html>" * 500), DnsRefused, "server"),
    ],
)
def test_refusals(api: PowerDnsApi, answer: Answer, kind: type[CiAcmeError], words: str) -> None:
    api.fail(is_patch, refuse(answer), times=5)
    provider = adapter(api)
    for attempt in (
        lambda: ensure(provider, "value"),
        lambda: provider.check_access(ZONE, [NAME], deadline=soon()),
    ):
        with pytest.raises(CiAcmeError) as raised:
            attempt()
        assert type(raised.value) is kind
        assert words in raised.value.fix
        assert len(raised.value.message) < 600
        assert KEY not in json.dumps(raised.value.as_dict())


@pytest.mark.parametrize("key", [b"two\nlines", "ä".encode(), b" \n"])
def test_a_key_that_is_none(new: PowerDnsApi, key: bytes) -> None:
    with pytest.raises(SecretError, match="env:PDNS_KEY"):
        adapter(new, key).zones_for(NAME, "pdns.test", deadline=soon())
    assert new.calls == []


def test_a_key_with_a_line_break_at_its_end(new: PowerDnsApi) -> None:
    ensure(adapter(new, KEY.encode() + b"\n"), "value")


# --- zones


def zones(provider: PowerDns, name: str, apex: str | None) -> list[tuple[str, str]]:
    return [(zone.id, zone.name) for zone in provider.zones_for(name, apex, deadline=soon())]


def test_zones(api: PowerDnsApi) -> None:
    provider = adapter(api)
    assert zones(provider, "a.sub.pdns.test", "sub.pdns.test") == [("sub.pdns.test.", "sub.pdns.test")]
    assert zones(provider, "a.sub.pdns.test", None) == [
        ("sub.pdns.test.", "sub.pdns.test"),
        ("pdns.test.", "pdns.test"),
    ]
    assert zones(provider, "a.elsewhere.test", None) == []
    with pytest.raises(DnsRefused, match="copy only"):
        zones(provider, "a.copy.test", "copy.test")


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [
        ("pdns.test", ("pdns.test.", "pdns.test")),
        ("PDNS.test.", ("PDNS.test.", "pdns.test")),
        ("0=2F25.2.0.192.in-addr.arpa.", ("0=2F25.2.0.192.in-addr.arpa.", "0/25.2.0.192.in-addr.arpa")),
        ("pdns.test..inside", ("pdns.test..inside", "pdns.test")),
    ],
)
def test_a_zone_id_is_taken_without_a_listing(
    new: PowerDnsApi, given_id: str, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(new.zones, expected[0], new.zones["pdns.test."])
    assert zones(adapter(new, zone_id=given_id), NAME, None) == [expected]
    assert [call.method for call in new.calls] == ["PATCH"], "the probe alone"


def test_check_names_what_is_not_in_the_zone(api: PowerDnsApi) -> None:
    with pytest.raises(DnsRefused, match=r"not in the zone pdns\.test"):
        adapter(api).check_access(ZONE, ["_acme-challenge.elsewhere.test"], deadline=soon())


# --- settings, permissions


@pytest.mark.parametrize("url", ["http://127.0.0.1:8081", "http://127.0.0.1:8081/", "http://127.0.0.1:8081/api/v1/"])
def test_the_url_may_be_written_with_or_without_the_apis_path(url: str) -> None:
    settings = PowerDnsSettings(zone="a.test", url=url, api_key="env:K", server_id="ns1")
    assert settings.base == "http://127.0.0.1:8081/api/v1/servers/ns1"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "http://pdns.example.com:8081"}, "plain"),
        ({"url": "pdns.example.com"}, "https"),
        ({"api_key": "literal"}, "reference"),
        ({"server_id": "a/b"}, "pattern"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PowerDnsSettings.model_validate({"zone": "a.test", "url": "https://a.test", "api_key": "env:K", **settings})
    PowerDnsSettings.model_validate(
        {"zone": "a.test", "url": "http://pdns.example.com:8081", "api_key": "env:K", "plain": True}
    )


def test_permissions_name_the_requests_that_are_made(new: PowerDnsApi) -> None:
    settings = PowerDnsSettings(zone="pdns.test", url="https://a.test", api_key="env:K")
    (document,) = policies(PermissionRequest(settings, names=(NAME,), zone="pdns.test"))
    ensure(adapter(new), "value")
    for call in new.calls:
        assert f"{call.method:5} {call.path}" in document.text
    assert f"{NAME}." in document.text
