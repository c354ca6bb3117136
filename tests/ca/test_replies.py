"""Reading what a CA sends: Retry-After, Link, problems, renewal information."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.ca.problems import PREFIX, Problem, clean, error_for
from ci_acme.ca.renewal import RenewalReply, fetch_renewal_info, renewal_info_url
from ci_acme.ca.transport import MAX_RETRY_AFTER, Transport, parse_links, parse_retry_after
from ci_acme.errors import CaError, CaProtocolError, CaUnreachable, CiAcmeError, RateLimited
from tests.ca.support import UTC, Fake, Headers, HttpResponse, fake, problem, response

NOW = dt.datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
HTTP_NOW = format_datetime(NOW, usegmt=True)


# Retry-After


@given(st.integers(0, 10**11))
def test_seconds(seconds: int) -> None:
    assert parse_retry_after(f" {seconds} ", None, NOW) == min(seconds, MAX_RETRY_AFTER)


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_a_date_counts_from_the_servers_clock(ahead: int, skew: int) -> None:
    value = format_datetime(NOW + dt.timedelta(seconds=ahead), usegmt=True)
    here = NOW + dt.timedelta(seconds=skew)
    assert parse_retry_after(value, HTTP_NOW, here) == max(0, ahead)
    assert parse_retry_after(value, None, here) == max(0, ahead - skew)


@given(st.text(max_size=30))
def test_garbage_is_ignored(text: str) -> None:
    seconds = parse_retry_after(text, text, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "1.5",
        "1e9",
        "soon",
        "12 34",
        "Wed, 99 Nov 2026 12:00:00 GMT",
        "٣",
        "0x10",
        "Wed, 25 Nov 99999 12:00:00 GMT",
    ],
)
def test_known_garbage(text: str) -> None:
    assert parse_retry_after(text, None, NOW) is None


@pytest.mark.parametrize(
    "text",
    [
        "Wed, 25 Nov 2026 13:00:00 GMT",
        "Wednesday, 25-Nov-26 13:00:00 GMT",
        "Wed Nov 25 13:00:00 2026",
        "Wed, 25 Nov 2026 14:00:00 +0100",
    ],
)
def test_the_date_formats(text: str) -> None:
    assert parse_retry_after(text, HTTP_NOW, NOW) == 3600


# Link

BASE = "https://ca.example/cert/1"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (['<https://x/1>;rel="alternate"'], ["https://x/1"]),
        (['<https://x/i>; rel="index", </alt/2>; rel=alternate'], ["https://ca.example/alt/2"]),
        (['<https://x/1>; title="a, b; rel=alternate"; rel="up"'], []),
        (['<https://x/1>; REL="up Alternate"'], ["https://x/1"]),
        (['<https://x/1>', "garbage", "<unfinished; rel=alternate"], []),
        (['<https://[::1/x>; rel="alternate"', '<http://x/1>; rel="alternate"', "<y>; rel=alternate"], ["https://ca.example/cert/y"]),
        (["<" * 60_000], []),  # in linear time
    ],
)  # fmt: skip
def test_links(values: list[str], found: list[str]) -> None:
    assert parse_links(values, "alternate", BASE) == found


@given(st.lists(st.text(max_size=60), max_size=3))
def test_links_of_garbage(values: list[str]) -> None:
    assert isinstance(parse_links(values, "alternate", BASE), list)


# problems

MEMBER = st.sampled_from(
    ["type", "title", "detail", "status", "instance", "identifier", "value", "subproblems", "algorithms"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBER, inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.integers(100, 599))
def test_any_document_is_a_problem_with_an_error(document: Any, status: int) -> None:
    found = Problem.from_json(document, status=status)
    error = error_for(found, what="make the order", where="ca.example")
    assert isinstance(error, CiAcmeError)
    assert error.message
    assert error.fix
    assert "\n" not in error.message
    assert found.status == status


@pytest.mark.parametrize("kind", ["rateLimited", "caa", "dns", "userActionRequired", "badNonce", "somethingNew"])
def test_every_kind_has_a_fix(kind: str) -> None:
    error = error_for(Problem(type=PREFIX + kind, detail="why"), what="x", where="ca.example")
    assert error.fix
    assert "why" in error.message
    assert error.details["problem"]["type"] == PREFIX + kind


def test_many_subproblems_are_counted() -> None:
    inner = tuple(Problem(detail="no", identifier=f"n{number}.example.com") for number in range(60))
    text = Problem(detail="several", subproblems=inner).describe()
    assert text.endswith("; and 50 more)")


@given(st.text(max_size=50))
def test_clean_text_can_be_written(text: str) -> None:
    clean(text + "\ud83d\u202e").encode("utf-8")


@given(st.text(max_size=50))
def test_clean_text_is_one_line(text: str) -> None:
    assert all(character.isprintable() or character.isspace() or ord(character) > 159 for character in clean(text))
    assert "\n" not in clean(text)
    assert "\x1b" not in clean(text)


# renewal information

URL = renewal_info_url("https://ca.example/ari/", "aki.serial")
WINDOW = {"start": "2026-12-01T00:00:00Z", "end": "2026-12-03T12:00:00.123456789+01:00"}


def ask(*replies: Any) -> tuple[Fake, RenewalReply]:
    world = fake()
    world.ca.script["ari"] = list(replies)
    return world, fetch_renewal_info(Transport(world.ca, world.clock), URL, scope=world.scope())


def test_a_window() -> None:
    page = "https://ca.example/incident"
    world, reply = ask(response(200, {"suggestedWindow": WINDOW, "explanationURL": page}, Retry_After="21600"))
    assert reply.start == dt.datetime(2026, 12, 1, tzinfo=UTC)
    assert reply.end == dt.datetime(2026, 12, 3, 11, tzinfo=UTC)
    assert reply.retry_after_seconds == 21600
    assert reply.explanation_url == page
    assert world.ca.log == [("ari", None)]
    assert URL == "https://ca.example/ari/aki.serial"


@pytest.mark.parametrize(
    ("field", "seconds"), [("1", 60), ("60", 60), ("99999999", 86400), ("soon", 21600), (None, 21600)]
)
def test_retry_after_is_clamped(field: str | None, seconds: float) -> None:
    fields = {} if field is None else {"Retry_After": field}
    assert ask(response(200, {"suggestedWindow": WINDOW}, **fields))[1].retry_after_seconds == seconds


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"suggestedWindow": None},
        {"suggestedWindow": {"start": WINDOW["start"]}},
        {"suggestedWindow": {"start": WINDOW["end"], "end": WINDOW["start"]}},
        {"suggestedWindow": {"start": WINDOW["start"], "end": WINDOW["start"]}},
        {"suggestedWindow": {"start": "2026-12-01", "end": "2026-12-02"}},
        {"suggestedWindow": {"start": 1, "end": 2}},
        {"suggestedWindow": {"start": "2026-12-01T00:00:00", "end": "2026-12-02T00:00:00"}},
    ],
)
def test_an_unusable_window_is_no_answer(document: Any) -> None:
    with pytest.raises(CaProtocolError):
        ask(response(200, document))


def test_failures_of_renewal_information() -> None:
    assert ask(response(503), response(200, {"suggestedWindow": WINDOW}))[1].retry_after_seconds == 21600
    with pytest.raises(CaUnreachable):
        ask(response(503), response(503))
    with pytest.raises(CaError):
        ask(problem("malformed", 404))
    with pytest.raises(RateLimited):
        ask(HttpResponse(429, Headers(), b""))


def test_a_ca_without_renewal_information() -> None:
    world = fake()
    directory = {
        "newNonce": "https://ca.example/n",
        "newAccount": "https://ca.example/a",
        "newOrder": "https://ca.example/o",
    }
    world.ca.script["dir"] = [response(200, directory)]
    assert world.client.renewal_info(world.scope(), "aki.serial") is None
