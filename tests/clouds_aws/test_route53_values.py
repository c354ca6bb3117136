"""Single values in Route 53: beside others, through lost replies and refusals, in one batch."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.errors import DnsError, DnsRefused, DnsUnreachable
from ci_acme.ports import Placement, TxtValue
from ci_acme_providers.aws.route53_records import order, plain_name, quote, unquote, wire_name
from tests.clouds import aws_wire
from tests.clouds.api import Answer, Call, Fault, commit_then, lose_call, lose_reply, refuse
from tests.clouds.aws_support import Account, is_change
from tests.clouds.route53 import MODEL, FakeRoute53, multivalue, normalize, sort_key

NAME = "_acme-challenge.www.ci.test"
UNAVAILABLE = Answer(503, b"<html>Service Unavailable</html>", {"Content-Type": "text/html"})
lost = pytest.mark.parametrize("fault", [commit_then(UNAVAILABLE), lose_reply], ids=["503", "reset"])


@pytest.fixture
def account() -> Iterator[Account]:
    with FakeRoute53() as fake:
        yield Account(fake)


def changes(account: Account) -> list[list[str]]:
    """The actions of each batch that was carried out."""
    return [[change["Action"] for change in batch] for batch in account.fake.batches]


def created(placements: list[Placement] | tuple[Placement, ...]) -> list[bool]:
    return [placement.created for placement in placements]


# --- the cost


def test_a_hundred_names_in_one_zone_cost_eight_calls_with_finding_waiting_and_releasing(account: Account) -> None:
    for number in range(250):
        account.fake.merge(account.zone, f"n{number}.ci.test", "something else", 60)
    account.fake.polls = 3
    adapter = account.adapter()
    names = [f"_acme-challenge.n{number}.ci.test" for number in range(0, 200, 2)]
    (zone,) = adapter.zones_for(names[0], "ci.test", deadline=account.deadline())
    values = [TxtValue(name, secrets.token_urlsafe(32)) for name in names]
    placements = adapter.ensure(zone, values, ttl=60, deadline=account.deadline())
    adapter.wait_in_sync(placements, deadline=account.deadline())
    assert all(account.texts(value.name) == {value.value: 60} for value in values)
    adapter.release(placements, deadline=account.deadline())
    assert not any(account.texts(name) for name in names)
    assert Counter(account.fake.operations()) == {
        "ListHostedZonesByName": 1,
        "GetHostedZone": 1,
        "ChangeResourceRecordSets": 2,
        "GetChange": 4,
    }


def test_another_process_releases_a_hundred_names_by_one_call(account: Account) -> None:
    values = [TxtValue(f"_acme-challenge.n{number}.ci.test", "value") for number in range(100)]
    placements = account.ensure(account.adapter(), *values)
    account.fake.calls.clear()
    account.release(account.adapter(), placements)
    assert account.fake.operations() == ["ChangeResourceRecordSets"]
    assert not any(account.texts(value.name) for value in values)


def test_one_neighbour_among_a_hundred_names_costs_one_page(account: Account) -> None:
    values = [TxtValue(f"_acme-challenge.n{number}.ci.test", "ours") for number in range(100)]
    account.fake.merge(account.zone, values[41].name, "foreign", 900)
    placements = account.ensure(account.adapter(), *values)
    operations = ["ChangeResourceRecordSets", "ListResourceRecordSets", "ChangeResourceRecordSets"]
    assert account.fake.operations() == operations
    assert all(created(placements))
    assert account.texts(values[41].name) == {"foreign": 900, "ours": 900}
    account.release(account.adapter(), placements)
    assert account.texts(values[41].name) == {"foreign": 900}
    assert not account.texts(values[40].name)


def test_a_hundred_neighbours_that_dns_has_seen_are_read_page_by_page(account: Account) -> None:
    names = [f"_acme-challenge.n{number}.ci.test" for number in range(100)]
    for number, name in enumerate(names):
        account.fake.merge(account.zone, name, "foreign", 300)
        account.fake.merge(account.zone, f"host.n{number}.ci.test", "between", 300)
    account.ensure(account.adapter(), *(TxtValue(name, "ours", ttl=300) for name in names))
    assert account.fake.operations() == ["ListResourceRecordSets", "ChangeResourceRecordSets"]
    assert all(account.texts(name) == {"foreign": 300, "ours": 300} for name in names)


def test_what_lies_far_apart_is_jumped_to(account: Account) -> None:
    names = [f"_acme-challenge.{letter}.ci.test" for letter in "amz"]
    for name in names:
        account.fake.merge(account.zone, name, "foreign", 300)
    for number in range(1500):
        account.fake.merge(account.zone, f"host{number}.{'b' if number % 2 else 'n'}.ci.test", "between", 300)
    account.ensure(account.adapter(), *(TxtValue(name, "ours", ttl=300) for name in names))
    assert Counter(account.fake.operations()) == {"ListResourceRecordSets": 3, "ChangeResourceRecordSets": 1}


def test_what_one_batch_cannot_hold_goes_in_several(account: Account) -> None:
    values = [TxtValue(f"_acme-challenge.n{number}.ci.test", "v" * 100) for number in range(1100)]
    placements = account.ensure(account.adapter(), *values)
    assert [len(batch) for batch in changes(account)] == [313, 313, 313, 161]
    assert len({placement.ref for placement in placements}) == 4
    account.release(account.adapter(), placements)
    assert not any(account.texts(value.name) for value in values)


# --- values and sets


def test_two_values_at_one_name_are_one_set(account: Account) -> None:
    adapter = account.adapter()
    placements = account.ensure(adapter, TxtValue(NAME, "one"), TxtValue(NAME, "two"), ttl=30)
    assert account.texts(NAME) == {"one": 30, "two": 30}
    account.release(adapter, placements[:1])
    assert account.texts(NAME) == {"two": 30}
    assert changes(account) == [["CREATE"], ["DELETE", "CREATE"]]


def test_a_value_that_is_there_is_adopted_and_survives(account: Account) -> None:
    account.fake.merge(account.zone, NAME, "theirs", 900)
    for ttl in (None, 900):  # DNS did not show it yet, or did
        placements = account.ensure(account.adapter(), TxtValue(NAME, "theirs", ttl=ttl))
        assert created(placements) == [False]
        assert placements[0].ref is None
        account.release(account.adapter(), placements)
    assert account.texts(NAME) == {"theirs": 900}
    assert changes(account) == []


def test_a_set_that_vanished_after_dns_had_shown_it_is_made_with_our_ttl(account: Account) -> None:
    account.ensure(account.adapter(), TxtValue(NAME, "ours", ttl=900), ttl=77)
    assert account.texts(NAME) == {"ours": 77}


def test_a_neighbour_who_came_after_us_keeps_everything(account: Account) -> None:
    """What we remember of the set is wrong by then: the change is refused, and made again from what is there."""
    adapter = account.adapter()
    placements = account.ensure(adapter, TxtValue(NAME, "ours"))
    account.fake.merge(account.zone, NAME, "foreign", 600)
    account.release(adapter, placements)
    assert account.texts(NAME) == {"foreign": 600}


def test_a_value_of_another_run_is_released_by_an_adapter_that_remembers_the_name_without_it(account: Account) -> None:
    adapter = account.adapter()
    own = account.ensure(adapter, TxtValue(NAME, "own"))
    left = account.ensure(account.adapter(), TxtValue(NAME, "left"))
    account.release(adapter, left)
    assert account.texts(NAME) == {"own": 60}
    account.release(adapter, own)
    account.release(adapter, own)
    assert account.texts(NAME) == {}


@pytest.mark.parametrize("value", ["x" * 600, 'say "hi" \\ bye', "häagen", "tab\tand nul\0"])
def test_any_value_is_written_and_taken_away(account: Account, value: str) -> None:
    account.fake.merge(account.zone, NAME, "foreign", 60)
    adapter = account.adapter()
    placements = account.ensure(adapter, TxtValue(NAME, value))
    assert created(placements) == [True]
    assert len(account.texts(NAME)) == 2
    assert created(account.ensure(account.adapter(), TxtValue(NAME, value, ttl=60))) == [False]
    account.release(account.adapter(), placements)
    assert account.texts(NAME) == {"foreign": 60}


def test_names_that_route_53_escapes(account: Account) -> None:
    """A CNAME may lead to any name: those with `*` and others come back in octal."""
    names = ["*.ci.test", "a!b.ci.test", "_acme-challenge.a+b.ci.test"]
    for name in names:
        account.fake.merge(account.zone, name, "foreign", 60)
    placements = account.ensure(account.adapter(), *(TxtValue(name, "ours") for name in names))
    assert [record_set["Name"] for record_set in account.zone.listing() if record_set["Type"] == "TXT"] == [
        "\\052.ci.test.",
        "a\\041b.ci.test.",
        "_acme-challenge.a\\053b.ci.test.",
    ]
    assert all(account.texts(name) == {"foreign": 60, "ours": 60} for name in names)
    account.release(account.adapter(), placements)
    assert all(account.texts(name) == {"foreign": 60} for name in names)


@given(st.text(st.characters(codec="utf-8"), max_size=700))
def test_quoting_is_reversible_and_what_route_53_takes(value: str) -> None:
    text = quote(value)
    assert unquote(text) == value
    assert text.isascii()
    assert text.isprintable()


@given(st.lists(st.text("abcz09-_*!+", min_size=1, max_size=5), min_size=1, max_size=4).map(".".join))
def test_names_are_those_of_route_53(name: str) -> None:
    assert wire_name(name) + "." == normalize(name)
    assert plain_name(normalize(name)) == name
    assert order(name) == sort_key(normalize(name))


# --- multivalue


def test_a_multivalue_name_gets_a_record_of_ours_and_keeps_the_others(account: Account) -> None:
    account.fake.plant(account.zone, multivalue(NAME, "cert-manager", "foreign", 120))
    placements = account.ensure(account.adapter(), TxtValue(NAME, "one"), TxtValue(NAME, "two"))
    assert created(placements) == [True, True]
    assert account.texts(NAME) == {"foreign": 120, "one": 120, "two": 120}
    identifiers = [one["SetIdentifier"] for one in account.zone.listing() if one["Type"] == "TXT"]
    assert [identifier.rpartition("/")[0] for identifier in identifiers] == ["", "ci-acme/run-1", "ci-acme/run-1"]
    account.release(account.adapter(run="another"), placements)
    assert account.texts(NAME) == {"foreign": 120}
    assert changes(account) == [["CREATE", "CREATE"], ["DELETE", "DELETE"]]


def test_of_twins_only_one_of_ours_is_released(account: Account) -> None:
    for run in ("run-1", "run-2"):
        account.fake.plant(account.zone, multivalue(NAME, f"ci-acme/{run}/0", "value", 60))
    account.fake.plant(account.zone, multivalue(NAME, "foreign", "value", 60))
    account.release(account.adapter(run="run-2"), [Placement(account.found, NAME, "value", created=True)])
    left = [one["SetIdentifier"] for one in account.zone.listing() if one["Type"] == "TXT"]
    assert left == ["ci-acme/run-1/0", "foreign"]


def test_the_mode_changes_between_reading_and_writing(account: Account) -> None:
    """A neighbour makes the name multivalue after we have read it, and another makes it simple again."""
    account.fake.merge(account.zone, NAME, "simple", 60)

    def turn(to_multivalue: bool) -> Fault:
        def fault(call: Call, do: object) -> Answer | None:
            with account.fake.lock:
                for key in [key for key in account.zone.sets if key[1] == "TXT"]:
                    del account.zone.sets[key]
            if to_multivalue:
                account.fake.plant(account.zone, multivalue(NAME, "foreign", "many", 60))
            else:
                account.fake.merge(account.zone, NAME, "simple", 60)
            return account.fake.handle(call)

        return fault

    account.fake.fail(is_change, turn(to_multivalue=True))
    account.fake.fail(is_change, turn(to_multivalue=False))
    account.ensure(account.adapter(), TxtValue(NAME, "ours", ttl=60))
    assert account.texts(NAME) == {"simple": 60, "ours": 60}
    assert account.fake.operations().count("ChangeResourceRecordSets") == 3


def test_more_values_than_an_answer_holds_are_told(account: Account) -> None:
    for number in range(8):
        account.fake.plant(account.zone, multivalue(NAME, f"other-{number}", f"value-{number}", 60))
    account.ensure(account.adapter(), TxtValue(NAME, "ours"))
    (warning,) = account.warnings
    assert "has 9 multivalue records" in warning


@pytest.mark.parametrize(
    ("record_set", "what"),
    [
        ({"SetIdentifier": "a", "Weight": 1, "TTL": 60, "ResourceRecords": [{"Value": '"x"'}]}, "a routing policy"),
        (
            {"AliasTarget": {"HostedZoneId": "Z", "DNSName": "x.ci.test", "EvaluateTargetHealth": False}},
            "an alias",
        ),
    ],
    ids=["weighted", "alias"],
)
def test_where_no_value_can_be_added_nothing_is_changed(
    account: Account, record_set: dict[str, object], what: str
) -> None:
    account.fake.plant(account.zone, {"Name": f"{NAME}.", "Type": "TXT", **record_set})
    adapter = account.adapter()
    with pytest.raises(DnsRefused, match=what) as raised:
        account.ensure(adapter, TxtValue(NAME, "ours"))
    assert raised.value.fix
    account.release(adapter, [Placement(account.found, NAME, "ours", created=True)])
    assert changes(account) == []


# --- lost replies and trouble


@lost
def test_a_lost_reply_is_no_error_and_the_value_is_ours(account: Account, fault: Fault) -> None:
    account.fake.fail(is_change, fault)
    placements = account.ensure(account.adapter(), TxtValue(NAME, "one"), TxtValue(f"{NAME}.ci.test", "two"))
    assert created(placements) == [True, True]
    account.release(account.adapter(), placements)
    assert account.texts(NAME) == {}
    assert changes(account) == [["CREATE", "CREATE"], ["DELETE", "DELETE"]]


@lost
def test_a_lost_reply_beside_a_neighbour(account: Account, fault: Fault) -> None:
    account.fake.merge(account.zone, NAME, "foreign", 900)
    account.fake.fail(is_change, fault)
    placements = account.ensure(account.adapter(), TxtValue(NAME, "ours", ttl=900), TxtValue(NAME, "foreign", ttl=900))
    assert created(placements) == [True, False]
    assert account.texts(NAME) == {"foreign": 900, "ours": 900}
    account.fake.fail(is_change, fault)
    account.release(account.adapter(), placements)
    assert account.texts(NAME) == {"foreign": 900}


@lost
def test_a_lost_reply_in_multivalue_mode_makes_no_twin(account: Account, fault: Fault) -> None:
    account.fake.plant(account.zone, multivalue(NAME, "other", "foreign", 60))
    account.fake.fail(is_change, fault, times=2)
    placements = account.ensure(account.adapter(), TxtValue(NAME, "ours", ttl=60))
    assert created(placements) == [True]
    assert len([one for one in account.zone.listing() if one["Type"] == "TXT"]) == 2


def test_a_call_that_never_came_is_made_again(account: Account) -> None:
    account.fake.fail(is_change, lose_call, times=3)
    account.fake.fail(is_change, refuse(UNAVAILABLE), times=3)
    placements = account.ensure(account.adapter(), TxtValue(NAME, "ours"))
    assert created(placements) == [True]
    assert account.texts(NAME) == {"ours": 60}


def test_a_value_of_another_that_came_first_is_not_taken_for_ours(account: Account) -> None:
    """Throttled attempts were certainly not carried out: the twin that is there is another's."""
    account.fake.fail(is_change, refuse(aws_wire.error(MODEL, 400, "Throttling", "Rate exceeded")), times=2)
    account.fake.merge(account.zone, NAME, "ours", 60)
    assert created(account.ensure(account.adapter(), TxtValue(NAME, "ours"))) == [False]


