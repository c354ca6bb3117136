"""Standing records for dns-persist-01: exactly our account, one of the CA's names, not ended."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.standing import Standing, judge, parse, record
from ci_acme.model.names import account_challenge_name, standing_name

NOW = datetime(2026, 11, 25, tzinfo=timezone.utc)
ACCOUNT = "https://ca.example/acct/123"
ISSUERS = ("ca.example", "other.example")


def judged(*values: str, wildcard: bool = False, account: str = ACCOUNT) -> str:
    found, why = judge(
        [value.encode() for value in values], issuers=ISSUERS, account=account, wildcard=wildcard, now=NOW
    )
    assert (found is None) == bool(why)
    return why


def test_the_label_of_an_account_is_the_drafts() -> None:
    name = account_challenge_name("*.www.example.org", "https://example.com/acme/acct/ExampleAccount")
    assert name == "_ujmmovf2vn55tgye._acme-challenge.www.example.org"
    assert standing_name("*.www.example.org") == "_validation-persist.www.example.org"


@pytest.mark.parametrize(
    "value",
    [
        f"ca.example; accounturi={ACCOUNT}",
        f"ca.example;accounturi={ACCOUNT}",
        f"  CA.example \t;\tAccountURI\t=\t{ACCOUNT} ; policy = wildcard",
        f"other.example; accounturi={ACCOUNT}; persistUntil=4102444800",
        f"ca.example; accounturi={ACCOUNT}; policy=strange; more=things",
    ],
)
def test_what_permits_us(value: str) -> None:
    assert judged(value) == ""


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (f"ca.example; accounturi={ACCOUNT}4", "another account"),
        (f"ca.example; accounturi={ACCOUNT.upper()}", "another account"),
        (f"ca.example; accounturi={ACCOUNT}/", "another account"),
        ("ca.example", "no accounturi"),
        ("ca.example; accounturi=", "no accounturi"),
        (f"ca.example; accounturi={ACCOUNT}; accounturi={ACCOUNT}", "twice"),
        (f"ca.example; accounturi={ACCOUNT};", "not TAG=VALUE"),
        (f"ca.example; accounturi={ACCOUNT}; persistUntil=soon", "persistUntil"),
        (f"ca.example; accounturi={ACCOUNT}; persistUntil=-1", "persistUntil"),
        (f"ca.example; accounturi={ACCOUNT}; persistUntil=999999999999", "persistUntil"),
        (f"ca.example; accounturi={ACCOUNT}; persistUntil={int(NOW.timestamp())}", "ended"),
        (f"ca.example; accounturi={ACCOUNT} x", "not allowed"),
        (f"evil.example; accounturi={ACCOUNT}", "no record"),
        (f"; accounturi={ACCOUNT}", "no record"),
        ("v=spf1 -all", "no record"),
        ("", "no record"),
    ],
)
def test_what_does_not(value: str, word: str) -> None:
    assert word in judged(value)


def test_one_good_record_beside_others_is_enough() -> None:
    assert judged("ca.example; accounturi=x", f"ca.example; accounturi={ACCOUNT}", "garbage") == ""


@given(st.sampled_from(ISSUERS), st.booleans(), st.booleans())
def test_what_is_told_to_publish_permits_us(issuer: str, published: bool, wanted: bool) -> None:
    value = record(issuer, ACCOUNT, wildcard=published)
    assert parse(value) == Standing(issuer, ACCOUNT, published)
    assert (judged(value, wildcard=wanted) == "") is (published or not wanted)


@given(st.integers(-10_000_000, 10_000_000))
def test_a_record_serves_until_its_end(seconds: int) -> None:
    until = int((NOW + timedelta(seconds=seconds)).timestamp())
    assert (judged(f"ca.example; accounturi={ACCOUNT}; persistUntil={until}") == "") is (seconds > 0)


@given(st.binary(max_size=300))
def test_any_bytes_are_judged(value: bytes) -> None:
    judge([value, b"ca.example;" + value], issuers=ISSUERS, account=ACCOUNT, wildcard=False, now=NOW)
    with suppress(ValueError):
        parse(value.decode("utf-8", errors="replace"))
