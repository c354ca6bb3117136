"""Which wildcard would save a budget, and what it cannot stand for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.wildcards import burns, propose


def test_previews_share_one_wildcard() -> None:
    found = propose(
        "example.com",
        {
            "one": ["pr-1.preview.example.com"],
            "two": ["pr-2.preview.example.com", "*.pr-2.preview.example.com", "api.pr-2.preview.example.com"],
            "apex": ["preview.example.com", "pr-3.preview.example.com"],
            "www": ["www.example.com"],
        },
    )
    assert found is not None
    assert found.names == ("*.preview.example.com", "preview.example.com")
    assert found.certificates == ("apex", "one", "two")
    assert found.covered == tuple(f"pr-{number}.preview.example.com" for number in (1, 2, 3))
    assert found.uncovered == ("*.pr-2.preview.example.com", "api.pr-2.preview.example.com")


def test_no_wildcard_reaches_above_the_registered_domain() -> None:
    assert propose("team.github.io", {"a": ["team.github.io"], "b": ["team.github.io"]}) is None


def test_one_certificate_needs_none() -> None:
    assert propose("example.com", {"a": ["a.example.com", "b.example.com"], "b": ["c.d.example.com"]}) is None


def test_when_a_plan_burns_the_budget() -> None:
    assert burns(3, remaining=3, kept=0, of=3)
    assert burns(26, remaining=50, kept=0, of=50)
    assert not burns(25, remaining=50, kept=0, of=50)
    assert burns(20, remaining=50, kept=10, of=50)
    assert not burns(1, remaining=0, kept=0, of=50)


labels = st.sampled_from(["a", "b", "c", "d"])
names = st.lists(labels, min_size=1, max_size=3).map(lambda parts: ".".join([*parts, "example.com"]))


@given(st.dictionaries(st.sampled_from("vwxyz"), st.lists(names, min_size=1, max_size=4), max_size=5))
def test_every_name_is_accounted_for(wanted: dict[str, list[str]]) -> None:
    found = propose("example.com", wanted)
    if found is None:
        return
    every = {name for certificate in found.certificates for name in wanted[certificate]}
    assert set(found.covered) | set(found.uncovered) | (set(found.names) & every) == every
    assert all(name.count(".") == found.parent.count(".") + 1 for name in found.covered)
    assert len(found.certificates) >= 2
