"""Hetzner: actions, zones of two modes, a set's own TTL, what passes and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, DnsUnreachable, ZoneNotFound
from ci_acme.ports import PermissionRequest, Placement, TxtValue
from ci_acme_providers.hetzner.permissions import policies
from tests.clouds.api import Answer, Call, commit_then, lose_reply, refuse
from tests.clouds.records import Rec
from tests.clouds.rigs import ZONE, HetznerRig, open_rig
from tests.providers.support import soon

NAME = f"_acme-challenge.www.{ZONE}"


@pytest.fixture
def rig() -> Iterator[Any]:
    with open_rig(HetznerRig) as made:
        made.api.takes = 3
        yield made


def zone_of(provider: Any) -> Any:
    (zone,) = provider.zones_for(NAME, ZONE, deadline=soon())
    return zone


def error(status: int, code: str, message: str = "no", fields: Any = None) -> Answer:
    return Answer.of({"error": {"code": code, "message": message, "details": {"fields": fields or []}}}, status)


def adding(call: Call) -> bool:
    return call.path.endswith("/add_records")


def test_values_of_a_name_go_in_one_action_which_is_followed_to_its_end(rig: Any) -> None:
    rig.api.takes = 6
    provider = rig.provider(run="job-77")
    placements = provider.ensure(
        zone_of(provider), [TxtValue(NAME, "one"), TxtValue(NAME, "two")], ttl=60, deadline=soon()
    )
    (call,) = [call for call in rig.api.calls if adding(call)]
    assert call.json == {
        "ttl": 60,
        "records": [
            {"value": '"one"', "comment": "ci-acme job-77"},
            {"value": '"two"', "comment": "ci-acme job-77"},
        ],
    }
    assert dict(rig.values(NAME)) == {"one": 60, "two": 60}
    provider.release(placements, deadline=soon())
    assert dict(rig.values(NAME)) == {}


def test_a_hundred_actions_are_asked_for_together(rig: Any) -> None:
    rig.api.takes = 110
    provider = rig.provider()
    values = [TxtValue(f"_acme-challenge.n{number}.{ZONE}", "value") for number in range(100)]
    provider.ensure(zone_of(provider), values, ttl=60, deadline=soon(600))
    polls = rig.api.sent("GET", "/zones/actions")
    assert len(polls[0].query["id"]) == 50
    assert len(polls) < 120


def test_an_action_that_fails_is_begun_again(rig: Any) -> None:
    rig.api.fails = 2
    provider = rig.provider()
    (placement,) = provider.ensure(zone_of(provider), [TxtValue(NAME, "value")], ttl=60, deadline=soon(120))
    assert placement.created
    rig.api.fails = 1
    provider.release([placement], deadline=soon(120))
    assert rig.api.values(NAME) == []


def test_an_action_that_does_not_end_is_told(rig: Any) -> None:
    rig.api.takes = 10_000
    provider = rig.provider()
    with pytest.raises(DnsUnreachable, match="has not finished 1 changes in time"):
        provider.ensure(zone_of(provider), [TxtValue(NAME, "value")], ttl=60, deadline=soon())


def test_a_lost_answer_to_an_action_that_goes_on_is_waited_for_when_it_is_cleaned_up(rig: Any) -> None:
    """The run was killed between the request and its answer: the journal knows name and value alone."""
    rig.api.takes = 8
    provider = rig.provider()
    zone = zone_of(provider)
    rig.api.fail(adding, lose_reply)
    rig.api.fail(lambda call: call.method == "GET" and bool(rig.api.actions), refuse(Answer(503, b"")), times=99)
    with pytest.raises(DnsUnreachable):
        provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    rig.api._faults.clear()
    rig.api.actions[-1].ends = len(rig.api.calls) + 6
    assert rig.api.values(NAME) == []
    rig.provider().release([Placement(zone, NAME, "value", created=True)], deadline=soon(60))
    assert [action.command for action in rig.api.actions] == ["add_rrset_records", "remove_rrset_records"]
    assert [action.status for action in rig.api.actions] == ["success", "success"]
    assert rig.api.values(NAME) == []


def test_a_refusal_waits_for_what_has_begun_and_takes_it_back(rig: Any) -> None:
    rig.api.takes = 6
    provider = rig.provider()
    zone = zone_of(provider)
    values = [TxtValue(f"_acme-challenge.n{number}.{ZONE}", "value") for number in range(4)]
    rig.api.fail(lambda call: adding(call) and ".n3" in call.path, refuse(error(422, "protected")))
    with pytest.raises(DnsRefused, match="protected") as caught:
        provider.ensure(zone, values, ttl=60, deadline=soon())
    assert "change protection" in caught.value.fix
    assert rig.api.zone(ZONE).records == []
    assert {action.status for action in rig.api.actions} == {"success"}


@pytest.mark.parametrize(("status", "code"), [(409, "conflict"), (423, "locked"), (503, "resource_unavailable")])
def test_what_passes_is_tried_again(rig: Any, status: int, code: str) -> None:
    provider = rig.provider()
    zone = zone_of(provider)
    rig.api.fail(adding, refuse(error(status, code)), times=3)
    (placement,) = provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon(120))
    assert placement.created
    rig.api.fail(lambda call: call.path.endswith("/remove_records"), refuse(error(status, code)), times=3)
    provider.release([placement], deadline=soon(120))
    assert rig.api.values(NAME) == []


def test_a_duplicate_is_looked_up_and_adopted(rig: Any) -> None:
    """A neighbour's action goes on while we look: the value is in no list, and is refused."""
    provider = rig.provider()
    zone = zone_of(provider)

    def meanwhile(call: Call, do: Any) -> Answer:
        rig.api.takes = 4
        answer: Answer = do(call)
        assert answer.status == 201
        return do(call)

    rig.api.fail(adding, meanwhile)
    (placement,) = provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon(120))
    assert not placement.created
    assert rig.api.values(NAME) == ["value"]


