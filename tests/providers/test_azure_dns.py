"""Azure DNS beyond the contract: races and lost answers, limits, locks, zones, throttling, roles."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from ci_acme.errors import ConfigError, DnsRefused, DnsUnreachable, Interrupted, ZoneNotFound
from ci_acme.ports import Deadline, PermissionRequest, Placement, TxtValue, Zone
from ci_acme_providers.azure.config import AzureDnsSettings
from ci_acme_providers.azure.dns import AzureDns
from ci_acme_providers.azure.permissions import dns as permissions
from tests.clouds.api import Answer, Call, commit_then, lose_call, lose_reply, refuse
from tests.clouds.azure import Loopback, QuickClock, context
from tests.clouds.azure_dns import GROUP, RESOURCE, SUBSCRIPTION, AzureDnsApi, FakeZone, Txt
from tests.clouds.azure_rbac import Assignment
from tests.clouds.entra import CLIENT, Entra

ZONE = "ci.test"
NAME = f"_acme-challenge.www.{ZONE}"
RELATIVE = "_acme-challenge.www"


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Loopback:
    return Loopback(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def entra(loopback: Loopback) -> Iterator[Entra]:
    with Entra(loopback.server()) as entra:
        yield entra


@pytest.fixture
def api(loopback: Loopback, entra: Entra) -> Iterator[AzureDnsApi]:
    with AzureDnsApi(loopback.server(), entra, [FakeZone(ZONE)]) as api:
        yield api


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


Make = Callable[..., AzureDns]


@pytest.fixture
def make(api: AzureDnsApi, loopback: Loopback, clock: QuickClock) -> Make:
    def provider(environ: dict[str, str] | None = None, **settings: Any) -> AzureDns:
        values = {
            "zone": ".",
            "subscription": SUBSCRIPTION,
            "endpoint": api.url,
            **loopback.access(api.entra.url),
            **settings,
        }
        given = {key: value for key, value in values.items() if value is not None}
        return AzureDns(AzureDnsSettings.model_validate(given), context(clock=clock, environ=environ))

    return provider


@pytest.fixture
def soon(clock: QuickClock) -> Callable[[], Deadline]:
    return lambda: Deadline(clock, 60)


def zone(api: AzureDnsApi) -> Zone:
    found = api.zone(ZONE)
    return Zone(found.id, found.name)


def is_put(call: Call) -> bool:
    return call.method == "PUT"


def methods(api: AzureDnsApi) -> list[str]:
    return [call.method for call in api.calls]


# --- lost answers and races


@pytest.mark.parametrize("fault", [lose_reply, commit_then(Answer.of({"error": {"code": "ServerBusy"}}, 503))])
def test_a_lost_answer_to_our_own_write_is_success(fault: Any, api: AzureDnsApi, make: Make, soon: Any) -> None:
    """The second try is refused with 412, since the first was carried out: that is found out, and it is ours."""
    api.fail(is_put, fault)
    placements = make().ensure(zone(api), [TxtValue(NAME, "ours")], ttl=60, deadline=soon())
    assert methods(api) == ["PUT", "PUT", "GET"]
    assert api.dns.values(NAME) == ["ours"]
    assert placements[0].created
    make().release(placements, deadline=soon())
    assert api.dns.values(NAME) == []


def test_a_call_that_never_arrived_is_sent_again(api: AzureDnsApi, make: Make, soon: Any) -> None:
    api.fail(is_put, lose_call)
    placements = make().ensure(zone(api), [TxtValue(NAME, "ours")], ttl=60, deadline=soon())
    assert (methods(api), placements[0].created) == (["PUT", "PUT"], True)


def test_a_lost_answer_to_a_release_is_success(api: AzureDnsApi, make: Make, soon: Any) -> None:
    api.plant(NAME, "foreign", 300, api.zone(ZONE))
    placements = make().ensure(zone(api), [TxtValue(NAME, "ours", ttl=300)], ttl=60, deadline=soon())
    api.fail(is_put, lose_reply)
    make().release(placements, deadline=soon())
    assert api.dns.values(NAME) == ["foreign"]


def faster(api: AzureDnsApi, value: str) -> Any:
    """Somebody writes right before the call is carried out."""

    def fault(call: Call, do: Callable[[Call], Answer]) -> Answer:
        api.plant(NAME, value, 900, api.zone(ZONE))
        return do(call)

    return fault


def test_somebody_was_faster_and_both_values_are_there(api: AzureDnsApi, make: Make, soon: Any) -> None:
    api.fail(is_put, faster(api, "theirs"))
    placements = make().ensure(zone(api), [TxtValue(NAME, "ours")], ttl=60, deadline=soon())
    assert api.dns.values(NAME) == ["ours", "theirs"]
    assert methods(api) == ["PUT", "GET", "PUT"]
    assert api.zone(ZONE).sets[RELATIVE].ttl == 900, "the neighbour's TTL stays"
    assert (placements[0].created, placements[0].ref) == (True, None)


def test_what_somebody_else_wrote_meanwhile_is_adopted_and_never_released(
    api: AzureDnsApi, make: Make, soon: Any
) -> None:
    api.fail(is_put, faster(api, "the same"))
    placements = make().ensure(zone(api), [TxtValue(NAME, "the same")], ttl=60, deadline=soon())
    assert not placements[0].created
    make().release(placements, deadline=soon())
    assert api.dns.values(NAME) == ["the same"]


def test_a_delete_that_races_an_add_spares_it(api: AzureDnsApi, make: Make, soon: Any) -> None:
    placements = make().ensure(zone(api), [TxtValue(NAME, "ours")], ttl=60, deadline=soon())
    api.fail(lambda call: call.method == "DELETE", faster(api, "theirs"))
    make().release(placements, deadline=soon())
    assert api.dns.values(NAME) == ["theirs"]


def test_values_that_never_come_to_rest_end_at_the_deadline(api: AzureDnsApi, make: Make, clock: QuickClock) -> None:
    beaten = Answer.of({"code": "PreconditionFailed", "message": "The condition was not satisfied."}, 412)
    api.fail(is_put, refuse(beaten), times=1000)
    with pytest.raises(DnsUnreachable, match="all the time"):
        make().ensure(zone(api), [TxtValue(NAME, "ours")], ttl=60, deadline=Deadline(clock, 30))
    assert 20 < sum(clock.slept) <= 30
    assert max(clock.slept) <= 2


# --- what it costs


def test_a_hundred_names_cost_a_request_each_to_write_and_to_release(api: AzureDnsApi, make: Make, soon: Any) -> None:
    """Nothing was served there, so that nothing needs to be read first; and what is ours alone is deleted unseen."""
    provider = make()
    values = [TxtValue(f"_acme-challenge.w{number}.{ZONE}", "value") for number in range(100)]
    placements = provider.ensure(zone(api), values, ttl=60, deadline=soon())
    assert methods(api) == ["PUT"] * 100
    provider.release(placements, deadline=soon())
    assert methods(api)[100:] == ["DELETE"] * 100
    assert [one.name for one in placements] == [value.name for value in values]


def test_an_apex_and_its_wildcard_are_one_write(api: AzureDnsApi, make: Make, soon: Any) -> None:
    name = f"_acme-challenge.{ZONE}"
    values = [TxtValue(name, "apex"), TxtValue(name, "wildcard")]
    placements = make().ensure(zone(api), values, ttl=60, deadline=soon())
    make().release(placements[:1], deadline=soon())
    assert api.dns.values(name) == ["wildcard"], "the other one is not taken along"
    make().release(placements, deadline=soon())
    assert api.dns.values(name) == []
    assert methods(api)[0] == "PUT"


# --- limits


def test_the_twenty_first_value_is_refused_before_azure_is_asked(api: AzureDnsApi, make: Make, soon: Any) -> None:
    for number in range(20):
        api.plant(NAME, f"foreign {number}", 300, api.zone(ZONE))
    with pytest.raises(DnsRefused, match=r"at most 20 values .* where 20 values stand") as caught:
        make().ensure(zone(api), [TxtValue(NAME, "ours", ttl=300)], ttl=60, deadline=soon())
    assert methods(api) == ["GET"]
    assert caught.value.fix
    assert make().capabilities.max_values == 20


@pytest.mark.parametrize(
    ("cloud", "most", "resource"),
    [
        ("public", 4096, RESOURCE),
        ("china", 1024, "https://management.chinacloudapi.cn"),
        ("us-government", 1024, "https://management.core.usgovcloudapi.net"),
    ],
)
def test_the_characters_of_a_record_set_are_bounded(
    cloud: str, most: int, resource: str, api: AzureDnsApi, make: Make, soon: Any
) -> None:
    """And a token is asked for the management API of the cloud."""
    api.resource = resource
    api.plant(NAME, "f" * (most - 10), 300, api.zone(ZONE))
    with pytest.raises(DnsRefused, match=f"at most {most} characters"):
        make(cloud=cloud).ensure(zone(api), [TxtValue(NAME, "eleven char", ttl=300)], ttl=60, deadline=soon())
    assert "PUT" not in methods(api)


def test_a_long_value_is_written_in_strings_and_a_neighbours_strings_stay(
    api: AzureDnsApi, make: Make, soon: Any
) -> None:
    api.zone(ZONE).sets[RELATIVE] = Txt([["v=", "theirs"]], 900, metadata={"owner": "mail"})
    placements = make().ensure(zone(api), [TxtValue(NAME, "x" * 600, ttl=900)], ttl=60, deadline=soon())
    found = api.zone(ZONE).sets[RELATIVE]
    assert [len(string) for string in found.values[1]] == [255, 255, 90]
    assert (found.values[0], found.ttl, found.metadata) == (["v=", "theirs"], 900, {"owner": "mail"})
    make().release(placements, deadline=soon())
    found = api.zone(ZONE).sets[RELATIVE]
    assert (found.values, found.ttl, found.metadata) == ([["v=", "theirs"]], 900, {"owner": "mail"})


# --- the last value


def test_keep_empty_leaves_the_record_set_and_needs_no_right_to_delete(api: AzureDnsApi, make: Make, soon: Any) -> None:
    txt = "Microsoft.Network/dnsZones/TXT"
    api.access.assignments[CLIENT] = [Assignment(f"/subscriptions/{SUBSCRIPTION}", (f"{txt}/read", f"{txt}/write"))]
    for ttl in (60, 77):
        provider = make(on_last="keep_empty")
        placements = provider.ensure(zone(api), [TxtValue(NAME, "ours")], ttl=ttl, deadline=soon())
        assert api.zone(ZONE).sets[RELATIVE].ttl == ttl
        provider.release(placements, deadline=soon())
        assert api.zone(ZONE).sets[RELATIVE].values == []
    provider.check_access(zone(api), [NAME], deadline=soon())
    assert "DELETE" not in methods(api)


def test_a_lock_against_deletion_leaves_the_record_set_empty(api: AzureDnsApi, make: Make, soon: Any) -> None:
    provider = make()
    placements = provider.ensure(zone(api), [TxtValue(NAME, "ours")], ttl=60, deadline=soon())
    api.locked.add(api.zone(ZONE).id)
    provider.release(placements, deadline=soon())
    assert api.zone(ZONE).sets[RELATIVE].values == []
    assert api.dns.values(NAME) == []


# --- patience


def busy(seconds: int) -> Answer:
    return Answer.of({"code": "TooManyRequests", "message": "slow down"}, 429, **{"Retry-After": str(seconds)})


def test_throttling_is_followed(api: AzureDnsApi, make: Make, clock: QuickClock, soon: Any) -> None:
    api.fail(is_put, refuse(busy(7)), times=2)
    make().ensure(zone(api), [TxtValue(NAME, "ours")], ttl=60, deadline=soon())
    assert methods(api) == ["PUT", "PUT", "PUT"]
    assert [int(seconds) for seconds in clock.slept] == [7, 7]


def test_a_throttle_storm_ends_at_the_deadline(api: AzureDnsApi, make: Make, clock: QuickClock) -> None:
    api.fail(is_put, refuse(busy(7)), times=100)
    with pytest.raises(DnsUnreachable, match="429 TooManyRequests: slow down"):
        make().ensure(zone(api), [TxtValue(NAME, "ours")], ttl=60, deadline=Deadline(clock, 20))
    assert sum(clock.slept) <= 20


def test_an_interrupt_is_heard_while_it_waits_and_in_all_threads(
    api: AzureDnsApi, make: Make, clock: QuickClock, soon: Any
) -> None:
    def stop(call: Call, do: Callable[[Call], Answer]) -> Answer:
        clock.stop()
        return busy(7)

    api.fail(is_put, stop)
    values = [TxtValue(f"_acme-challenge.w{number}.{ZONE}", "value") for number in range(30)]
    with pytest.raises(Interrupted):
        make().ensure(zone(api), values, ttl=60, deadline=soon())
    assert len(api.calls) < 30


def test_nothing_listens(make: Make, clock: QuickClock, api: AzureDnsApi) -> None:
    provider = make(endpoint="https://127.0.0.1:9")
    with pytest.raises(DnsUnreachable, match="refused"):
        provider.zones_for(NAME, None, deadline=Deadline(clock, 60))
    assert len(clock.slept) == 3


def test_an_untrusted_certificate_is_not_tried_twice(make: Make, clock: QuickClock, tmp_path: Path) -> None:
    other = Loopback(tmp_path)
    with pytest.raises(DnsUnreachable, match="not trusted") as caught:
        make(ca_bundle=str(other.files.ca_bundle)).zones_for(NAME, None, deadline=Deadline(clock, 60))
    assert "ca_bundle" in caught.value.fix
    assert clock.slept == []


# --- zones


def test_a_name_in_several_groups_gives_several_zones_with_their_servers(
    api: AzureDnsApi, make: Make, soon: Any
) -> None:
    others = ("ns1-09.azure-dns.com.", "NS2-09.azure-dns.net.")
    api.zones += [
        FakeZone(ZONE, "old", servers=others, served=False),
        FakeZone(ZONE, "inside", private=True, served=False),
        FakeZone("www.ci.test", served=False),
        FakeZone("xci.test", served=False),
    ]
    found = make().zones_for(NAME, None, deadline=soon())
    assert [(one.name, one.id.split("/")[4], one.public) for one in found] == [
        (ZONE, "dns", True),
        (ZONE, "old", True),
        (ZONE, "inside", False),
        ("www.ci.test", "dns", True),
    ]
    assert found[1].nameservers == ("ns1-09.azure-dns.com", "ns2-09.azure-dns.net")


def test_zones_are_listed_once_over_all_pages(api: AzureDnsApi, make: Make, soon: Any) -> None:
    api.zones[:0] = [FakeZone(f"z{number}.test", served=False) for number in range(150)]
    provider = make()
    for _ in range(3):
        assert [one.name for one in provider.zones_for(NAME, None, deadline=soon())] == [ZONE]
    assert methods(api) == ["GET", "GET"]


def test_a_group_and_the_cut_need_the_zone_alone(api: AzureDnsApi, make: Make, soon: Any) -> None:
    api.access.assignments[CLIENT] = [Assignment(api.zone(ZONE).id, ("Microsoft.Network/dnsZones/read",))]
    (found,) = make(resource_group=GROUP).zones_for(NAME, ZONE, deadline=soon())
    assert found.nameservers[0] == "ns1-05.azure-dns.com"
    with pytest.raises(DnsRefused, match=r"Microsoft\.Network/dnszones/read") as caught:
        make(resource_group=GROUP).zones_for(NAME, None, deadline=soon())
    assert f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}" in caught.value.fix


@pytest.mark.parametrize("whole", [True, False])
def test_a_zone_id_is_taken_as_it_is(whole: bool, api: AzureDnsApi, make: Make, soon: Any) -> None:
    api.access.assignments[CLIENT] = [
        Assignment(f"{api.zone(ZONE).id}/TXT/{RELATIVE}", ("Microsoft.Network/dnsZones/TXT/*",))
    ]
    settings = (
        {"zone_id": api.zone(ZONE).id, "subscription": None} if whole else {"zone_id": ZONE, "resource_group": GROUP}
    )
    provider = make(**settings)
    (found,) = provider.zones_for(NAME, None, deadline=soon())
    assert found.name == ZONE
    provider.release(provider.ensure(found, [TxtValue(NAME, "ours")], ttl=60, deadline=soon()), deadline=soon())
    assert methods(api) == ["PUT", "DELETE"]


def test_a_zone_that_is_not_there(api: AzureDnsApi, make: Make, soon: Any) -> None:
    for group, missing in ((GROUP, "gone.test"), ("nowhere", ZONE)):
        provider = make(zone_id=missing, resource_group=group)
        (found,) = provider.zones_for(NAME, None, deadline=soon())
        for attempt in (
            lambda provider=provider, found=found: provider.ensure(
                found, [TxtValue(f"_acme-challenge.{found.name}", "x")], ttl=60, deadline=soon()
            ),
            lambda provider=provider, found=found: provider.check_access(
                found, [f"_acme-challenge.{found.name}"], deadline=soon()
            ),
        ):
            with pytest.raises(ZoneNotFound, match=missing):
                attempt()


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"zone_id": "ci.test"}, "resource_group"),
        ({"zone_id": "/subscriptions/s/resourceGroups/g"}, "zone_id"),
        (
            {"zone_id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/privateDnsZones/ci.test"},
            "zone_id",
        ),
        ({"endpoint": "http://127.0.0.1"}, "endpoint"),
        ({"client_secret": "env:X"}, "client"),
        ({"client": "c", "client_secret": "env:X", "managed_identity": True}, "managed_identity"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AzureDnsSettings.model_validate({"zone": ZONE, **settings})
    assert [error["loc"] for error in caught.value.errors()] == [(key,)]


def test_the_subscription_comes_from_the_environment_or_is_asked_for(make: Make, soon: Any, api: AzureDnsApi) -> None:
    provider = make(environ={"AZURE_SUBSCRIPTION_ID": SUBSCRIPTION}, subscription=None)
    assert [one.name for one in provider.zones_for(NAME, None, deadline=soon())] == [ZONE]
    with pytest.raises(ConfigError, match="subscription"):
        make(subscription=None).zones_for(NAME, None, deadline=soon())


# --- rights


def roles(settings: AzureDnsSettings, names: tuple[str, ...]) -> list[Assignment]:
    """What `permissions` prints, as an administrator would apply it."""
    documents = permissions(PermissionRequest(settings, names=names, zone=ZONE))
    found: list[Assignment] = []
    for role, where in zip(documents[::2], documents[1::2], strict=False):
        if role.syntax == "json":
            scopes = [line.partition('--scope "')[2].rstrip('"') for line in where.text.splitlines()]
            found += [Assignment.of_role(role.text, scope) for scope in scopes]
    return found


@pytest.mark.parametrize("on_last", ["delete", "keep_empty"])
@pytest.mark.parametrize("given", [True, False])
def test_what_is_printed_is_enough_and_one_call_more_is_denied(
    given: bool, on_last: str, api: AzureDnsApi, make: Make, soon: Any
) -> None:
    more = {"zone_id": api.zone(ZONE).id} if given else {"resource_group": GROUP}
    provider = make(on_last=on_last, **more)
    names = (NAME, f"_acme-challenge.{ZONE}")
    assignments = roles(provider._settings, names)
    api.access.assignments[CLIENT] = assignments
    (found,) = provider.zones_for(NAME, ZONE, deadline=soon())
    provider.check_access(found, names, deadline=soon())
    for name in names:
        api.plant(name, "foreign", 300, api.zone(ZONE))
    placements = provider.ensure(found, [TxtValue(name, "ours", ttl=300) for name in names], ttl=60, deadline=soon())
    provider.release(placements, deadline=soon())
    alone = provider.ensure(found, [TxtValue(NAME, "foreign")], ttl=60, deadline=soon())
    assert not alone[0].created
    for refused in (
        lambda: provider.ensure(found, [TxtValue(f"_acme-challenge.x.{ZONE}", "x")], ttl=60, deadline=soon()),
        lambda: provider.check_access(found, [f"www.{ZONE}"], deadline=soon()),
    ):
        with pytest.raises(DnsRefused, match=r"not allowed: Microsoft\.Network/dnszones/TXT/") as caught:
            refused()
        assert "assign a role that has Microsoft.Network/dnszones/TXT/" in caught.value.fix
    actions = {action for one in assignments for action in one.actions}
    used = {action.replace("dnszones", "dnsZones") for action, _ in api.access.seen}
    assert used == actions, "nothing is granted that is not used"


@pytest.mark.parametrize("missing", ["read", "write", "delete"])
def test_check_access_names_the_right_that_is_missing(missing: str, api: AzureDnsApi, make: Make, soon: Any) -> None:
    txt = "Microsoft.Network/dnsZones/TXT"
    api.access.assignments[CLIENT] = [Assignment(api.zone(ZONE).id, (f"{txt}/*",), excluded=(f"{txt}/{missing}",))]
    with pytest.raises(DnsRefused, match=f"TXT/{missing}"):
        make().check_access(zone(api), [NAME], deadline=soon())
    assert api.zone(ZONE).sets == {}


# --- as recorded


RECORDINGS = os.environ.get("CI_ACME_RECORDINGS")


@pytest.mark.skipif(RECORDINGS is None, reason="CI_ACME_RECORDINGS names no folder of recorded exchanges")
def test_the_fake_answers_as_azure_did(api: AzureDnsApi, make: Make, soon: Any) -> None:
    """Every recorded answer about zones and TXT sets has the members, types and headers that the fake's have."""
    provider = make()
    provider.ensure(zone(api), [TxtValue(NAME, "ours")], ttl=60, deadline=soon())
    token = next(text for text, one in api.entra.issued.items() if one.audience == RESOURCE)

    def ask(method: str, path: str, body: bytes = b"") -> Answer:
        headers = {"authorization": f"Bearer {token}"}
        return api.handle(Call(method, path, {"api-version": ["2018-05-01"]}, headers, body))

    ours = {
        "zones": ask(
            "GET", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Network/dnsZones"
        ),
        "put": ask(
            "PUT",
            f"{api.zone(ZONE).id}/TXT/fresh",
            json.dumps({"properties": {"TTL": 60, "TXTRecords": [{"value": ["x"]}]}}).encode(),
        ),
    }
    seen = 0
    for path in sorted(Path(RECORDINGS or "", "azure").rglob("*.yaml")):
        for exchange in yaml.safe_load(path.read_text())["interactions"]:
            uri, method = exchange["request"]["uri"], exchange["request"]["method"]
            kind = "zones" if "/dnsZones?" in uri else "put" if method == "PUT" and "/TXT/" in uri else None
            if kind is None:
                continue
            theirs = json.loads(exchange["response"]["body"]["string"])
            if kind == "zones" and not theirs["value"]:
                continue
            assert shape(json.loads(ours[kind].body)) == shape(theirs), f"{path.name}: {uri}"
            if kind == "put" and exchange["response"]["status"]["code"] == 201:
                assert ours["put"].status == 201
                assert exchange["response"]["headers"]["ETag"] == [theirs["etag"]]
                assert ours["put"].headers["ETag"] == json.loads(ours["put"].body)["etag"]
            seen += 1
    assert seen > 30


def shape(document: Any) -> Any:
    """Members and types, of the first item where there are several."""
    if isinstance(document, dict):
        return {key: {} if key == "tags" else shape(value) for key, value in document.items()}
    if isinstance(document, list):
        return [shape(document[0])] if document else []
    return type(document).__name__


def test_placements_of_another_process_are_released_by_value(api: AzureDnsApi, make: Make, soon: Any) -> None:
    make().ensure(zone(api), [TxtValue(NAME, "ours")], ttl=60, deadline=soon())
    for ref in (None, "sole:1:of-long-ago", "garbage", "sole:9:x"):
        api.plant(NAME, f"by {ref}", 300, api.zone(ZONE))
        make().release([Placement(zone(api), NAME, f"by {ref}", created=True, ref=ref)], deadline=soon())
        assert api.dns.values(NAME) == ["ours"]