def test_refused_credentials_after_a_lost_reply_do_not_say_that_nothing_was_written(account: Account) -> None:
    """The core forgets what was surely not written; this has to be cleaned up."""
    account.fake.fail(is_change, lose_reply)
    account.fake.fail(is_change, refuse(aws_wire.error(MODEL, 403, "ExpiredToken", "expired")))
    with pytest.raises(DnsError, match="expired") as raised:
        account.ensure(account.adapter(), TxtValue(NAME, "ours"))
    assert type(raised.value) is DnsError
    assert account.texts(NAME) == {"ours": 60}


def test_a_throttle_storm_is_waited_out(account: Account) -> None:
    throttled = refuse(aws_wire.error(MODEL, 400, "ThrottlingException", "Rate exceeded"))
    account.fake.fail(lambda _: True, throttled, times=14)
    placements = account.ensure(account.adapter(), TxtValue(NAME, "ours"))
    assert created(placements) == [True]
    assert len(account.clock.slept) == 14
    assert max(account.clock.slept) <= 4.0


def test_an_account_that_lets_five_calls_a_second_in(account: Account) -> None:
    """In real time: the sixth call and those after it are refused and come again."""
    account.fake.rate = 5
    adapter = account.adapter()
    for number in range(4):
        account.release(adapter, account.ensure(adapter, TxtValue(NAME, f"value {number}")))
    assert len(changes(account)) == 8
    assert len(account.fake.calls) > 8


