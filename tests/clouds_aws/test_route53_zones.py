"""Which hosted zones are found, and what that costs and needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest

from ci_acme.errors import DnsRefused, ZoneNotFound
from ci_acme.ports import Zone
from tests.clouds.aws_support import Account, environment
from tests.clouds.route53 import DELEGATION, FakeRoute53

NAME = "_acme-challenge.www.ci.test"


@pytest.fixture
def account() -> Iterator[Account]:
    with FakeRoute53() as fake:
        yield Account(fake)


def find(account: Account, name: str = NAME, apex: str | None = "ci.test") -> Sequence[Zone]:
    return account.adapter().zones_for(name, apex, deadline=account.deadline())


def shown(zones: Sequence[Zone]) -> list[tuple[str, bool, int]]:
    return [(zone.name, zone.public, len(zone.nameservers)) for zone in zones]


def test_a_zone_comes_with_the_name_servers_that_it_was_given(account: Account) -> None:
    (zone,) = find(account)
    assert zone == Zone(account.zone.id, "ci.test")
    assert (zone.nameservers, zone.public) == (DELEGATION, True)
    assert account.fake.operations() == ["ListHostedZonesByName", "GetHostedZone"]


def test_private_twins_and_duplicates_are_told_apart(account: Account) -> None:
    private = account.fake.zone("ci.test", private=True)
    twin = account.fake.zone("ci.test")
    twin.nameservers = ("ns-9.awsdns-09.com",)
    zones = find(account)
    assert {(zone.id, zone.public, zone.nameservers) for zone in zones} == {
        (account.zone.id, True, DELEGATION),
        (private.id, False, ()),
        (twin.id, True, ("ns-9.awsdns-09.com",)),
    }


def test_zones_above_and_below_the_delegated_one_are_told_without_further_calls(account: Account) -> None:
    """The core explains a sub-zone that nobody delegates to, and a parent whose records nobody would see."""
    account.fake.zone("www.ci.test")
    assert shown(find(account)) == [("www.ci.test", True, 0), ("ci.test", True, 4)]
    assert account.fake.operations() == ["ListHostedZonesByName", "GetHostedZone"]


def test_a_sub_zone_that_is_delegated_elsewhere_shows_the_parent(account: Account) -> None:
    assert shown(find(account, "_acme-challenge.a.sub.ci.test", "sub.ci.test")) == [("ci.test", True, 4)]


def test_without_an_apex_every_candidate_has_its_name_servers(account: Account) -> None:
    account.fake.zone("www.ci.test")
    assert shown(find(account, apex=None)) == [("www.ci.test", True, 4), ("ci.test", True, 4)]


def test_among_hundreds_of_zones_only_the_pages_that_matter_are_asked_for(account: Account) -> None:
    for number in range(350):
        account.fake.zone(f"a{number}.test")
        account.fake.zone(f"x{number}.ci.test")
    account.fake.zone("zz.ci.test")
    assert [zone.name for zone in find(account, "_acme-challenge.zz.ci.test", "zz.ci.test")] == [
        "zz.ci.test",
        "ci.test",
    ]
    assert account.fake.operations() == ["ListHostedZonesByName"] * 2 + ["GetHostedZone"]


def test_many_twins_are_paged_through(account: Account) -> None:
    for _ in range(150):
        account.fake.zone("ci.test", private=True)
    assert len(find(account)) == 151
    assert account.fake.operations() == ["ListHostedZonesByName"] * 2 + ["GetHostedZone"]


def test_a_similar_name_is_another_zone(account: Account) -> None:
    assert find(account, "_acme-challenge.xci.test", None) == []
    account.fake.zone("ci-test.example")
    assert find(account, "_acme-challenge.test.example", "test.example") == []


def test_a_top_level_zone_is_found_if_it_is_the_apex(account: Account) -> None:
    account.fake.zone("corp")
    assert shown(find(account, "_acme-challenge.www.corp", "corp")) == [("corp", True, 4)]


# --- zone_id


@pytest.mark.parametrize("form", ["{}", "/hostedzone/{}"])
def test_a_zone_id_needs_no_listing(account: Account, form: str) -> None:
    adapter = account.adapter(zone_id=form.format(account.zone.id))
    (zone,) = adapter.zones_for(NAME, "ci.test", deadline=account.deadline())
    assert (zone.id, zone.name, zone.nameservers) == (account.zone.id, "ci.test", DELEGATION)
    assert account.fake.operations() == ["GetHostedZone"]


@pytest.mark.parametrize(("apex", "name"), [("ci.test", "ci.test"), (None, "ci.test")])
def test_a_zone_id_that_may_not_be_looked_at_is_taken_as_it_is(account: Account, apex: str | None, name: str) -> None:
    nobody = account.fake.accounts.user()
    adapter = account.adapter(environment(account.fake, nobody), zone_id=account.zone.id)
    assert adapter.zones_for(NAME, apex, deadline=account.deadline()) == [Zone(account.zone.id, name)]


def test_a_zone_id_that_is_wrong(account: Account) -> None:
    with pytest.raises(ZoneNotFound, match="has no hosted zone Z0") as raised:
        account.adapter(zone_id="Z0").zones_for(NAME, "ci.test", deadline=account.deadline())
    assert "zone_id" in raised.value.fix


def test_who_may_not_list_is_told_of_zone_id_and_of_the_right(account: Account) -> None:
    nobody = account.fake.accounts.user()
    with pytest.raises(DnsRefused, match=r"arn:aws:iam::\d+:user/ci route53:ListHostedZonesByName on \*") as raised:
        account.adapter(environment(account.fake, nobody)).zones_for(NAME, None, deadline=account.deadline())
    assert "zone_id" in raised.value.fix
    statement = raised.value.fix.partition("{")[2].rpartition("}")[0]
    assert json.loads("{" + statement + "}") == {
        "Effect": "Allow",
        "Action": "route53:ListHostedZonesByName",
        "Resource": "*",
    }


def test_who_may_list_and_not_look_gets_zones_without_name_servers(account: Account) -> None:
    statement = {"Effect": "Allow", "Action": "route53:ListHostedZonesByName", "Resource": "*"}
    lister = account.fake.accounts.user(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    adapter = account.adapter(environment(account.fake, lister))
    assert shown(adapter.zones_for(NAME, "ci.test", deadline=account.deadline())) == [("ci.test", True, 0)]
