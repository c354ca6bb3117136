"""Cloud DNS beyond the contract: how many requests, what conflicts and lost answers do, which zones there are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ci_acme.errors import DnsCredentialsError, DnsRefused, DnsUnreachable, Interrupted, ZoneNotFound
from ci_acme.ports import Deadline, Placement, TxtValue, Zone
from ci_acme_providers.gcp import rrsets
from ci_acme_providers.gcp.clouddns import GoogleCloudDns
from ci_acme_providers.gcp.config import GoogleCloudDnsSettings
from tests.clouds.api import Answer, Call, commit_then, lose_call, lose_reply, refuse
from tests.clouds.google import Iam, old_error
from tests.clouds.google_dns import GoogleDns
from tests.clouds.google_support import ACCESS, QuickClock, context, quick, trust
from tests.clouds.google_tokens import ACCOUNT, CiTokens, GoogleTokens

ZONE = "ci.test"
NAME = f"_acme-challenge.www.{ZONE}"
PLACE = Zone("ci-zone", ZONE)
RESOURCE = "projects/my-project/managedZones/ci-zone"


class Cloud:
    """The fakes, and adapters of them."""

    def __init__(self, dns: GoogleDns, tokens: GoogleTokens, ci: CiTokens) -> None:
        self.dns, self.tokens, self.ci = dns, tokens, ci

    def provider(self, **settings: Any) -> GoogleCloudDns:
        document = {"zone": ZONE, **ACCESS, "endpoint": self.dns.url, **settings}
        return GoogleCloudDns(GoogleCloudDnsSettings.model_validate(document), context(self.tokens, ci=self.ci))

    def ensure(self, *values: TxtValue | str, name: str = NAME) -> list[Placement]:
        wanted = [value if isinstance(value, TxtValue) else TxtValue(name, value) for value in values]
        return list(self.provider().ensure(PLACE, wanted, ttl=60, deadline=quick()))

    def values(self, name: str = NAME) -> dict[str, int]:
        return dict(self.dns.values("ci-zone", name))

    def requests(self) -> tuple[int, int]:
        """Changes made, record sets read."""
        return self.dns.count("POST", "/changes"), self.dns.count("GET", "/rrsets")


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    iam = Iam()
    with GoogleDns(iam) as dns, GoogleTokens(iam) as tokens, CiTokens(time.time) as ci:
        trust(tokens)
        dns.zone("ci-zone", ZONE)
        yield Cloud(dns, tokens, ci)


def is_change(call: Call) -> bool:
    return call.method == "POST" and call.path.endswith("/changes")


# --- requests


def test_a_hundred_names_cost_one_request_to_add_and_one_to_remove(cloud: Cloud) -> None:
    values = [TxtValue(f"_acme-challenge.n{index}.{ZONE}", f"value-{index}") for index in range(100)]
    placements = cloud.ensure(*values)
    assert cloud.requests() == (1, 0)
    assert len(cloud.dns.sets["ci-zone"]) == 100
    cloud.provider().release(placements, deadline=quick())
    assert cloud.requests() == (2, 0)
    assert cloud.dns.sets["ci-zone"] == {}


def test_a_record_set_is_read_only_where_the_core_has_seen_one(cloud: Cloud) -> None:
    cloud.dns.put("ci-zone", NAME, "TXT", 900, '"foreign"')
    placements = cloud.ensure(TxtValue(NAME, "ours", ttl=900), TxtValue(f"_acme-challenge.{ZONE}", "other"))
    assert cloud.requests() == (1, 1)
    assert cloud.values() == {"foreign": 900, "ours": 900}
    cloud.provider().release(placements, deadline=quick())
    assert cloud.values() == {"foreign": 900}


def test_what_is_there_costs_no_change(cloud: Cloud) -> None:
    cloud.dns.put("ci-zone", NAME, "TXT", 300, '"ours"')
    (placement,) = cloud.ensure(TxtValue(NAME, "ours", ttl=300))
    assert (placement.created, cloud.requests()) == (False, (0, 1))


# --- neighbours


def test_a_neighbour_between_reading_and_writing_keeps_value_and_ttl(cloud: Cloud) -> None:
    cloud.dns.put("ci-zone", NAME, "TXT", 300, '"first"')
    rounds = iter(["second", "third"])

    def interfere(_zone: str) -> None:
        value = next(rounds, None)
        if value is not None:
            texts = [*(f'"{text}"' for text in cloud.values()), f'"{value}"']
            cloud.dns.put("ci-zone", NAME, "TXT", 300, *texts)

    cloud.dns.before_change = interfere
    placements = cloud.ensure(TxtValue(NAME, "ours", ttl=300))
    assert cloud.values() == {"first": 300, "second": 300, "third": 300, "ours": 300}
    cloud.provider().release(placements, deadline=quick())
    assert cloud.values() == {"first": 300, "second": 300, "third": 300}


def test_a_neighbour_that_the_core_did_not_see_is_joined(cloud: Cloud) -> None:
    """Another TTL than ours: that of the set stays (certbot 8523)."""
    cloud.dns.put("ci-zone", NAME, "TXT", 777, '"foreign"')
    (placement,) = cloud.ensure("ours")
    assert cloud.values() == {"foreign": 777, "ours": 777}
    assert placement.created
    cloud.provider().release([placement], deadline=quick())
    assert cloud.values() == {"foreign": 777}


def test_a_value_that_somebody_else_wrote_is_adopted(cloud: Cloud) -> None:
    cloud.dns.put("ci-zone", NAME, "TXT", 60, '"ours"')
    placements = cloud.ensure("ours", "new")
    assert [item.created for item in placements] == [False, True]
    cloud.provider().release(placements, deadline=quick())
    assert cloud.values() == {"ours": 60}


def test_a_neighbour_who_came_after_us_survives_our_release(cloud: Cloud) -> None:
    """The receipt alone does not fit any more, and the set is read."""
    placements = cloud.ensure("ours")
    cloud.dns.put("ci-zone", NAME, "TXT", 60, '"ours"', '"later"')
    cloud.provider().release(placements, deadline=quick())
    assert cloud.values() == {"later": 60}


def test_writers_who_are_faster_each_time_end_with_the_deadline(cloud: Cloud) -> None:
    numbers = iter(range(10_000))
    cloud.dns.before_change = lambda _: cloud.dns.put("ci-zone", NAME, "TXT", 60, f'"{next(numbers)}"')
    with pytest.raises(DnsUnreachable, match="faster each time"):
        cloud.provider().ensure(PLACE, [TxtValue(NAME, "ours")], ttl=60, deadline=quick(0.6))


# --- lost answers and throttling


@pytest.mark.parametrize(
    "fault", [lose_reply, lose_call, commit_then(Answer(503)), commit_then(Answer(502, b"<html>"))], ids=range(4)
)
def test_a_lost_answer_is_no_error(cloud: Cloud, fault: Any) -> None:
    cloud.dns.fail(is_change, fault)
    placements = cloud.ensure("one", "two")
    assert cloud.values() == {"one": 60, "two": 60}
    assert all(item.created for item in placements), "whatever came of the first try, it was ours"
    cloud.dns.fail(is_change, fault)
    cloud.provider().release(placements, deadline=quick())
    assert cloud.values() == {}


def test_a_throttle_storm_is_waited_out(cloud: Cloud) -> None:
    cloud.dns.fail(is_change, refuse(Answer(429)), times=6)
    slow = old_error(403, "rateLimitExceeded", "Rate Limit Exceeded").answer
    cloud.dns.fail(is_change, refuse(slow), times=6)
    cloud.ensure("ours")
    assert cloud.values() == {"ours": 60}


def test_a_quota_is_not_waited_for(cloud: Cloud) -> None:
    cloud.dns.fail(is_change, refuse(old_error(403, "quotaExceeded", "Quota exceeded.").answer))
    with pytest.raises(DnsRefused) as caught:
        cloud.ensure("ours")
    assert "quota" in caught.value.fix
    assert cloud.requests()[0] == 1


def test_an_interrupt_ends_the_waiting(cloud: Cloud) -> None:
    clock = QuickClock()
    cloud.dns.fail(is_change, refuse(Answer(429)), times=100)
    cloud.dns.before_change = lambda _: None

    def stop(call: Call) -> bool:
        if is_change(call):
            clock.stop()
        return False

    cloud.dns.fail(stop, refuse(Answer(500)))
    cloud.dns._faults.reverse()  # the one that stops is asked first
    with pytest.raises(Interrupted):
        cloud.provider().ensure(PLACE, [TxtValue(NAME, "ours")], ttl=60, deadline=Deadline(clock, 60))


def test_a_shielded_release_ends_within_its_seconds(cloud: Cloud) -> None:
    placements = cloud.ensure("ours")
    clock = QuickClock()
    clock.stop()
    cloud.dns.fail(is_change, refuse(Answer(503)), times=1000)
    begun = time.monotonic()
    with pytest.raises(DnsUnreachable):
        cloud.provider().release(placements, deadline=Deadline(clock.shielded(), 0.5))
    assert time.monotonic() - begun < 3


# --- refusals


def test_a_cname_in_the_way_is_said_at_once(cloud: Cloud) -> None:
    cloud.dns.put("ci-zone", NAME, "CNAME", 60, "elsewhere.test.")
    with pytest.raises(DnsRefused, match="CNAME") as caught:
        cloud.ensure("ours")
    assert "remove the CNAME" in caught.value.fix
    assert cloud.requests()[0] == 1


def test_a_routing_policy_is_not_overwritten(cloud: Cloud) -> None:
    routed = {"name": f"{NAME}.", "type": "TXT", "ttl": 60, "routingPolicy": {"geo": {"items": []}}}
    cloud.dns.sets["ci-zone"][f"{NAME}.", "TXT"] = routed
    with pytest.raises(DnsRefused, match="routing policy"):
        cloud.ensure(TxtValue(NAME, "ours", ttl=60))
    assert cloud.requests()[0] == 0


@pytest.mark.parametrize(
    ("permission", "act"),
    [
        ("dns.managedZones.list", lambda p: p.zones_for(NAME, ZONE, deadline=quick())),
        ("dns.changes.create", lambda p: p.ensure(PLACE, [TxtValue(NAME, "v")], ttl=60, deadline=quick())),
        ("dns.resourceRecordSets.create", lambda p: p.ensure(PLACE, [TxtValue(NAME, "v")], ttl=60, deadline=quick())),
        ("dns.resourceRecordSets.list", lambda p: p.ensure(PLACE, [TxtValue(NAME, "v", 60)], ttl=60, deadline=quick())),
        (
            "dns.resourceRecordSets.delete",
            lambda p: p.release([Placement(PLACE, NAME, "there", created=True)], deadline=quick()),
        ),
        (
            "dns.resourceRecordSets.update",
            lambda p: p.ensure(PLACE, [TxtValue(NAME, "v", 60)], ttl=60, deadline=quick()),
        ),
    ],
)
def test_a_permission_that_lacks_is_named(
    cloud: Cloud, permission: str, act: Callable[[GoogleCloudDns], object]
) -> None:
    if permission.endswith(("delete", "update")):
        cloud.dns.put("ci-zone", NAME, "TXT", 60, '"there"')
    cloud.dns.iam.denied.add(permission)
    with pytest.raises(DnsRefused) as caught:
        act(cloud.provider())
    assert permission in caught.value.fix


def test_a_zone_that_is_none_is_said_so(cloud: Cloud) -> None:
    with pytest.raises(ZoneNotFound, match="nowhere"):
        cloud.provider().ensure(Zone("nowhere", ZONE), [TxtValue(NAME, "v")], ttl=60, deadline=quick())


def test_check_access_names_what_lacks(cloud: Cloud) -> None:
    cloud.dns.iam.denied |= {"dns.resourceRecordSets.update", "dns.changes.create"}
    with pytest.raises(DnsRefused) as caught:
        cloud.provider().check_access(PLACE, [NAME], deadline=quick())
    assert caught.value.details["missing"] == ["dns.changes.create", "dns.resourceRecordSets.update"]


def test_check_access_reads_where_permissions_cannot_be_asked_for(cloud: Cloud) -> None:
    cloud.dns.iam.denied.add("dns.managedZones.list")
    cloud.provider().check_access(PLACE, [NAME], deadline=quick())
    assert cloud.requests() == (0, 1)
    cloud.dns.iam.denied.add("dns.resourceRecordSets.list")
    with pytest.raises(DnsRefused):
        cloud.provider().check_access(PLACE, [NAME], deadline=quick())


@pytest.mark.parametrize("status", [404, 405, 501])
def test_check_access_reads_where_the_service_cannot_tell(cloud: Cloud, status: int) -> None:
    """As emulators cannot; a zone that is not there is found out all the same."""
    unknown = refuse(Answer(status, b"404 page not found", {"Content-Type": "text/plain"}))
    cloud.dns.fail(lambda call: call.path.endswith(":testIamPermissions"), unknown, times=2)
    cloud.provider().check_access(PLACE, [NAME], deadline=quick())
    assert cloud.requests() == (0, 1)
    with pytest.raises(ZoneNotFound):
        cloud.provider().check_access(Zone("nowhere", ZONE), [NAME], deadline=quick())


def test_an_api_that_is_switched_off_is_said_so(cloud: Cloud) -> None:
    text = "Google Cloud DNS API has not been used in project 123 before or it is disabled."
    cloud.dns.fail(lambda _: True, refuse(old_error(403, "accessNotConfigured", text).answer))
    with pytest.raises(DnsRefused) as caught:
        cloud.ensure("ours")
    assert "gcloud services enable" in caught.value.fix


# --- zones


def test_every_zone_of_the_apex_is_listed_over_all_pages(cloud: Cloud) -> None:
    cloud.dns.page = 1
    cloud.dns.zone("twin", ZONE)
    cloud.dns.zone("inside", ZONE, visibility="private", privateVisibilityConfig={"networks": []})
    cloud.dns.zone("forwarded", ZONE, forwardingConfig={"targetNameServers": [{"ipv4Address": "192.0.2.1"}]})
    cloud.dns.zone("peered", ZONE, peeringConfig={"targetNetwork": {"networkUrl": "https://compute/n"}})
    zones = cloud.provider().zones_for(NAME, ZONE, deadline=quick())
    shown = {zone.id: zone.public for zone in zones}
    assert shown == {"ci-zone": True, "twin": True, "inside": False, "forwarded": False, "peered": False}
    assert zones[0].nameservers == tuple(f"ns-cloud-c{index}.googledomains.com" for index in (1, 2, 3, 4))
    assert all(call.one("dnsName") == f"{ZONE}." for call in cloud.dns.calls)


def test_every_suffix_is_asked_for_without_an_apex(cloud: Cloud) -> None:
    cloud.dns.zone("deeper", f"www.{ZONE}")
    zones = cloud.provider().zones_for(NAME, None, deadline=quick())
    assert [zone.name for zone in zones] == [f"www.{ZONE}", ZONE]
    asked = [call.one("dnsName") for call in cloud.dns.calls]
    assert sorted(asked, key=lambda name: -len(name or "")) == [f"{NAME}.", f"www.{ZONE}.", f"{ZONE}.", "test."]


def test_an_apex_that_is_not_here_leads_to_the_zones_above(cloud: Cloud) -> None:
    """A sub-zone that is delegated elsewhere: the core explains it, from the parent."""
    zones = cloud.provider().zones_for(f"_acme-challenge.sub.{ZONE}", f"sub.{ZONE}", deadline=quick())
    assert [zone.name for zone in zones] == [ZONE]


@pytest.mark.parametrize("zone_id", ["ci-zone", "699036609868956548", "projects/my-project/managedZones/ci-zone"])
def test_a_zone_id_needs_no_right_to_list(cloud: Cloud, zone_id: str) -> None:
    cloud.dns.iam.denied.add("dns.managedZones.list")
    provider = cloud.provider(zone_id=zone_id)
    (zone,) = provider.zones_for(NAME, None, deadline=quick())
    assert (zone.name, zone.public, len(zone.nameservers)) == (ZONE, True, 4)
    provider.ensure(zone, [TxtValue(NAME, "v")], ttl=60, deadline=quick())
    assert cloud.values() == {"v": 60}
    assert not any(call.path.endswith("/managedZones") for call in cloud.dns.calls)


def test_a_zone_id_needs_no_right_to_look_either(cloud: Cloud) -> None:
    cloud.dns.iam.denied |= {"dns.managedZones.list", "dns.managedZones.get"}
    (zone,) = cloud.provider(zone_id="ci-zone").zones_for(NAME, None, deadline=quick())
    assert zone == PLACE


def test_a_zone_id_of_nothing_is_said_so(cloud: Cloud) -> None:
    with pytest.raises(ZoneNotFound):
        cloud.provider(zone_id="nowhere").zones_for(NAME, None, deadline=quick())


# --- the signal


def test_the_signal_is_polled_until_done(cloud: Cloud) -> None:
    cloud.dns.polls = 4
    placements = cloud.ensure("ours")
    cloud.provider().wait_in_sync(placements, deadline=quick())
    assert cloud.dns.count("GET", "/changes/") == 5
    assert not cloud.provider().capabilities.in_sync_signal, "done does not mean served"


def test_a_signal_that_does_not_come_hinders_nothing(cloud: Cloud) -> None:
    placements = cloud.ensure("ours")
    cloud.dns.changes["ci-zone"].clear()
    cloud.provider().wait_in_sync(placements, deadline=quick())
    cloud.provider().wait_in_sync([Placement(PLACE, NAME, "x", created=True)], deadline=quick())
    assert cloud.dns.count("GET", "/changes/") == 1


# --- credentials


def test_each_exchange_has_a_fresh_identity_token(cloud: Cloud) -> None:
    """Tokens of a second: a long wait in between breaks neither the adding nor the cleaning."""
    cloud.tokens.seconds = 1.0
    provider = cloud.provider()
    placements = provider.ensure(PLACE, [TxtValue(NAME, "ours")], ttl=60, deadline=quick())
    provider.release(placements, deadline=quick())
    assert cloud.values() == {}
    assert len(cloud.tokens.exchanged) == len(set(cloud.tokens.exchanged)) == 2


def test_a_token_that_was_revoked_is_replaced(cloud: Cloud) -> None:
    provider = cloud.provider()
    provider.ensure(PLACE, [TxtValue(NAME, "one")], ttl=60, deadline=quick())
    cloud.dns.iam.tokens = {token: held for token, held in cloud.dns.iam.tokens.items() if token == "good"}
    provider.ensure(PLACE, [TxtValue(NAME, "two", 60)], ttl=60, deadline=quick())
    assert set(cloud.values()) == {"one", "two"}


def test_an_attribute_condition_that_refuses_is_quoted(cloud: Cloud) -> None:
    cloud.tokens.condition = lambda _claims: False
    with pytest.raises(DnsCredentialsError, match="attribute condition") as caught:
        cloud.ensure("ours")
    assert "https://iam.googleapis.com/projects/" in caught.value.fix


def test_an_account_that_may_not_be_impersonated_is_named(cloud: Cloud) -> None:
    cloud.dns.iam.denied.add("iam.serviceAccounts.getAccessToken")
    with pytest.raises(DnsCredentialsError) as caught:
        cloud.ensure("ours")
    assert "roles/iam.workloadIdentityUser" in caught.value.fix
    assert ACCOUNT in caught.value.fix


# --- quoting


@pytest.mark.parametrize("value", ["plain", 'with "quotes"', "back\\slash", "x" * 600, "ünïcode", "a b", ""])
def test_values_survive_quoting(value: str) -> None:
    assert rrsets.plain(rrsets.quoted(value)) == value
    assert rrsets.plain("bare") == "bare"


def test_long_values_are_written_in_pieces(cloud: Cloud) -> None:
    cloud.dns.put("ci-zone", NAME, "TXT", 60, '"a \\"quoted\\" one" "in two"', '"\\195\\188"')
    cloud.ensure(TxtValue(NAME, "y" * 300, ttl=60), TxtValue(NAME, "ü", ttl=60))
    assert set(cloud.values()) == {"y" * 300, 'a "quoted" onein two', "ü"}
    assert cloud.dns.sets["ci-zone"][f"{NAME}.", "TXT"]["rrdatas"][0] == '"a \\"quoted\\" one" "in two"'
