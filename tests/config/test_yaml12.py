"""YAML 1.2 to plain values with places, whichever of PyYAML's parsers reads it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.config.emit import emit, scalar
from ci_acme.config.yaml12 import MAX_BYTES, MAX_VALUES, parse


@pytest.fixture(params=["c", "python"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both parsers, where the C one is installed."""
    if request.param == "c" and not hasattr(yaml, "CSafeLoader"):
        pytest.skip("PyYAML without libyaml")
    if request.param == "python" and hasattr(yaml, "CSafeLoader"):
        monkeypatch.delattr(yaml, "CSafeLoader")
    return str(request.param)


def value(text: str) -> Any:
    document, problems = parse(f"k: {text}\n".encode(), "c.yaml")
    assert not problems
    return document.data["k"]


def complaint(data: str | bytes) -> str:
    _, problems = parse(data.encode() if isinstance(data, str) else data, "c.yaml")
    assert len(problems) == 1
    return str(problems[0]).removeprefix("c.yaml:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("Yes", "Yes"), ("y", "y"), ("NO", "NO"),
        ("true", True), ("True", True), ("TRUE", True), ("false", False), ("False", False), ("tRUE", "tRUE"),
        ("null", None), ("Null", None), ("NULL", None), ("~", None), ("", None), ("nULL", "nULL"), ("none", "none"),
        ("0", 0), ("-7", -7), ("+7", 7), ("007", 7), ("0600", 600), ("0o17", 15), ("0x1F", 31), ("0b1", "0b1"),
        ("0o8", "0o8"), ("-0o7", "-0o7"), ("1_000", "1_000"), ("1:30", "1:30"), ("190:20:30", "190:20:30"),
        ("12:30:45", "12:30:45"), ("22:22", "22:22"), ("1.", 1.0), (".5", 0.5), ("-1.5e3", -1500.0), ("1e3", 1000.0),
        ("1e", "1e"), (".", "."), ("0.33", 0.33), (".inf", math.inf), ("-.INF", -math.inf), ("inf", "inf"),
        ("2001-12-14", "2001-12-14"), ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"), ("=", "="),
        ("'true'", "true"), ('"1"', "1"), ("! 12", "12"), ("!!str 12", "12"), ("!!int '12'", 12), ("!!float 3", 3),
        ("!!bool 'true'", True), ("!!null ''", None), ("a#b", "a#b"), ("a #b", "a"), ("1.2.3.4", "1.2.3.4"),
        ("file:.ci-acme/x", "file:.ci-acme/x"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_nan() -> None:
    assert math.isnan(value(".nan"))


def test_keys_are_text_whatever_they_look_like() -> None:
    document, problems = parse(b"on: 1\n2: x\ntrue: y\nnull: z\n", "c.yaml")
    assert not problems
    assert document.data == {"on": 1, "2": "x", "true": "y", "null": "z"}


def test_every_key_and_value_has_its_place() -> None:
    text = "a:\n  - b: 1\n    ü: [x, {y: z}]\n  - é\n"
    document, problems = parse(text.encode(), "c.yaml")
    assert not problems
    keys = {path: (mark.line, mark.column) for path, mark in document.keys.items()}
    values = {path: (mark.line, mark.column) for path, mark in document.values.items()}
    assert keys[("a",)] == (1, 1)
    assert keys[("a", 0, "b")] == (2, 5)
    assert values[("a", 0, "b")] == (2, 8)
    assert keys[("a", 0, "ü")] == (3, 5)
    assert values[("a", 0, "ü", 0)] == (3, 9)
    assert keys[("a", 0, "ü", 1, "y")] == (3, 13)
    assert values[("a", 0, "ü", 1, "y")] == (3, 16)
    assert values[("a", 1)] == (4, 5)


def test_aliases_stand_for_what_they_name() -> None:
    document, problems = parse(b"a: &x {k: [1]}\nb: *x\nc: &x 2\nd: *x\n", "c.yaml")
    assert not problems
    assert document.data == {"a": {"k": [1]}, "b": {"k": [1]}, "c": 2, "d": 2}
    assert document.values[("b", "k", 0)].line == 1


def test_a_byte_order_mark_is_no_character() -> None:
    document, problems = parse("\ufeffa: 1\n".encode(), "c.yaml")
    assert not problems
    assert document.keys[("a",)].column == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: the file is empty; start it with 'version: 1'"),
        ("# nothing\n", "1:1: the file is empty; start it with 'version: 1'"),
        ("- a\n", "1:1: a configuration is a mapping of keys to values; start it with 'version: 1'"),
        ("\n  word\n", "2:3: a configuration is a mapping of keys to values; start it with 'version: 1'"),
        ("a: 1\nb: 2\na: 3\n", "3:1: the key a is there already, on line 1"),
        ("a:\n  b: {c: 1, c: 2}\n", "2:13: a.b: the key c is there already, on line 2"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document starts here; a configuration is one document"),
        ("a:\n\tb: 1\n", "2:1: a tab cannot indent; use spaces"),
        ("a: b: c\n", "1:5: a ':' is not expected here; quote a value that holds ': '"),
        ("a: [1, 2\nb: 3\n", "2:2: a ',' or the closing bracket is missing; quote a value that holds one of []{},"),
        ("a: 'x\nb: y\n", "1:4: the quote that opens here is not closed"),
        ("a: @x\n", "1:4: a plain value cannot start with this character; quote the value"),
        ("a: *.example.com\n", "1:4: quote a value that starts with '*' or '&', as in \"*.example.com\""),
        ("a: *nowhere\n", "1:4: a: the alias has no anchor before it"),
        ("*nowhere : x\n", "1:1: the alias has no anchor before it"),
        ("a: &x [*x]\n", "1:8: the alias is inside what it stands for"),
        ("a: b\n c: d\n", "2:3: a ':' is not expected here; quote a value that holds ': '"),
        ("a:\n  - b\n - c\n", "3:2: the indentation does not fit what is above"),
        ("a: !secret x\n", "1:4: a: tags are not used here"),
        ("a: !!binary eA==\n", "1:4: a: tags are not used here"),
        ("a: !!set {x}\n", "1:4: a: tags are not used here"),
        ("a: !no!thing x\n", "1:4: tags are not used here"),
        ("a: !!int x\n", "1:4: a: the value does not fit its tag"),
        ("a: !!int 'true'\n", "1:4: a: the value does not fit its tag"),
        ("? [a]\n: b\n", "1:3: a key must be a plain word, not a list or a mapping"),
        ("? {a: b}\n: b\n", "1:3: a key must be a plain word, not a list or a mapping"),
        ("x: &l [a]\n*l : b\n", "2:1: a key must be a plain word, not a list or a mapping"),
        ("a: &x {k: 1}\nb: {<<: *x}\n", "2:5: b: merge keys (<<) are not part of YAML 1.2; repeat the keys"),
        ("'': x\n", "1:1: the key is empty"),
        ("a: " + "9" * 41 + "\n", "1:4: a: the number is too long; quote it if it is text"),
        ("a: |x\n  y\n", "1:5: nothing may follow the '|' or '>' of a text block; quote the value"),
        ("%YAML 2.0\n---\na: 1\n", "1:1: the directive is not one of YAML 1.2"),
        ("a: x\x00y\n", "1:5: the character U+0000 is not allowed"),
        ("a: x\n\nb: \u2028\n", "3:4: the character U+2028 is not allowed"),
        (b"a: 1\r\nb: \xff\r\n", "2:4: not UTF-8"),
        ("a: 1\n".encode("utf-16"), "1:1: the file is UTF-16 or UTF-32; save it as UTF-8"),
        ("a: 1\n".encode("utf-32-be"), "1:1: the file is UTF-16 or UTF-32; save it as UTF-8"),
        (b"#" * (MAX_BYTES + 1), f"1:1: the file has more than {MAX_BYTES} bytes, which is the limit"),
        ("a: " + "[" * 33 + "]" * 33 + "\n", "1:35: nested deeper than 32 levels"),
    ],
)  # fmt: skip
def test_what_is_no_yaml_of_ours_has_a_place_and_a_reason(text: str | bytes, expected: str) -> None:
    assert complaint(text) == expected


def test_many_problems_are_told_at_once() -> None:
    _, problems = parse(b"a: !x 1\nb: *y\nb: 2\n", "c.yaml")
    assert [(one.line, one.column) for one in problems] == [(3, 1), (1, 4), (2, 4)]


def test_the_billion_laughs_are_counted_and_refused() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    assert f"more than {MAX_VALUES} values" in complaint(bomb)


def test_aliases_cannot_nest_deeper_than_brackets() -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 60))
    assert "nested deeper than 32 levels" in complaint(text)


def test_a_million_brackets_are_refused_quickly() -> None:
    assert "nested deeper than 32 levels" in complaint("a: " + "[" * 500_000)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_written_is_the_text_read(text: str) -> None:
    document, problems = parse(f"k: {scalar(text)}\n".encode(), "c.yaml")
    assert not problems
    assert document.data["k"] == text
    assert yaml.safe_load(f"k: {scalar(text)}")["k"] == text


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab~: #-1", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text("abc_", min_size=1, max_size=4), plain, min_size=1, max_size=4))
def test_any_data_written_is_the_data_read(data: dict[str, Any]) -> None:
    data = without_none(data) | {"end": 1}
    document, problems = parse(emit(data, beside=lambda _: "why").encode(), "c.yaml")
    assert not problems
    assert document.data == data
