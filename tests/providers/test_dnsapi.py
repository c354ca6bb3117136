"""What the providers' APIs have in common, by itself."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.dnsapi import absolute, look_up, parallel, quote, relative, said, unquote, zones_above
from ci_acme.ports import Zone
from ci_acme.recordset import Record
from tests.clouds.records import text_of, value_of


@given(st.text(max_size=600))
def test_quoting_is_read_by_others_and_theirs_by_us(value: str) -> None:
    text = quote(value)
    assert value_of(text) == value
    assert unquote(text) == value
    assert unquote(text_of(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("plain", "plain"), ("", ""), ('"a" "b"', "ab"), ('"a\\"b"', 'a"b'), ('"\\097"', "a"), ('"open', "open")],
)
def test_what_an_api_may_give(text: str, value: str) -> None:
    assert unquote(text) == value


@pytest.mark.parametrize(
    ("name", "zone", "short"),
    [
        ("example.com", "example.com", "@"),
        ("_acme-challenge.example.com", "example.com", "_acme-challenge"),
        ("a.b.example.com", "example.com", "a.b"),
        ("xexample.com.example.com", "example.com", "xexample.com"),
    ],
)
def test_names_relative_to_a_zone_and_back(name: str, zone: str, short: str) -> None:
    assert relative(name, zone) == short
    assert absolute(short, zone) == name
    assert absolute("", zone) == zone


def record(name: str) -> Record:
    return Record(name, name, "value")


def test_few_names_are_looked_up_one_by_one() -> None:
    def whole() -> Any:
        raise AssertionError

    found = look_up(["b", "a", "a"], lambda name: [record(name), record("other")], whole)
    assert [one.name for one in found] == ["a", "b"]


def test_many_names_are_looked_up_together_if_the_zone_is_small() -> None:
    zone = [record(name) for name in "abcdefgh"]

    def one(_: str) -> Any:
        raise AssertionError

    assert [one.name for one in look_up(list("abcd"), one, lambda: zone)] == list("abcd")


def test_many_names_in_a_large_zone_are_looked_up_one_by_one() -> None:
    found = look_up(list("dcba"), lambda name: [record(name)], lambda: None)
    assert [one.name for one in found] == list("abcd")


def test_parallel_keeps_the_order_and_uses_a_few_threads() -> None:
    threads: set[int] = set()

    def work(number: int) -> int:
        threads.add(threading.get_ident())
        time.sleep(0.01)
        return number * 2

    assert parallel(range(20), work) == [number * 2 for number in range(20)]
    assert 1 < len(threads) <= 6


def test_parallel_begins_no_more_after_an_error() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.02)
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        parallel(range(100), work)
    assert len(begun) < 30


def test_the_apex_that_is_known_is_asked_for_alone_if_it_is_there() -> None:
    asked: list[str] = []

    def look(apex: str) -> list[Zone]:
        asked.append(apex)
        return [Zone("1", apex)] if apex == "b.example.com" else []

    assert [zone.name for zone in zones_above("_a.b.example.com", "b.example.com", look)] == ["b.example.com"]
    assert asked == ["b.example.com"]
    asked.clear()
    assert zones_above("_a.b.example.com", "example.com", look)
    assert sorted(asked) == ["_a.b.example.com", "b.example.com", "example.com"]
    assert asked[0] == "example.com"
    asked.clear()
    zones_above("test", None, look)
    assert asked == ["test"]


def test_what_a_server_says_fits_one_line() -> None:
    assert said("a\nb\x1b[31m" + "c" * 500) == ("a b [31m" + "c" * 500)[:200]
    assert said(42) == "42"
