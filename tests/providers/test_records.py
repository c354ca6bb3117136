"""What the providers over REST do when their API is not well: for all four alike."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ci_acme.clock import SystemClock
from ci_acme.errors import (
    CiAcmeError,
    DnsCredentialsError,
    DnsError,
    DnsRefused,
    DnsUnreachable,
    Interrupted,
    SecretError,
    ZoneNotFound,
)
from ci_acme.ports import Deadline, Placement, TxtValue
from tests.clouds.api import Answer, Call, Fault, commit_then, lose_call, lose_reply, refuse
from tests.clouds.records import Rec
from tests.clouds.rigs import RIGS, ZONE, CloudflareRig, DigitalOceanRig, HetznerRig, OvhRig, open_rig
from tests.providers.support import SteppedClock, soon

NAME = f"_acme-challenge.www.{ZONE}"
UNAVAILABLE = Answer(503, b"<html>try again</html>")
WITH_TWINS = (DigitalOceanRig, OvhRig)
WITH_NOTES = (CloudflareRig, HetznerRig)


def only(*kinds: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rig", kinds, indirect=True, ids=lambda kind: kind.name)


@pytest.fixture(params=RIGS, ids=lambda kind: kind.name)
def rig(request: pytest.FixtureRequest) -> Iterator[Any]:
    with open_rig(request.param) as made:
        made.api.takes = 3  # Hetzner's actions go on for some requests
        yield made


def creating(rig: Any) -> Callable[[Call], bool]:
    return lambda call: call.method == "POST" and call.path.endswith(rig.change) and b"deletes" not in call.body


def removing(rig: Any) -> Callable[[Call], bool]:
    return lambda call: call.method == "DELETE" or b"deletes" in call.body or call.path.endswith("/remove_records")


def put(rig: Any, *values: str, name: str = NAME, provider: Any = None, clock: SystemClock | None = None) -> Any:
    provider = provider or rig.provider()
    (zone,) = provider.zones_for(name, ZONE, deadline=soon(300, clock))
    wanted = [TxtValue(name, value) for value in values]
    return provider.ensure(zone, wanted, ttl=60, deadline=soon(300, clock))


@pytest.mark.parametrize("fault", [lose_reply, commit_then(UNAVAILABLE)], ids=["cut", "503"])
def test_a_lost_answer_to_a_change_makes_no_twin_and_is_ours(rig: Any, fault: Fault) -> None:
    rig.api.fail(creating(rig), fault)
    placements = put(rig, "value")
    assert [placement.created for placement in placements] == [True]
    assert rig.api.values(NAME) == ["value"]
    assert dict(rig.values(NAME)) == {"value": 60}
    rig.provider().release(placements, deadline=soon())
    assert rig.api.values(NAME) == []


@pytest.mark.parametrize("fault", [lose_call, refuse(UNAVAILABLE)], ids=["cut", "503"])
def test_a_change_that_was_not_carried_out_is_sent_again(rig: Any, fault: Fault) -> None:
    rig.api.fail(creating(rig), fault, times=2)
    (placement,) = put(rig, "value")
    assert placement.created
    assert rig.api.values(NAME) == ["value"]


@pytest.mark.parametrize("fault", [lose_reply, commit_then(UNAVAILABLE), lose_call], ids=["cut", "503", "not done"])
def test_a_lost_answer_to_a_removal_is_no_error(rig: Any, fault: Fault) -> None:
    placements = put(rig, "one", "two")
    rig.api.fail(removing(rig), fault)
    rig.provider().release(placements, deadline=soon())
    assert rig.api.values(NAME) == []
    assert dict(rig.values(NAME)) == {}


def test_a_throttle_storm_is_waited_out(rig: Any) -> None:
    provider = rig.provider()
    provider.zones_for(NAME, ZONE, deadline=soon())
    rig.api.fail(lambda _: True, refuse(Answer.of({}, 429)), times=12)
    (placement,) = put(rig, "value", provider=provider)
    assert placement.created
    rig.api.fail(lambda _: True, refuse(Answer.of({}, 429, **{"Retry-After": "2"})), times=12)
    provider.release([placement], deadline=soon(120))
    assert rig.api.values(NAME) == []


def test_throttling_beyond_the_deadline_is_told(rig: Any) -> None:
    provider = rig.provider()
    (zone,) = provider.zones_for(NAME, ZONE, deadline=soon())
    rig.api.fail(lambda _: True, refuse(Answer.of({}, 429, **{"Retry-After": "3600"})), times=9)
    with pytest.raises(DnsUnreachable, match="throttles") as caught:
        provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert caught.value.retryable
    assert caught.value.fix


def test_a_server_that_is_down_is_told(rig: Any) -> None:
    provider = rig.provider()
    (zone,) = provider.zones_for(NAME, ZONE, deadline=soon())
    rig.api.fail(lambda _: True, refuse(UNAVAILABLE), times=99)
    with pytest.raises(DnsUnreachable, match="503"):
        provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())


def test_what_was_there_is_adopted_and_stays(rig: Any) -> None:
    rig.plant(NAME, "theirs", 300)
    placements = put(rig, "theirs", "ours")
    assert [placement.created for placement in placements] == [False, True]
    assert dict(rig.values(NAME)) == {"theirs": 300, "ours": 300}
    rig.provider().release(placements, deadline=soon())
    assert rig.api.values(NAME) == ["theirs"]


def test_what_somebody_else_makes_between_look_and_write_is_kept_apart(rig: Any) -> None:
    """Where twins are refused it is adopted; where they are not, ours is the one that is removed."""

    def meanwhile(call: Call, do: Callable[[Call], Answer]) -> Answer:
        rig.api.plant(NAME, "value", 60, note="somebody else")
        return do(call)

    rig.api.fail(creating(rig), meanwhile)
    (placement,) = put(rig, "value")
    assert placement.created is isinstance(rig, WITH_TWINS)
    rig.provider().release([placement], deadline=soon())
    assert [record.note for record in rig.api.zone(ZONE).at(NAME)] == ["somebody else"]


@only(*WITH_TWINS, CloudflareRig)
def test_releasing_twice_leaves_a_neighbours_twin(rig: Any) -> None:
    placements = put(rig, "value")
    rig.api.zone(ZONE).records.insert(0, Rec(rig.api.new_id(), NAME, "value", 60, "somebody else"))
    for _ in range(2):
        rig.provider().release(placements, deadline=soon())
        assert [record.note for record in rig.api.zone(ZONE).at(NAME)] == ["somebody else"]


def test_without_a_record_id_one_record_is_removed_by_name_and_value(rig: Any) -> None:
    (placement,) = put(rig, "value")
    provider = rig.provider()
    zone = placement.zone
    if isinstance(rig, WITH_TWINS):
        rig.plant(NAME, "value", 60)
    provider.release([Placement(zone, NAME, "value", created=True)], deadline=soon())
    assert len(rig.api.values(NAME)) == (1 if isinstance(rig, WITH_TWINS) else 0)


@only(*WITH_NOTES)
def test_a_record_with_somebody_elses_comment_is_never_taken_for_ours(rig: Any) -> None:
    rig.api.plant(NAME, "value", 60, note="by hand")
    (zone,) = rig.provider().zones_for(NAME, ZONE, deadline=soon())
    rig.provider().release([Placement(zone, NAME, "value", created=True)], deadline=soon())
    assert rig.api.values(NAME) == ["value"]


def test_a_refusal_in_the_middle_leaves_nothing_behind(rig: Any) -> None:
    """The core takes a refusal for "nothing was written"."""
    names = [f"_acme-challenge.{letter}.{ZONE}" for letter in "abcdefgh"]
    provider = rig.provider()
    (zone,) = provider.zones_for(names[0], ZONE, deadline=soon())
    rig.api.fail(
        lambda call: creating(rig)(call) and b"poison" in call.body,
        refuse(Answer.of({"message": "no", "error": {"code": "no"}, "errors": [{"code": 1, "message": "no"}]}, 422)),
        times=3,
    )
    wanted = [TxtValue(name, "poison" if name == names[4] else "value") for name in names]
    with pytest.raises(DnsRefused):
        provider.ensure(zone, wanted, ttl=60, deadline=soon())
    assert rig.api.zone(ZONE).records == []
    for name in names:
        assert dict(rig.values(name)) == {}


@only(DigitalOceanRig, HetznerRig, OvhRig)  # Cloudflare makes all records in one transaction
def test_a_refusal_that_cannot_be_undone_is_no_refusal(rig: Any) -> None:
    provider = rig.provider()
    (zone,) = provider.zones_for(NAME, ZONE, deadline=soon())
    refusal = refuse(Answer.of({"message": "no", "error": {"code": "no"}}, 403))
    rig.api.fail(lambda call: creating(rig)(call) and b"poison" in call.body, refusal, times=3)
    rig.api.fail(removing(rig), refusal, times=9)
    wanted = [TxtValue(f"a.{ZONE}", "value"), TxtValue(f"b.{ZONE}", "poison")]
    with pytest.raises(DnsError, match="could not be removed") as caught:
        provider.ensure(zone, wanted, ttl=60, deadline=soon())
    assert type(caught.value) is DnsError


def test_an_interrupt_is_heard(rig: Any) -> None:
    clock = SystemClock()
    provider = rig.provider(clock=clock)
    (zone,) = provider.zones_for(NAME, ZONE, deadline=Deadline(clock, 30))
    rig.api.fail(lambda _: True, refuse(Answer.of({}, 429, **{"Retry-After": "20"})), times=9)
    threading.Timer(0.2, clock.stop).start()
    with pytest.raises(Interrupted):
        provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=Deadline(clock, 60))


@pytest.mark.parametrize("names", [2, 12])
def test_a_zone_of_many_records_is_searched_by_name(rig: Any, names: int) -> None:
    zone = rig.api.zone(ZONE)
    wanted = [f"_acme-challenge.n{number}.{ZONE}" for number in range(names)]
    for number in range(600):
        zone.records.append(Rec(rig.api.new_id(), f"txt{number}.{ZONE}", "other", 300))
    for name in wanted:
        rig.plant(name, "neighbour", 300)
    provider = rig.provider()
    (found,) = provider.zones_for(NAME, ZONE, deadline=soon())
    placements = provider.ensure(found, [TxtValue(name, "value") for name in wanted], ttl=60, deadline=soon(120))
    assert all(placement.created for placement in placements)
    provider.release(placements, deadline=soon(120))
    assert len(zone.records) == 600 + names


@pytest.mark.parametrize(("asked", "made"), [(1, None), (20, None), (61, 61), (86400, 86400)])
def test_a_ttl_below_the_least_is_raised_to_it(rig: Any, asked: int, made: int | None) -> None:
    provider = rig.provider()
    (zone,) = provider.zones_for(NAME, ZONE, deadline=soon())
    provider.ensure(zone, [TxtValue(NAME, "value")], ttl=asked, deadline=soon())
    least = {"cloudflare": 1 if asked == 1 else 60, "digitalocean": 30}.get(rig.name, 60)
    assert rig.api.zone(ZONE).records[0].ttl == (made or least)


@pytest.mark.parametrize("value", ['with "quotes" and \\', "x" * 300, "a;b c", "ünïcode"])
def test_any_value_comes_back_as_it_went(rig: Any, value: str) -> None:
    (placement,) = put(rig, value)
    assert rig.api.values(NAME) == [value]
    assert not put(rig, value)[0].created
    assert dict(rig.values(NAME)) == {value: 60}
    rig.provider().release([placement], deadline=soon())
    assert dict(rig.values(NAME)) == {}


def test_the_apex_itself_can_be_written(rig: Any) -> None:
    placements = put(rig, "value", name=ZONE)
    assert dict(rig.values(ZONE)) == {"value": 60}
    rig.provider().release(placements, deadline=soon())
    assert dict(rig.values(ZONE)) == {}


def test_zones_are_found_with_their_name_servers(rig: Any) -> None:
    rig.api.add_zone(f"deep.{ZONE}")
    for apex, names in ((None, {ZONE, f"deep.{ZONE}"}), (f"deep.{ZONE}", {f"deep.{ZONE}"}), (f"x.deep.{ZONE}", None)):
        zones = rig.provider().zones_for(f"_acme-challenge.x.deep.{ZONE}", apex, deadline=soon())
        assert {zone.name for zone in zones} == (names or {ZONE, f"deep.{ZONE}"})
        for zone in zones:
            assert zone.public
            assert len(zone.nameservers) >= 2
            assert all(host == host.lower().rstrip(".") for host in zone.nameservers)


def test_no_zone_is_told_with_what_to_do(rig: Any) -> None:
    with pytest.raises(ZoneNotFound, match=r"has no zone for _acme-challenge\.www\.elsewhere\.example") as caught:
        rig.provider().zones_for("_acme-challenge.www.elsewhere.example", "elsewhere.example", deadline=soon())
    assert "create the zone" in caught.value.fix


def test_a_zone_id_is_taken_without_looking_for_zones(rig: Any) -> None:
    (listed,) = rig.provider().zones_for(NAME, ZONE, deadline=soon())
    seen = len(rig.api.calls)
    (zone,) = rig.provider(zone_id=listed.id).zones_for(NAME, ZONE, deadline=soon())
    assert zone == listed
    assert len(rig.api.calls) - seen <= (1 if isinstance(rig, HetznerRig) else 0)
    placements = rig.provider(zone_id=listed.id).ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert placements[0].created


def test_a_zone_that_is_not_there_is_told(rig: Any) -> None:
    missing = {"cloudflare": "0" * 32, "hetzner": "424242"}.get(rig.name, "missing.example")
    provider = rig.provider(zone_id=missing)

    def check() -> None:
        (zone,) = provider.zones_for(NAME, ZONE, deadline=soon())
        provider.check_access(zone, [NAME], deadline=soon())

    with pytest.raises((ZoneNotFound, DnsRefused)) as caught:
        check()
    assert caught.value.fix


def test_no_error_holds_a_secret(rig: Any) -> None:
    (zone,) = rig.provider().zones_for(NAME, ZONE, deadline=soon())
    provider = rig.provider(good=False)
    attempts: list[Callable[[], Any]] = [
        lambda: provider.zones_for(NAME, ZONE, deadline=soon()),
        lambda: provider.check_access(zone, [NAME], deadline=soon()),
        lambda: provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon()),
        lambda: provider.release([Placement(zone, NAME, "value", created=True)], deadline=soon()),
    ]
    for attempt in attempts:
        with pytest.raises(DnsCredentialsError) as caught:
            attempt()
        text = json.dumps(caught.value.as_dict()) + repr(caught.value) + repr(vars(provider))
        for secret in {*rig.bad.values(), *rig.good.values()} - {"app"}:
            assert secret not in text


@pytest.mark.parametrize("secret", ["", "two words", "line\nbreak", "naïve"])
def test_a_secret_that_is_no_token_is_told_before_it_is_sent(rig: Any, secret: str) -> None:
    rig.bad = dict.fromkeys(rig.bad, secret)
    with pytest.raises(SecretError, match="env:") as caught:
        rig.provider(good=False).zones_for(NAME, ZONE, deadline=soon())
    assert not secret or secret not in json.dumps(caught.value.as_dict(), ensure_ascii=False)
    assert all(call.path.endswith("/auth/time") for call in rig.api.calls)


def test_blanks_around_a_secret_do_no_harm(rig: Any) -> None:
    rig.bad = {name: f" {value}\n" for name, value in rig.good.items()}
    provider = rig.provider(good=False)
    assert provider.zones_for(NAME, ZONE, deadline=soon())


def test_secrets_are_read_at_the_last_moment(rig: Any) -> None:
    def unreadable(reference: str) -> Any:
        raise AssertionError(reference)

    context = rig.context()
    lazy = type(context)(unreadable, context.clock)
    assert rig.adapter(rig.make_settings(), lazy).where.startswith(f"{rig.name} (127.0.0.1:")


def test_access_is_checked_without_a_change(rig: Any) -> None:
    provider = rig.provider()
    rig.plant(NAME, "theirs", 300)
    (zone,) = provider.zones_for(NAME, ZONE, deadline=soon())
    provider.check_access(zone, [NAME], deadline=soon())
    assert rig.api.values(NAME) == ["theirs"]


@pytest.mark.parametrize("url", ["http://api.example.com", "https://user:password@api.example.com", "nonsense"])
def test_an_endpoint_that_is_not_https_is_refused_by_the_config(rig: Any, url: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        rig.make_settings(endpoint=url)
    assert "password" not in str(caught.value)


def test_a_hundred_names_cost_few_requests_where_the_api_takes_batches(rig: Any) -> None:
    provider = rig.provider()
    names = [f"_acme-challenge.n{number}.{ZONE}" for number in range(100)]
    (zone,) = provider.zones_for(names[0], ZONE, deadline=soon())
    seen = len(rig.api.calls)
    placements = provider.ensure(zone, [TxtValue(name, "value") for name in names], ttl=60, deadline=soon(600))
    made = len(rig.api.calls) - seen
    provider.release(placements, deadline=soon(600))
    removed = len(rig.api.calls) - seen - made
    assert rig.api.zone(ZONE).records == []
    most = {"cloudflare": (2, 2), "digitalocean": (101, 101), "hetzner": (110, 110), "ovh": (102, 202)}[rig.name]
    assert made <= most[0] + (10 if rig.name == "hetzner" else 0)
    assert removed <= most[1] + (10 if rig.name == "hetzner" else 0)


def test_an_unexpected_answer_is_an_error_of_ours(rig: Any) -> None:
    """Nonsense in the place of JSON is an error with a fix, never a traceback."""
    provider = rig.provider()
    (zone,) = provider.zones_for(NAME, ZONE, deadline=soon())
    for status in (400, 402, 404, 409, 418):
        rig.api.fail(lambda _: True, refuse(Answer(status, b"<html>nginx</html>")), times=1)
        with pytest.raises(CiAcmeError) as caught:
            provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon(clock=SteppedClock()))
        assert caught.value.fix
        rig.api._faults.clear()
