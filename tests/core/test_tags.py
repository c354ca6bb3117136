"""Metadata as tags: they come back, in the alphabet and within the limits of every platform."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_acme.model.records import Metadata, RenewalMemory
from ci_acme.model.tags import MANAGED, from_tags, stale, to_tags
from ci_acme.testing.material import make_bundle, make_metadata

METADATA = make_metadata(make_bundle())
UPPER = re.compile(r"[A-Za-z0-9_.:/=+@ -]*\Z")  # what AWS and Azure take in a tag, Vault in custom metadata
LOWER = re.compile(r"[a-z0-9_-]*\Z")  # Google's labels

words = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789-"), min_size=1, max_size=50)
metadata = st.builds(
    lambda name, names, owner, run, failures: replace(
        METADATA,
        name=name,
        names=tuple(f"{each}.example.com" for each in names),
        owner=owner,
        run=run,
        renewal=RenewalMemory(url=f"https://ca.example/{run}", failures=failures),
    ),
    st.text(st.sampled_from("abcXYZ019-_. ä*"), min_size=1, max_size=100),
    st.lists(words, max_size=100),
    st.none() | st.text(max_size=40),
    words,
    st.integers(0, 9),
)


@settings(max_examples=60, deadline=None)
@given(metadata, st.sampled_from([(256, 40, False), (256, 15, False), (512, 60, False), (63, 60, True)]))
def test_tags_give_the_metadata_back(value: Metadata, limits: tuple[int, int, bool]) -> None:
    length, most, lower = limits
    tags = to_tags(value, length=length, most=most, lower=lower)
    assert len(tags) <= most
    allowed = LOWER if lower else UPPER
    for key, text in tags.items():
        assert LOWER.match(key)
        assert allowed.match(text), (key, text)
        assert 0 < len(text) <= length
    found = from_tags({**tags, "somebody": "else"})
    assert found in (value, replace(value, names=()))
    assert tags[MANAGED]


@given(metadata, st.data())
def test_garbled_tags_are_no_metadata(value: Metadata, data: st.DataObject) -> None:
    tags = to_tags(value, date=False)
    pieces = sorted(key for key in tags if key != MANAGED)
    victim = data.draw(st.sampled_from(pieces))
    garbled = {**tags, victim: data.draw(st.text(max_size=300))}
    if garbled != tags:
        assert from_tags(garbled) != value
    assert from_tags({key: text for key, text in tags.items() if key != pieces[0]}) is None


def test_names_are_left_out_before_anything_fails() -> None:
    many = replace(METADATA, names=tuple(f"{index * 7919:x}.{index * 104729:x}.example.com" for index in range(400)))
    assert from_tags(to_tags(many, length=256, most=6)) == replace(many, names=())
    with pytest.raises(ValueError, match="more than 4 tags of 64"):
        to_tags(many, length=64, most=4)


def test_pieces_of_a_longer_value_are_stale() -> None:
    long = replace(METADATA, names=tuple(f"{index * 7919:x}.example.com" for index in range(100)))
    old, new = to_tags(long, length=128), to_tags(METADATA, length=128)
    left = stale({**old, "team": "web"}, new)
    assert left
    assert from_tags({key: text for key, text in {**old, **new}.items() if key not in left}) == METADATA
