"""OVHcloud: signatures, service accounts, access rules, the refresh that makes changes served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, ZoneNotFound
from ci_acme.ports import PermissionRequest, Placement, TxtValue
from ci_acme_providers.ovh.adapter import Ovh
from ci_acme_providers.ovh.config import OvhSettings
from ci_acme_providers.ovh.permissions import policies
from tests.clouds.api import Answer, Call, refuse
from tests.clouds.ovh import Consumer
from tests.clouds.records import Rec
from tests.clouds.rigs import ZONE, OvhRig, open_rig
from tests.providers.support import SteppedClock, context, soon

NAME = f"_acme-challenge.www.{ZONE}"


@pytest.fixture
def rig() -> Iterator[Any]:
    with open_rig(OvhRig) as made:
        yield made


def zone_of(provider: Any) -> Any:
    (zone,) = provider.zones_for(NAME, ZONE, deadline=soon())
    return zone


def whole_run(provider: Any) -> None:
    zone = zone_of(provider)
    provider.check_access(zone, [NAME], deadline=soon())
    placements = provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert placements[0].created
    provider.release(placements, deadline=soon())


def error(status: int, code: str, message: str = "no") -> Answer:
    return Answer.of({"message": message, "errorCode": code, "httpCode": str(status)}, status)


# --- who asks


@pytest.mark.parametrize("ahead", [-7200, 7200])
def test_our_clock_may_be_wrong(rig: Any, ahead: float) -> None:
    rig.api.ahead = ahead
    provider = rig.provider()
    whole_run(provider)
    assert len(rig.api.sent("GET", "/auth/time")) == 1


def test_a_signature_is_made_for_each_try(rig: Any) -> None:
    """Its time must not be older than half a minute."""
    clock = SteppedClock()
    provider = rig.provider(clock=clock)
    zone = zone_of(provider)
    rig.api.fail(lambda call: call.method == "GET", refuse(Answer.of({}, 429, **{"Retry-After": "100"})))

    class Moved:
        def __init__(self, api: Any) -> None:
            self.api = api

        def __call__(self, call: Call, do: Any) -> Answer:
            self.api.ahead = sum(clock.slept)
            return do(call)

    rig.api.fail(lambda call: call.method == "GET", Moved(rig.api))
    provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon(400, clock))
    stamps = {call.headers["x-ovh-timestamp"] for call in rig.api.calls if "x-ovh-timestamp" in call.headers}
    assert max(map(int, stamps)) - min(map(int, stamps)) >= 100


def test_no_secret_is_sent(rig: Any) -> None:
    whole_run(rig.provider())
    for call in rig.api.calls:
        text = repr(call.headers) + call.target + call.body.decode()
        assert rig.good["SECRET"] not in text


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"KEY": "other"}, "INVALID_KEY"),
        ({"SECRET": "other"}, "INVALID_SIGNATURE"),
        ({"CONSUMER": "other"}, "NOT_CREDENTIAL"),
    ],
)
def test_each_wrong_key_is_told_by_its_name(rig: Any, changed: dict[str, str], says: str) -> None:
    rig.bad = {**rig.good, **changed}
    with pytest.raises(DnsCredentialsError, match=says) as caught:
        zone_of(rig.provider(good=False))
    assert "createToken" in caught.value.fix


def service(rig: Any, **more: Any) -> Ovh:
    settings = OvhSettings(
        zone=ZONE,
        endpoint=rig.api.base,
        client_id="env:ID",
        client_secret="env:SECRET",
        token_url=f"{rig.api.url}/auth/oauth2/token",
        **more,
    )
    return Ovh(settings, context({"env:ID": "EU.abc", "env:SECRET": "shh+&="}, more.pop("clock", None)))


def test_a_service_account_fetches_one_token(rig: Any) -> None:
    rig.api.accounts["EU.abc"] = "shh+&="
    provider = service(rig)
    whole_run(provider)
    assert len(rig.api.sent("POST", "/oauth2/token")) == 1
    assert not rig.api.sent("GET", "/auth/time")


def test_a_token_that_ends_soon_is_fetched_anew(rig: Any) -> None:
    rig.api.accounts["EU.abc"] = "shh+&="
    rig.api.fail(
        lambda call: call.path == "/auth/oauth2/token",
        lambda call, do: Answer.of({**json.loads(do(call).body), "expires_in": 30}),
        times=99,
    )
    whole_run(service(rig))
    assert len(rig.api.sent("POST", "/oauth2/token")) > 3


def test_a_service_account_that_is_not_accepted_is_told(rig: Any) -> None:
    rig.api.accounts["EU.abc"] = "another"
    with pytest.raises(DnsCredentialsError, match="invalid_client") as caught:
        zone_of(service(rig))
    assert "shh" not in json.dumps(caught.value.as_dict())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "belong together"),
        ({"application_key": "env:A"}, "belong together"),
        ({"application_key": "env:A", "application_secret": "env:B"}, "belong together"),
        ({"client_id": "env:A"}, "belong together"),
        ({"client_id": "env:A", "client_secret": "env:B", "consumer_key": "env:C"}, "is of no use"),
        ({"client_id": "env:A", "client_secret": "env:B", "endpoint": "https://ovh.example"}, "endpoint is a URL"),
        (
            {
                "application_key": "env:A",
                "application_secret": "env:B",
                "consumer_key": "env:C",
                "token_url": "https://ovh.example",
            },
            "of no use without client_id",
        ),
        ({"endpoint": "ovh-xx"}, "must be one of ovh-eu"),
        ({"application_secret": "geheim"}, "reference to a secret"),
    ],
)
def test_the_config_names_one_way_to_authenticate(given: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        OvhSettings(zone=ZONE, **given)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "base", "token"),
    [
        ("ovh-eu", "https://eu.api.ovh.com/1.0", "https://www.ovh.com/auth/oauth2/token"),
        ("ovh-ca", "https://ca.api.ovh.com/1.0", "https://ca.ovh.com/auth/oauth2/token"),
        ("ovh-us", "https://api.us.ovhcloud.com/1.0", "https://us.ovhcloud.com/auth/oauth2/token"),
    ],
)
def test_endpoints_have_names(endpoint: str, base: str, token: str) -> None:
    settings = OvhSettings(zone=ZONE, endpoint=endpoint, client_id="env:A", client_secret="env:B")
    assert (settings.base, settings.oauth) == (base, token)
    assert Ovh(settings, context("x")).where == "ovh"


# --- changes


def test_a_change_is_served_after_one_refresh(rig: Any) -> None:
    provider = rig.provider()
    names = [f"_acme-challenge.n{number}.{ZONE}" for number in range(5)]
    placements = provider.ensure(
        zone_of(provider), [TxtValue(name, "value") for name in names], ttl=60, deadline=soon()
    )
    assert len(rig.api.sent("POST", "/refresh")) == 1
    assert all(dict(rig.values(name)) == {"value": 60} for name in names)
    provider.release(placements, deadline=soon())
    assert len(rig.api.sent("POST", "/refresh")) == 2
    assert not any(rig.values(name) for name in names)


def test_a_change_that_an_earlier_run_did_not_refresh_is_served(rig: Any) -> None:
    """It died between the record and the refresh; the record is adopted now."""
    rig.api.zone(ZONE).records.append(Rec(1, NAME, "value", 60))
    rig.api.changed.add(NAME)
    provider = rig.provider()
    (placement,) = provider.ensure(zone_of(provider), [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert not placement.created
    assert dict(rig.values(NAME)) == {"value": 60}
    rig.api.zone(ZONE).records.clear()
    rig.api.changed.add(NAME)
    provider.release([Placement(zone_of(provider), NAME, "value", created=True)], deadline=soon())
    assert dict(rig.values(NAME)) == {}


def test_a_refresh_that_meets_another_is_asked_for_again(rig: Any) -> None:
    provider = rig.provider()
    zone = zone_of(provider)
    rig.api.fail(lambda call: call.path.endswith("/refresh"), refuse(error(409, "CONFLICT")), times=3)
    provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert dict(rig.values(NAME)) == {"value": 60}


def test_a_lost_answer_to_a_refresh_is_no_error(rig: Any) -> None:
    provider = rig.provider()
    zone = zone_of(provider)
    rig.api.fail(lambda call: call.path.endswith("/refresh"), lambda call, do: None)
    provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert dict(rig.values(NAME)) == {"value": 60}


def test_names_that_the_filter_takes_for_others_are_told_apart(rig: Any) -> None:
    """`subDomain` is filtered by ILIKE, for which `_` is any character."""
    other = f"xacme-challenge.www.{ZONE}"
    rig.plant(other, "value", 300)
    provider = rig.provider()
    placements = provider.ensure(zone_of(provider), [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert placements[0].created
    assert rig.api.zone(ZONE).at(NAME)[0].ttl == 60
    provider.release([Placement(placements[0].zone, NAME, "value", created=True)], deadline=soon())
    assert rig.api.values(NAME) == []
    assert rig.api.values(other) == ["value"]


def test_a_record_that_goes_while_it_is_read_is_no_error(rig: Any) -> None:
    rig.plant(NAME, "theirs", 300)
    provider = rig.provider()
    zone = zone_of(provider)

    def meanwhile(call: Call, do: Any) -> Answer:
        rig.api.zone(ZONE).records.clear()
        return do(call)

    rig.api.fail(lambda call: "/record/" in call.path, meanwhile)
    (placement,) = provider.ensure(zone, [TxtValue(NAME, "ours")], ttl=60, deadline=soon())
    assert placement.created


def test_a_neighbour_with_the_zones_ttl_keeps_it(rig: Any) -> None:
    rig.api.zone(ZONE).records.append(Rec(1, NAME, "theirs", 0))
    provider = rig.provider()
    provider.ensure(zone_of(provider), [TxtValue(NAME, "ours", ttl=3600)], ttl=60, deadline=soon())
    assert [record.ttl for record in rig.api.zone(ZONE).at(NAME)] == [0, 0]


# --- permissions and refusals


def rules(rig: Any, **more: Any) -> list[tuple[str, str]]:
    (document,) = policies(PermissionRequest(rig.make_settings(**more), (NAME,), ZONE))
    return [(rule["method"], rule["path"]) for rule in json.loads(document.text)["accessRules"]]


@pytest.mark.parametrize("pinned", [False, True])
def test_the_printed_rules_are_enough_and_each_is_needed(rig: Any, *, pinned: bool) -> None:
    more = {"zone_id": ZONE} if pinned else {}
    granted = rules(rig, **more)
    assert all(ZONE in path for _, path in granted)

    def run_with(some: list[tuple[str, str]]) -> None:
        rig.api.consumers[rig.good["CONSUMER"]] = Consumer(rig.good["KEY"], rig.good["SECRET"], some)
        rig.plant(NAME, "neighbour", 300)
        try:
            whole_run(rig.provider(**more))
        finally:
            rig.api.zone(ZONE).records[:] = [one for one in rig.api.zone(ZONE).records if one.value != "neighbour"]

    run_with(granted)
    for rule in granted:
        with pytest.raises(DnsRefused) as caught:
            run_with([other for other in granted if other != rule])
        method, path = rule
        assert f"grant the consumer key {method} {path}" in caught.value.fix
        assert rig.api.zone(ZONE).records == [], f"without {rule} nothing is left"


def test_a_name_below_a_zone_that_the_rules_do_not_cover_is_looked_for_above(rig: Any) -> None:
    """With the apex unknown every name above is tried, and most are refused."""
    rig.api.consumers[rig.good["CONSUMER"]] = Consumer(rig.good["KEY"], rig.good["SECRET"], rules(rig))
    (zone,) = rig.provider().zones_for(f"_acme-challenge.a.b.c.{ZONE}", None, deadline=soon())
    assert zone.name == ZONE


def test_a_service_accounts_policy_has_exactly_these_actions(rig: Any) -> None:
    settings = OvhSettings(zone=ZONE, client_id="env:A", client_secret="env:B", endpoint="ovh-ca")
    (document,) = policies(PermissionRequest(settings, (NAME,), ZONE))
    body = json.loads(document.text)
    assert body["resources"] == [{"urn": f"urn:v1:ca:resource:dnsZone:{ZONE}"}]
    assert [one["action"] for one in body["permissions"]["allow"]] == [
        "dnsZone:apiovh:get",
        "dnsZone:apiovh:record/get",
        "dnsZone:apiovh:record/create",
        "dnsZone:apiovh:record/delete",
        "dnsZone:apiovh:refresh",
    ]


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (error(403, "INVALID_CREDENTIAL"), DnsCredentialsError, "createToken"),
        (error(400, "QUERY_TIME_OUT"), DnsCredentialsError, "createToken"),
        (error(403, "NOT_GRANTED_CALL"), DnsRefused, f"POST /domain/zone/{ZONE}/record"),
        (error(403, "FORBIDDEN"), DnsRefused, "dnsZone:apiovh:record/create"),
        (error(404, ""), ZoneNotFound, "account that has the zone"),
        (error(460, ""), ZoneNotFound, "account that has the zone"),
        (error(400, ""), DnsRefused, "at least 60"),
    ],
)
def test_refusals_say_what_to_do(rig: Any, answer: Answer, kind: type[DnsError], says: str) -> None:
    provider = rig.provider()
    zone = zone_of(provider)
    rig.api.fail(lambda call: call.method == "POST", refuse(answer))
    with pytest.raises(kind) as caught:
        provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert says in caught.value.fix