def test_a_set_that_got_another_ttl_meanwhile_keeps_it(rig: Any) -> None:
    provider = rig.provider()
    zone = zone_of(provider)

    def meanwhile(call: Call, do: Any) -> Answer:
        rig.plant(NAME, "theirs", 900)
        return do(call)

    rig.api.fail(adding, meanwhile)
    provider.ensure(zone, [TxtValue(NAME, "ours")], ttl=60, deadline=soon(120))
    assert dict(rig.values(NAME)) == {"theirs": 900, "ours": 900}


def test_a_set_with_the_zones_ttl_keeps_it(rig: Any) -> None:
    rig.api.zone(ZONE).records.append(Rec(0, NAME, "theirs", None))
    provider = rig.provider()
    provider.ensure(zone_of(provider), [TxtValue(NAME, "ours", ttl=86400)], ttl=60, deadline=soon())
    (call,) = [call for call in rig.api.calls if adding(call)]
    assert "ttl" not in call.json
    assert [record.ttl for record in rig.api.zone(ZONE).at(NAME)] == [None, None]


def test_a_secondary_zone_is_not_chosen_and_explained(rig: Any) -> None:
    rig.api.zone(ZONE).facts["mode"] = "secondary"
    with pytest.raises(ZoneNotFound, match="is a secondary one"):
        rig.provider().zones_for(NAME, ZONE, deadline=soon())


@pytest.mark.parametrize("identifier", ["53091", ZONE])
def test_a_zone_id_is_an_id_or_a_name(rig: Any, identifier: str) -> None:
    (zone,) = rig.provider(zone=".", zone_id=identifier).zones_for(NAME, None, deadline=soon())
    assert (zone.id, zone.name) == ("53091", ZONE)


def test_a_token_that_can_only_read_is_found_before_anything_is_made(rig: Any) -> None:
    (document,) = policies(PermissionRequest(rig.make_settings(), (NAME,), ZONE))
    assert "Read & Write" in document.text
    rig.api.tokens[rig.good["TOKEN"]] = "read"
    provider = rig.provider()
    zone = zone_of(provider)
    with pytest.raises(DnsRefused, match="token_readonly") as caught:
        provider.check_access(zone, [NAME], deadline=soon())
    assert "Read & Write" in caught.value.fix
    with pytest.raises(DnsRefused):
        provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (error(401, "unauthorized"), DnsCredentialsError, "not in the former DNS Console"),
        (error(403, "forbidden"), DnsRefused, "Read & Write"),
        (error(404, "not_found"), ZoneNotFound, "migrate"),
        (error(422, "incorrect_zone_mode"), DnsRefused, "primary"),
        (
            error(422, "invalid_input", "must be 60", [{"name": "value", "messages": ["bad"]}]),
            DnsRefused,
            "at least 60",
        ),
        (error(403, "resource_limit_exceeded"), DnsRefused, "Read & Write"),
    ],
)
def test_refusals_say_what_to_do(rig: Any, answer: Answer, kind: type[DnsError], says: str) -> None:
    provider = rig.provider()
    zone = zone_of(provider)
    rig.api.fail(adding, refuse(answer))
    with pytest.raises(kind) as caught:
        provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert says in caught.value.fix


def test_an_error_while_actions_are_followed_leaves_the_outcome_open(rig: Any) -> None:
    provider = rig.provider()
    zone = zone_of(provider)
    rig.api.fail(lambda call: call.path == "/zones/actions", refuse(error(400, "invalid_input")))
    with pytest.raises(DnsError, match="does not tell what became of a change") as caught:
        provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert type(caught.value) is DnsError, "not one after which nothing is cleaned up"


def test_a_removal_whose_answer_came_from_a_gateway_is_looked_up(rig: Any) -> None:
    provider = rig.provider()
    placements = provider.ensure(zone_of(provider), [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    rig.api.fail(lambda call: call.path.endswith("/remove_records"), commit_then(Answer(502, b"")), times=2)
    provider.release(placements, deadline=soon(60))
    assert rig.api.values(NAME) == []