def test_trouble_ends_with_the_deadline(account: Account) -> None:
    account.fake.fail(lambda _: True, refuse(aws_wire.error(MODEL, 400, "Throttling", "Rate exceeded")), times=500)
    with pytest.raises(DnsUnreachable, match="takes no more calls") as raised:
        account.adapter().ensure(account.found, [TxtValue(NAME, "x")], ttl=60, deadline=account.deadline(20))
    assert raised.value.fix == "run the command again"
    assert sum(account.clock.slept) <= 20


def test_a_server_that_is_not_there_is_told_soon(account: Account) -> None:
    adapter = account.adapter(endpoint="http://127.0.0.1:9")
    with pytest.raises(DnsUnreachable, match="cannot be reached"):
        account.ensure(adapter, TxtValue(NAME, "x"))
    assert sum(account.clock.slept) < 5


# --- refusals


@pytest.mark.parametrize("older", [False, True], ids=["code", "root"])
def test_conflicts_are_known_in_both_forms(account: Account, older: bool) -> None:
    account.fake.older = older
    account.fake.merge(account.zone, NAME, "foreign", 60)
    placements = account.ensure(account.adapter(), TxtValue(NAME, "ours"))
    account.release(account.adapter(), [*placements, Placement(account.found, f"x.{NAME}", "x", created=True)])
    assert account.texts(NAME) == {"foreign": 60}


