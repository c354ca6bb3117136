"""DigitalOcean: scopes, name servers from the zone file, twins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, ZoneNotFound
from ci_acme.ports import PermissionRequest, Placement, TxtValue
from ci_acme_providers.digitalocean.permissions import policies
from tests.clouds.api import Answer, refuse
from tests.clouds.records import Rec
from tests.clouds.rigs import ZONE, DigitalOceanRig, open_rig
from tests.providers.support import soon

NAME = f"_acme-challenge.www.{ZONE}"


@pytest.fixture
def rig() -> Iterator[Any]:
    with open_rig(DigitalOceanRig) as made:
        yield made


def zone_of(provider: Any) -> Any:
    (zone,) = provider.zones_for(NAME, ZONE, deadline=soon())
    return zone


def test_name_servers_are_those_of_the_apex(rig: Any) -> None:
    """A delegation below it, which the zone file has as well, is none of them."""
    assert zone_of(rig.provider()).nameservers == (
        "ns1.digitalocean.com",
        "ns2.digitalocean.com",
        "ns3.digitalocean.com",
    )


def test_a_domain_without_a_zone_file_has_no_known_name_servers(rig: Any) -> None:
    rig.api.fail(lambda _: True, refuse(Answer.of({"domain": {"name": ZONE, "ttl": 1800, "zone_file": None}})))
    assert zone_of(rig.provider()).nameservers == ()


def test_data_is_sent_plain_and_the_name_is_relative(rig: Any) -> None:
    provider = rig.provider()
    provider.ensure(zone_of(provider), [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert rig.api.sent("POST")[0].json == {
        "type": "TXT",
        "name": "_acme-challenge.www",
        "data": "value",
        "ttl": 60,
    }


def test_records_are_asked_for_by_type_and_full_name(rig: Any) -> None:
    provider = rig.provider()
    provider.ensure(zone_of(provider), [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    query = rig.api.sent("GET", "/records")[0].query
    assert (query["type"], query["name"]) == (["TXT"], [NAME])


def test_of_three_twins_one_receipt_removes_one(rig: Any) -> None:
    provider = rig.provider()
    (placement,) = provider.ensure(zone_of(provider), [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    for _ in range(2):
        rig.plant(NAME, "value", 60)
    provider.release([placement], deadline=soon())
    left = [str(record.id) for record in rig.api.zone(ZONE).at(NAME)]
    assert len(left) == 2
    assert placement.ref not in left


def test_two_receipts_without_ids_remove_two_twins(rig: Any) -> None:
    for _ in range(3):
        rig.plant(NAME, "value", 60)
    provider = rig.provider()
    zone = zone_of(provider)
    provider.release([Placement(zone, NAME, "value", created=True)] * 2, deadline=soon())
    assert len(rig.api.values(NAME)) == 1


def test_a_twin_of_what_is_there_is_not_made(rig: Any) -> None:
    for _ in range(2):
        rig.plant(NAME, "value", 60)
    provider = rig.provider()
    (placement,) = provider.ensure(zone_of(provider), [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert not placement.created
    assert len(rig.api.values(NAME)) == 2


def test_other_records_of_the_name_are_left_alone(rig: Any) -> None:
    """The type is filtered by the server; an answer that ignores the filter does no harm."""
    provider = rig.provider()
    zone = zone_of(provider)
    record = {"id": 7, "type": "A", "name": "_acme-challenge.www", "data": "value", "ttl": 60}
    rig.api.fail(
        lambda call: "records" in call.path, refuse(Answer.of({"domain_records": [record], "meta": {"total": 1}}))
    )
    provider.release([Placement(zone, NAME, "value", created=True)], deadline=soon())
    assert rig.api.sent("DELETE") == []


def scopes_of(text: str) -> set[str]:
    return set(re.findall(r"domain:\w+", text))


def test_the_printed_scopes_are_enough_and_each_is_needed(rig: Any) -> None:
    (document,) = policies(PermissionRequest(rig.make_settings(), (NAME,), ZONE))
    scopes = scopes_of(document.text)
    assert scopes == {"domain:read", "domain:create", "domain:delete"}

    def whole_run(granted: set[str]) -> None:
        rig.api.tokens[rig.good["TOKEN"]] = granted
        provider = rig.provider()
        zone = zone_of(provider)
        provider.check_access(zone, [NAME], deadline=soon())
        placements = provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
        provider.release(placements, deadline=soon())

    whole_run(scopes)
    for scope in scopes:
        with pytest.raises(DnsRefused) as caught:
            whole_run(scopes - {scope})
        assert f"grant the token the scope {scope}" in caught.value.fix
    assert rig.api.zone(ZONE).records == []


def test_a_token_that_may_not_delete_is_found_before_anything_is_made(rig: Any) -> None:
    rig.api.tokens[rig.good["TOKEN"]] = {"domain:read", "domain:create"}
    provider = rig.provider()
    with pytest.raises(DnsRefused, match="not for this token") as caught:
        provider.check_access(zone_of(provider), [NAME], deadline=soon())
    assert "domain:delete" in caught.value.fix


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, DnsCredentialsError, "new personal access token"),
        (403, DnsRefused, "domain:create"),
        (404, ZoneNotFound, "create the domain"),
        (422, DnsRefused, "at least 30"),
    ],
)
def test_refusals_say_what_to_do(rig: Any, status: int, kind: type[DnsError], says: str) -> None:
    provider = rig.provider()
    zone = zone_of(provider)
    rig.api.fail(lambda call: call.method == "POST", refuse(Answer.of({"id": "x", "message": "a\nmessage"}, status)))
    with pytest.raises(kind, match="a message") as caught:
        provider.ensure(zone, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert says in caught.value.fix


def test_a_neighbours_ttl_is_kept(rig: Any) -> None:
    rig.api.zone(ZONE).records.append(Rec(1, NAME, "theirs", 1800))
    provider = rig.provider()
    provider.ensure(zone_of(provider), [TxtValue(NAME, "ours")], ttl=60, deadline=soon())
    assert [record.ttl for record in rig.api.zone(ZONE).at(NAME)] == [1800, 1800]
