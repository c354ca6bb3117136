"""The choice among a provider's zones, as a function."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.dns.choice import Wish, choose
from ci_acme.errors import CiAcmeError, DnsDelegationError, ZoneNotFound
from ci_acme.model.names import is_suffix
from ci_acme.ports import Zone

NAME = "_acme-challenge.www.sub.example.com"
NS1, NS2, OTHER = "ns1.cloud.test", "ns2.cloud.test", "ns1.elsewhere.test"


class Dns:
    """What the DNS says: the NS of the zones that exist. Counts the questions."""

    def __init__(
        self, zones: dict[str, Collection[str]] | None, *, aliases: bool = False, inner: str | None = None
    ) -> None:
        self.zones = zones
        self.aliases = aliases
        self.inner = inner
        self.asked: list[str] = []

    def hosts(self, zone: str) -> Collection[str] | None:
        self.asked.append(zone)
        return None if self.zones is None else self.zones.get(zone, ())

    def same_servers(self, zone: str, assigned: Collection[str]) -> bool:
        self.asked.append(f"addresses of {zone}")
        return self.aliases

    def view(self, zone: str) -> str | None:
        return self.inner


def wish(apex: str | None = "example.com", *, private: bool = False, pinned: bool = False) -> Wish:
    return Wish(NAME, apex, "cloud", private=private, pinned=pinned)


def test_one_zone_that_says_nothing_of_its_servers_costs_no_question() -> None:
    dns = Dns({})
    assert choose([Zone("Z1", "example.com")], wish(), dns).zone.id == "Z1"
    assert dns.asked == []


def test_one_zone_with_the_servers_of_the_delegation() -> None:
    dns = Dns({"example.com": [NS1, OTHER]})
    choice = choose([Zone("Z1", "example.com", (NS1, NS2))], wish(), dns)
    assert (choice.zone.id, choice.warnings, choice.remarks) == ("Z1", (), ())
    assert dns.asked == ["example.com"]


def test_of_two_zones_of_one_name_the_delegated_one() -> None:
    zones = [Zone("Z1", "example.com", (NS2,)), Zone("Z2", "example.com", (NS1,))]
    choice = choose(zones, wish(), Dns({"example.com": [NS1]}))
    assert choice.zone.id == "Z2"
    assert choice.remarks == ("example.com (Z1) at cloud is not delegated to",)


def test_more_than_one_verified_zone_is_an_error_that_names_the_ids() -> None:
    zones = [Zone("Z1", "example.com", (NS1,)), Zone("Z2", "example.com", (NS1, NS2))]
    with pytest.raises(DnsDelegationError) as caught:
        choose(zones, wish(), Dns({"example.com": [NS1, NS2]}))
    assert "Z1" in caught.value.message
    assert "Z2" in caught.value.message
    assert caught.value.fix == "say which one in the DNS entry: zone_id: Z1 or Z2"


def test_several_that_say_nothing_are_ambiguous() -> None:
    with pytest.raises(DnsDelegationError, match=r"2 zones example\.com"):
        choose([Zone("Z1", "example.com"), Zone("Z2", "example.com")], wish(), Dns({}))


def test_none_verified_names_expected_and_actual_servers() -> None:
    dns = Dns({"example.com": [OTHER]}, inner="split horizon: so it is")
    with pytest.raises(DnsDelegationError) as caught:
        choose([Zone("Z1", "example.com", (NS1, NS2)), Zone("P", "example.com", public=False)], wish(), dns)
    error = caught.value
    assert f"leads to {OTHER}, and not to cloud" in error.message
    assert f"has {NS1}, {NS2}" in error.message
    assert "private zone of this name, too (P)" in error.message
    assert "split horizon" in error.message
    assert "resolver.nameservers" in error.fix
    assert "zone_id: Z1" in error.fix
    assert error.details["expected"] == [NS1, NS2]
    assert error.details["actual"] == [OTHER]


def test_name_servers_by_other_names_are_the_same_servers() -> None:
    dns = Dns({"example.com": ["ns1.example.com"]}, aliases=True)
    assert choose([Zone("Z1", "example.com", (NS1,))], wish(), dns).zone.id == "Z1"
    assert dns.asked == ["example.com", "addresses of example.com"]


def test_a_sub_zone_that_is_hosted_elsewhere_is_explained() -> None:
    dns = Dns({"sub.example.com": [OTHER]})
    with pytest.raises(DnsDelegationError) as caught:
        choose([Zone("Z1", "example.com", (NS1,))], wish("sub.example.com"), dns)
    assert f"in the zone sub.example.com, which is delegated, served by {OTHER}" in caught.value.message
    assert "zone: sub.example.com" in caught.value.fix


def test_a_zone_that_nobody_delegates_to_is_not_written_to() -> None:
    zones = [Zone("Z1", "example.com", (NS1,)), Zone("Z2", "sub.example.com", (NS2,))]
    choice = choose(zones, wish(), Dns({"example.com": [NS1]}))
    assert choice.zone.id == "Z1"
    assert choice.remarks == ("sub.example.com (Z2) at cloud is not delegated: nothing that stands there is seen",)
    with pytest.raises(DnsDelegationError) as caught:
        choose(zones[1:], wish(), Dns({"example.com": [OTHER]}))
    assert "is not delegated" in caught.value.message
    assert f"delegate sub.example.com in example.com (NS {NS2})" in caught.value.fix


def test_a_private_twin_is_passed_over_and_alone_it_is_explained() -> None:
    private = Zone("P", "example.com", public=False)
    choice = choose([private, Zone("Z1", "example.com", (NS1,))], wish(), Dns({"example.com": [NS1]}))
    assert choice.zone.id == "Z1"
    assert "private zone" in choice.remarks[0]
    with pytest.raises(ZoneNotFound) as caught:
        choose([private], wish(), Dns({}))
    assert "only private zones" in caught.value.message
    assert "private: true" in caught.value.fix


def test_a_private_zone_if_it_is_asked_for() -> None:
    zones = [
        Zone("Z1", "example.com", (NS1,)),
        Zone("P1", "example.com", public=False),
        Zone("P2", "sub.example.com", public=False),
    ]
    dns = Dns({})
    assert choose(zones, wish(private=True), dns).zone.id == "P2"
    assert choose(zones[:1], wish(private=True), Dns({"example.com": [NS1]})).zone.id == "Z1"
    with pytest.raises(DnsDelegationError, match="2 private zones"):
        choose([*zones, Zone("P3", "sub.example.com", public=False)], wish(private=True), dns)
    assert dns.asked == []


def test_an_explicit_zone_always_wins_and_warns() -> None:
    moved = choose([Zone("Z1", "example.com", (NS1,))], wish(pinned=True), Dns({"example.com": [OTHER]}))
    assert moved.zone.id == "Z1"
    assert OTHER in moved.warnings[0]
    deeper = choose([Zone("Z1", "example.com")], wish("sub.example.com", pinned=True), Dns({}))
    assert "sub.example.com as the DNS has it" in deeper.warnings[0]
    assert choose([Zone("P", "example.com", public=False)], wish(pinned=True), Dns({})).warnings == ()
    with pytest.raises(ZoneNotFound, match="is not in it"):
        choose([Zone("Z9", "example.net")], wish(pinned=True), Dns({}))


def test_what_the_dns_cannot_say_is_a_warning_for_one_zone_and_an_error_for_two() -> None:
    one = Zone("Z1", "example.com", (NS1,))
    assert "could not be found out" in choose([one], wish(), Dns(None)).warnings[0]
    with pytest.raises(DnsDelegationError, match="nothing says which"):
        choose([one, Zone("Z2", "example.com", (NS2,))], wish(), Dns(None))


def test_no_zone_at_all_says_where_the_name_is() -> None:
    with pytest.raises(ZoneNotFound, match=r"it is in the zone sub\.example\.com"):
        choose([], wish("sub.example.com"), Dns({}))


def test_without_name_servers_the_longest_zone_that_a_resolver_knows() -> None:
    zones = [Zone("Z1", "example.com", (NS1,)), Zone("Z2", "sub.example.com", (NS2,))]
    both = Dns({"example.com": [NS1], "sub.example.com": [NS2]})
    assert choose(zones, wish(None), both).zone.id == "Z2"
    assert choose(zones, wish(None), Dns({"example.com": [NS1]})).zone.id == "Z1"
    assert "could not be found out" in choose(zones, wish(None), Dns(None)).warnings[0]
    with pytest.raises(DnsDelegationError, match="knows no such zone"):
        choose(zones, wish(None), Dns({}))
    with pytest.raises(DnsDelegationError, match="leads to"):
        choose(zones, wish(None), Dns({"sub.example.com": [OTHER]}))


def test_case_dots_and_u_labels_are_one_name() -> None:
    zone = Zone("Z1", "BÜCHER.Example.", ("NS1.Cloud.Test.",))
    name = "_acme-challenge.www.xn--bcher-kva.example"
    apex = "xn--bcher-kva.example"
    choice = choose([zone], Wish(name, apex, "cloud"), Dns({apex: [NS1]}))
    assert choice.zone.name == apex
    assert choice.zone.id == "Z1"


# --- properties

APEXES = st.sampled_from(["com", "example.com", "sub.example.com", "www.sub.example.com", "example.net"])
HOSTS = st.lists(st.sampled_from([NS1, NS2, OTHER]), max_size=3, unique=True).map(tuple)
ZONES = st.lists(st.tuples(APEXES, HOSTS, st.booleans()), max_size=6).map(
    lambda rows: [Zone(f"Z{number}", *row) for number, row in enumerate(rows)]
)


def settle(zones: Sequence[Zone], what: Wish, dns: Dns) -> Zone | type[CiAcmeError]:
    try:
        return choose(zones, what, dns).zone
    except CiAcmeError as error:
        return type(error) if error.fix else CiAcmeError


@given(ZONES, APEXES, HOSTS, st.booleans(), st.randoms())
def test_a_choice_is_delegated_and_does_not_depend_on_the_order(
    zones: list[Zone], apex: str, hosts: tuple[str, ...], private: bool, random: object
) -> None:
    dns = Dns({apex: hosts})
    found = settle(zones, wish(apex, private=private), dns)
    shuffled = list(zones)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert settle(shuffled, wish(apex, private=private), Dns({apex: hosts})) == found
    assert len(dns.asked) <= 1 + max(1, len(zones)), "the delegation, and the servers of each zone at most once"
    if not isinstance(found, Zone):
        return
    chosen = next(zone for zone in zones if zone.id == found.id)
    assert is_suffix(chosen.name, NAME)
    assert chosen.public or private
    if chosen.public:
        assert chosen.name == apex
        twins = [zone for zone in zones if zone.public and zone.name == apex]
        seen = set(chosen.nameservers) & set(hosts)
        assert seen or not chosen.nameservers or (not hosts and len(twins) == 1)
        assert sum(bool(set(zone.nameservers) & set(hosts)) for zone in twins) <= 1


@given(ZONES, APEXES, HOSTS)
def test_a_delegated_zone_is_found_among_whatever_else_there_is(
    zones: list[Zone], apex: str, hosts: tuple[str, ...]
) -> None:
    others = [zone for zone in zones if zone.name != apex or not zone.public]
    if not is_suffix(apex, NAME):
        return
    ours = Zone("ours", apex, ("ns.ours.test",))
    found = settle([*others, ours], wish(apex), Dns({apex: [*hosts, "ns.ours.test"]}))
    assert isinstance(found, Zone)
    assert found.id == "ours"


@given(ZONES.filter(bool), APEXES, HOSTS)
def test_a_pinned_zone_is_never_another(zones: list[Zone], apex: str, hosts: tuple[str, ...]) -> None:
    found = settle(zones, wish(apex, pinned=True), Dns({apex: hosts}))
    assert found == (ZoneNotFound if not is_suffix(zones[0].name, NAME) else found)
    if isinstance(found, Zone):
        assert found.id == zones[0].id
