"""Values that cannot be wrong, and documents that survive the round trip."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.errors import CODES, PRECEDENCE, DnsRefused, worst_exit_status
from ci_acme.model.names import challenge_name, longest_suffix, normalize_identifier
from ci_acme.model.records import Metadata, RenewalMemory, format_time, parse_time
from ci_acme.model.secret import Secret, without_secrets

from .test_plan import METADATA

times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001 - the next line gives it a zone
    lambda value: value.replace(microsecond=0, tzinfo=timezone.utc)
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example.COM.", "example.com"),
        ("*.Example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.ストレス.example", "*.xn--zcka8byi.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_names_become_a_labels(text: str, name: str) -> None:
    assert normalize_identifier(text) == name


@pytest.mark.parametrize(
    "text",
    ["", "*", "*.", "com", "192.0.2.1", "2001:db8::1", "a..b", "-a.com", "a.*.com", "a_b.com", "a" * 64 + ".com",
     "a b.com", "1.2.3.4.in-addr.arpa", "host.123", "*.*.com", "bü cher.example"],
)  # fmt: skip
def test_what_is_no_identifier_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normalize_identifier(text)


@pytest.mark.parametrize(("text", "word"), [("a.com:443", "port"), ("1.2.3.4:443", "IP"), ("fe80::1", "IP")])
def test_the_reason_is_the_right_one(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        normalize_identifier(text)


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_a_value_error(text: str) -> None:
    try:
        name = normalize_identifier(text)
    except ValueError:
        return
    assert normalize_identifier(name) == name
    assert name.isascii()
    assert challenge_name(name).startswith("_acme-challenge.")


def test_the_longest_zone_wins_on_label_borders() -> None:
    zones = ["example.com", "b.example.com", "xb.example.com"]
    assert longest_suffix(zones, "a.b.example.com") == "b.example.com"
    assert longest_suffix(zones, "ab.example.com") == "example.com"
    assert longest_suffix(zones, "example.org") is None


@given(times, times, st.one_of(st.none(), times), st.integers(0, 9))
def test_metadata_survives_json(a: datetime, b: datetime, c: datetime | None, failures: int) -> None:
    memory = RenewalMemory("https://ca.test/ari/x", a, b, c, a, None, failures)
    metadata = replace(METADATA, not_before=a, not_after=b, renewal=memory, revoked=c)
    assert Metadata.from_json(json.loads(json.dumps(metadata.to_json()))) == metadata


@given(st.recursive(st.one_of(st.none(), st.text(max_size=5), st.integers()), lambda x: st.lists(x, max_size=3)))
def test_garbled_metadata_is_a_value_error(value: object) -> None:
    document = METADATA.to_json()
    for key in document:
        try:
            Metadata.from_json({**document, key: value})
        except ValueError:
            continue


def test_times_are_utc() -> None:
    local = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=9)))
    assert format_time(local) == "2026-01-01T03:00:00Z"
    assert parse_time("2026-01-01T12:00:00+09:00") == local
    with pytest.raises(ValueError, match="no zone"):
        parse_time("2026-01-01T12:00:00")


@pytest.mark.parametrize(
    ("secret", "part"),
    [
        ("correct-horse-battery", "correct-horse-battery"),
        ("two lines of\na long secret", "a long secret"),
        ("  padded-by-a-file \n", "padded-by-a-file"),
    ],
)
def test_an_error_does_not_repeat_a_secret(secret: str, part: str) -> None:
    """A password of words looks like any other word: nothing but the word itself tells."""
    Secret(secret.encode())
    error = DnsRefused(f"the server said: no such key {part} here", fix=f"compare {part} with it")
    assert str(error) == error.message == "the server said: no such key … here"
    assert error.fix == "compare … with it"


def test_of_secrets_that_hold_each_other_nothing_is_left() -> None:
    for value in (b"open-sesame", b"open-sesame-and-close"):
        Secret(value)
    assert without_secrets("<open-sesame-and-close, open-sesame>") == "<…, …>"


def test_a_short_secret_blots_out_no_words() -> None:
    Secret(b"the")
    assert without_secrets("the zone of the name") == "the zone of the name"


def test_a_secret_does_not_show() -> None:
    secret = Secret(b"canary")
    assert "canary" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@given(st.lists(st.sampled_from([0, *PRECEDENCE])))
def test_the_first_failing_code_in_order_is_returned(statuses: list[int]) -> None:
    expected = next((status for status in PRECEDENCE if status in statuses), 0)
    assert worst_exit_status(statuses) == expected
    assert worst_exit_status([*statuses, 143]) == 143


def test_every_error_code_has_an_exit_status_of_the_contract() -> None:
    assert {cls.exit_status for cls in CODES.values()} <= {*PRECEDENCE, 9, 130, 143}
    assert all(cls.code == code for code, cls in CODES.items())
    assert all(cls.__doc__ for cls in CODES.values())
