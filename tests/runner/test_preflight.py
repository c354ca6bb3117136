"""What many findings of CAA come to: one judgement for all that share it, and errors only where a CA would fail."""

from __future__ import annotations

import pytest

from ci_acme.core.caa import CaaRecord
from ci_acme.dns.caa import RelevantCaa
from ci_acme.errors import CaaForbidden, CaaUnanswered, DnssecBroken, DnsUnreachable
from ci_acme.runner.preflight import judge_names
from tests.runner.conftest import MakeWorld, World

US = ("ca.example",)
NAMES = [f"n{number}.example.com" for number in range(100)]


def all_of(found: RelevantCaa) -> dict[str, RelevantCaa]:
    return dict.fromkeys(NAMES, found)


def test_a_hundred_names_under_one_record_are_one_refusal() -> None:
    found = all_of(RelevantCaa("example.com", (CaaRecord(0, "issue", "other.example"),)))
    (one,) = judge_names(NAMES, found, US, "https://ca.example/1", "dns-01")
    assert isinstance(one.error, CaaForbidden)
    assert "for n0.example.com, n1.example.com, n2.example.com and 97 more: " in one.error.message
    assert one.error.details["identifiers"] == NAMES


def test_a_hundred_names_in_one_broken_zone_are_one_failure() -> None:
    def failing(name: str) -> RelevantCaa:
        return RelevantCaa(error=CaaUnanswered(f"no CAA of {name}", fix="repair", details={"zone": "example.com"}))

    found = {name: failing(name) for name in NAMES}
    (one,) = judge_names(NAMES, found, US, None, "dns-01")
    assert isinstance(one.error, CaaUnanswered)
    assert one.error is not found[NAMES[0]].error, "certificates that share a finding do not write into one another's"
    assert one.subject == "n0.example.com, n1.example.com, n2.example.com and 97 more"


def test_only_a_ca_that_looks_at_caa_is_refused() -> None:
    for error in (CaaUnanswered("x", details={"zone": "z"}), DnssecBroken("y", details={"zone": "z"})):
        (one,) = judge_names(NAMES, all_of(RelevantCaa(error=error)), (), None, "dns-01")
        assert (one.level, one.error) == ("warning", None)
        (one,) = judge_names(NAMES, all_of(RelevantCaa(error=error)), US, None, "dns-01")
        assert type(one.error) is type(error)


def test_a_doubt_is_never_an_error() -> None:
    found = all_of(RelevantCaa(doubt=DnsUnreachable("no answer", details={"zone": "example.com"})))
    (one,) = judge_names(NAMES, found, US, None, "dns-01")
    assert (one.level, one.error) == ("warning", None)


def test_mixed_findings_each_have_their_names() -> None:
    wild = RelevantCaa("example.com", (CaaRecord(0, "issuewild", ";"),))
    found = {"example.com": wild, "example.net": RelevantCaa()}
    judgements = judge_names(["example.com", "*.example.com", "example.net"], found, US, None, "dns-01")
    assert {one.identifiers: one.level for one in judgements} == {
        ("example.com",): "ok",
        ("*.example.com",): "error",
        ("example.net",): "ok",
    }


# where challenges belong


def test_a_name_that_no_entry_serves_costs_no_order(world: World) -> None:
    world.config["certificates"]["web"]["names"] = ["www.elsewhere.test"]
    error = world.issue().error
    assert error is not None
    assert error.exit_status == 4
    assert world.requests()["newOrder"] == 0


@pytest.mark.parametrize("how", ["no entry at all", "bound account", "renewal"])
def test_what_the_ca_may_have_validated_already_is_ordered(make_world: MakeWorld, how: str) -> None:
    """Only the order tells whether records are needed."""
    world = make_world(external_accounts={"kid": b"0" * 32})
    if how == "renewal":
        assert world.issue().error is None
    world.ca.faults.authorizations_valid = True
    if how == "no entry at all":
        del world.config["dns"]
    elif how == "bound account":
        world.environ["HMAC"] = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA"
        world.authority["external_account"] = {"key_id": "kid", "hmac_key": "env:HMAC"}
        world.config["certificates"]["web"]["names"] = ["www.elsewhere.test"]
    else:
        world.config["dns"][0]["zone"] = "elsewhere.test"
    outcome = world.issue(force=True)
    assert outcome.error is None, outcome.error.message
    assert outcome.action == ("renewed" if how == "renewal" else "issued")