def test_a_protected_record_is_told_at_once(account: Account) -> None:
    account.fake.protected.add(f"{NAME}.TXT")
    with pytest.raises(DnsRefused, match=r"protects the record.*kept for the auditors") as raised:
        account.ensure(account.adapter(), TxtValue(NAME, "ours"))
    assert "protection" in raised.value.fix
    assert account.fake.operations() == ["ChangeResourceRecordSets"]


def test_a_cname_at_the_name_is_told_at_once(account: Account) -> None:
    cname = {"Name": f"{NAME}.", "Type": "CNAME", "TTL": 60, "ResourceRecords": [{"Value": "x.test"}]}
    account.fake.plant(account.zone, cname)
    with pytest.raises(DnsRefused, match="conflicting RRSet of type CNAME") as raised:
        account.ensure(account.adapter(), TxtValue(NAME, "ours"))
    assert "CNAME" in raised.value.fix
    assert account.fake.operations() == ["ChangeResourceRecordSets"]


def test_a_refusal_in_words_that_nobody_knows_is_not_tried_for_ever(account: Account) -> None:
    strange = refuse(aws_wire.error(MODEL, 400, "InvalidChangeBatch", "[The moon is in the wrong house]"))
    account.fake.fail(is_change, strange, times=50)
    with pytest.raises(DnsRefused, match="The moon"):
        account.ensure(account.adapter(), TxtValue(NAME, "ours"))
    assert account.fake.operations().count("ChangeResourceRecordSets") == 4


def test_a_zone_that_is_gone(account: Account) -> None:
    adapter = account.adapter()
    del account.fake.zones[account.zone.id]
    with pytest.raises(DnsError, match="has no hosted zone") as raised:
        account.ensure(adapter, TxtValue(NAME, "ours"))
    assert "zone_id" in raised.value.fix
