"""Cloudflare: zones of several kinds and accounts, one change a zone, error codes, the least token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, ZoneNotFound
from ci_acme.ports import PermissionRequest, Placement, TxtValue
from ci_acme_providers.cloudflare.permissions import policies
from tests.clouds.api import Answer, Call, commit_then, refuse
from tests.clouds.cloudflare import Token
from tests.clouds.records import Rec
from tests.clouds.rigs import ZONE, CloudflareRig, open_rig
from tests.providers.support import soon

NAME = f"_acme-challenge.www.{ZONE}"


@pytest.fixture
def rig() -> Iterator[Any]:
    with open_rig(CloudflareRig) as made:
        yield made


def zone_of(provider: Any, name: str = NAME) -> Any:
    (zone,) = provider.zones_for(name, ZONE, deadline=soon())
    return zone


def error_of(codes: list[tuple[int, str]], status: int, chain: list[tuple[int, str]] | None = None) -> Answer:
    errors: list[dict[str, Any]] = [{"code": code, "message": text} for code, text in codes]
    if chain:
        errors[0]["error_chain"] = [{"code": code, "message": text} for code, text in chain]
    return Answer.of({"success": False, "errors": errors, "messages": [], "result": None}, status)


# --- changes


def test_records_are_made_and_removed_in_one_request_each_and_say_whose_they_are(rig: Any) -> None:
    provider = rig.provider(run="job-77")
    zone = zone_of(provider)
    names = [f"_acme-challenge.n{number}.{ZONE}" for number in range(100)]
    seen = len(rig.api.calls)
    placements = provider.ensure(zone, [TxtValue(name, "value") for name in names], ttl=60, deadline=soon())
    assert [call.method for call in rig.api.calls[seen:]] == ["GET", "POST"]
    assert {record.note for record in rig.api.zone(ZONE).records} == {"ci-acme job-77"}
    seen = len(rig.api.calls)
    provider.release(placements, deadline=soon())
    assert [call.method for call in rig.api.calls[seen:]] == ["GET", "POST"]
    assert rig.api.zone(ZONE).records == []


def test_more_records_than_a_batch_takes(rig: Any) -> None:
    provider = rig.provider()
    values = [TxtValue(f"_acme-challenge.n{number}.{ZONE}", "value") for number in range(401)]
    placements = provider.ensure(zone_of(provider), values, ttl=60, deadline=soon())
    assert len(rig.api.sent("POST", "/batch")) == 3
    provider.release(placements, deadline=soon())
    assert rig.api.zone(ZONE).records == []


def test_content_is_sent_in_quotes(rig: Any) -> None:
    provider = rig.provider()
    provider.ensure(zone_of(provider), [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    (post,) = rig.api.sent("POST", "/batch")[-1].json["posts"]
    assert post["content"] == '"value"'


@pytest.mark.parametrize("code", [81057, 81058])
def test_a_record_that_exists_is_adopted_and_the_rest_is_made(rig: Any, code: int) -> None:
    """Another run adds one of the values after we have looked: the batch is refused as a whole."""

    def meanwhile(call: Call, do: Any) -> Answer:
        rig.api.plant(NAME, "one", 60, note="ci-acme other-run")
        return error_of([(code, "An identical record already exists.")], 400)

    provider = rig.provider()
    rig.api.fail(lambda call: call.path.endswith("/batch"), meanwhile)
    placements = provider.ensure(
        zone_of(provider), [TxtValue(NAME, "one"), TxtValue(NAME, "two")], ttl=60, deadline=soon()
    )
    assert [placement.created for placement in placements] == [False, True]
    provider.release(placements, deadline=soon())
    assert rig.api.values(NAME) == ["one"]


def test_after_a_lost_answer_the_comment_says_whose_a_record_is(rig: Any) -> None:
    """Ours was not carried out, and another run has made the same record meanwhile."""

    def meanwhile(call: Call, do: Any) -> None:
        rig.api.plant(NAME, "value", 60, note="ci-acme other-run")

    provider = rig.provider()
    rig.api.fail(lambda call: call.path.endswith("/batch"), meanwhile)
    (placement,) = provider.ensure(zone_of(provider), [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert not placement.created


def test_what_is_gone_does_not_hinder_the_removal_of_the_rest(rig: Any) -> None:
    provider = rig.provider()
    placements = provider.ensure(
        zone_of(provider), [TxtValue(NAME, "one"), TxtValue(NAME, "two")], ttl=60, deadline=soon()
    )

    def meanwhile(call: Call, do: Any) -> Any:
        del rig.api.zone(ZONE).records[0]
        return do(call)

    rig.api.fail(lambda call: b"deletes" in call.body, meanwhile)
    provider.release(placements, deadline=soon())
    assert rig.api.zone(ZONE).records == []


def test_a_neighbour_with_an_automatic_ttl_keeps_it(rig: Any) -> None:
    rig.api.zone(ZONE).records.append(Rec(rig.api.new_id(), NAME, "theirs", 1))
    provider = rig.provider()
    provider.ensure(zone_of(provider), [TxtValue(NAME, "ours", ttl=300)], ttl=60, deadline=soon())
    assert [record.ttl for record in rig.api.zone(ZONE).at(NAME)] == [1, 1]


# --- zones


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"status": "pending"}, "is pending: its domain is not delegated"),
        ({"status": "moved"}, "has moved away"),
        ({"status": "deactivated"}, "is deactivated"),
        ({"type": "partial"}, "is of the type partial"),
        ({"type": "secondary"}, "is of the type secondary"),
    ],
)
def test_a_zone_that_is_not_served_is_not_chosen_and_explained(rig: Any, facts: dict[str, str], why: str) -> None:
    rig.api.zones.clear()
    dead = rig.api.add_zone(ZONE, **facts)
    with pytest.raises(ZoneNotFound, match=why):
        rig.provider().zones_for(NAME, ZONE, deadline=soon())
    alive = rig.api.add_zone(ZONE, account="two")
    zones = {zone.id: zone.public for zone in rig.provider().zones_for(NAME, ZONE, deadline=soon())}
    assert zones == {dead.id: False, alive.id: True}


def test_a_paused_zone_is_served(rig: Any) -> None:
    rig.api.zone(ZONE).facts["paused"] = True
    assert zone_of(rig.provider()).public


def test_a_name_in_two_accounts_is_two_candidates_unless_one_is_named(rig: Any) -> None:
    second = rig.api.add_zone(ZONE, account="two", name_servers=["x.ns.cloudflare.com", "y.ns.cloudflare.com"])
    zones = rig.provider().zones_for(NAME, ZONE, deadline=soon())
    assert [zone.nameservers for zone in zones] == [
        ("ada.ns.cloudflare.com", "bob.ns.cloudflare.com"),
        ("x.ns.cloudflare.com", "y.ns.cloudflare.com"),
    ]
    (zone,) = rig.provider(account_id="two").zones_for(NAME, ZONE, deadline=soon())
    assert zone.id == second.id


def test_zones_are_read_over_all_pages(rig: Any) -> None:
    for number in range(120):
        rig.api.add_zone(ZONE, account=f"account-{number}")
    assert len(rig.provider().zones_for(NAME, ZONE, deadline=soon())) == 121


def test_vanity_name_servers_are_name_servers(rig: Any) -> None:
    rig.api.zone(ZONE).facts["vanity_name_servers"] = ["ns1.ci.test", "ns2.ci.test"]
    assert zone_of(rig.provider()).nameservers[2:] == ("ns1.ci.test", "ns2.ci.test")


def test_a_zone_id_needs_no_permission_to_read_zones(rig: Any) -> None:
    identifier = rig.api.zone(ZONE).id
    rig.api.tokens[rig.good["TOKEN"]] = Token({identifier}, {"dns:edit"})
    for apex in (ZONE, None):
        provider = rig.provider(zone_id=identifier)
        (zone,) = provider.zones_for(NAME, apex, deadline=soon())
        assert (zone.id, zone.name) == (identifier, ZONE)
        provider.check_access(zone, [NAME], deadline=soon())
        placements = provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
        provider.release(placements, deadline=soon())
    assert not [call for call in rig.api.calls if "dns_records" not in call.path]


def test_a_zone_id_in_an_entry_for_all_names_is_asked_for_its_name_if_nobody_else_knows_it(rig: Any) -> None:
    identifier = rig.api.zone(ZONE).id
    (zone,) = rig.provider(zone=".", zone_id=identifier).zones_for(NAME, None, deadline=soon())
    assert zone.name == ZONE


# --- permissions and refusals


def granted(rig: Any, **more: Any) -> Token:
    """The token that our policy document describes."""
    settings = rig.make_settings(**more)
    documents = policies(PermissionRequest(settings, (NAME,), ZONE))
    body = json.loads(documents[1].text.replace("ZONE_ID", rig.api.zone(ZONE).id))
    (policy,) = body["policies"]
    names = {"DNS Write": "dns:edit", "Zone Read": "zone:read"}
    zones = {key.rpartition(".")[2] for key in policy["resources"]}
    return Token(zones, {names[group["name"]] for group in policy["permission_groups"]})


@pytest.mark.parametrize("pinned", [False, True])
def test_the_printed_token_is_enough_and_no_more_than_that(rig: Any, *, pinned: bool) -> None:
    more = {"zone_id": rig.api.zone(ZONE).id} if pinned else {}
    token = rig.api.tokens[rig.good["TOKEN"]] = granted(rig, **more)
    assert token.permissions == ({"dns:edit"} if pinned else {"dns:edit", "zone:read"})

    def whole_run() -> None:
        provider = rig.provider(**more)
        zone = zone_of(provider)
        provider.check_access(zone, [NAME], deadline=soon())
        provider.release(provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon()), deadline=soon())

    whole_run()
    for permission, words in (("dns:edit", "Zone / DNS / Edit"), ("zone:read", "Zone / Zone / Read")):
        if permission in token.permissions:
            rig.api.tokens[rig.good["TOKEN"]] = Token(token.zones, token.permissions - {permission})
            with pytest.raises(DnsRefused) as caught:
                whole_run()
            assert f"grant the token {words} on {ZONE}" in caught.value.fix
    other = rig.api.add_zone("other.test")
    rig.api.tokens[rig.good["TOKEN"]] = token
    with pytest.raises(DnsRefused):
        rig.provider(zone_id=other.id).release(
            [Placement(type(zone_of(rig.provider(**more)))(other.id, "other.test"), "a.other.test", "x", created=True)],
            deadline=soon(),
        )


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (error_of([(6003, "Invalid request headers")], 400, [(6111, "Invalid format")]), DnsCredentialsError, "whole"),
        (error_of([(9103, "Unknown X-Auth-Key or X-Auth-Email")], 403), DnsCredentialsError, "Global API Key"),
        (error_of([(9109, "Invalid access token")], 403), DnsCredentialsError, "expired"),
        (error_of([(1000, "Invalid API Token")], 401), DnsCredentialsError, "whole token"),
        (error_of([(9109, "Unauthorized to access requested resource")], 403), DnsRefused, "Zone / DNS / Edit"),
        (error_of([(10000, "Authentication error")], 403), DnsRefused, "Zone / DNS / Edit"),
        (error_of([(1009, "permission")], 400), DnsRefused, "Zone / DNS / Edit"),
        (error_of([(7003, "Could not route to /zones/x")], 404), ZoneNotFound, "zone_id"),
        (error_of([(81045, "Record quota exceeded.")], 400), DnsRefused, "plan"),
        (error_of([(1004, "DNS Validation Error")], 400, [(9021, "TTL must be")]), DnsRefused, "correct ttl"),
        (Answer(403, b"<html>"), DnsRefused, "grant"),
    ],
)
def test_refusals_say_what_to_do(rig: Any, answer: Answer, kind: type[DnsError], says: str) -> None:
    provider = rig.provider()
    zone = zone_of(provider)
    rig.api.fail(lambda call: call.method == "POST", refuse(answer))
    with pytest.raises(kind) as caught:
        provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert says in caught.value.fix
    assert caught.value.details["zone"] == ZONE


def test_a_failure_that_stays_is_not_sent_for_ever(rig: Any) -> None:
    provider = rig.provider()
    zone = zone_of(provider)
    rig.api.fail(lambda call: call.path.endswith("/batch"), refuse(Answer(500, b"")), times=99)
    with pytest.raises(DnsError, match="neither confirmed nor listed"):
        provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon(3600))
    assert len(rig.api.sent("POST", "/batch")) == 8


def test_a_batch_that_was_carried_out_behind_an_error_is_taken_back_when_the_next_is_refused(rig: Any) -> None:
    provider = rig.provider()
    zone = zone_of(provider)
    values = [TxtValue(f"_acme-challenge.n{number}.{ZONE}", "value") for number in range(201)]
    rig.api.fail(lambda call: call.path.endswith("/batch"), commit_then(Answer(503, b"")))
    rig.api.fail(
        lambda call: call.path.endswith("/batch") and len(call.body) < 1000 and b"posts" in call.body,
        refuse(error_of([(81045, "Record quota exceeded.")], 400)),
    )
    with pytest.raises(DnsRefused, match="quota"):
        provider.ensure(zone, values, ttl=60, deadline=soon())
    assert rig.api.zone(ZONE).records == []
