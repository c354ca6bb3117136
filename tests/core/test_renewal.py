"""Years of renewals in milliseconds: the clock and the dice are parameters."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.renewal import (
    RETRY_CEILING,
    RETRY_FLOOR,
    Window,
    answered,
    failed,
    may_ask,
    renewal_time,
    without_ari,
)
from ci_acme.model.records import RenewalMemory
from ci_acme.model.spec import RenewPolicy

T0 = datetime(2026, 11, 1, tzinfo=timezone.utc)
AUTO = RenewPolicy()
lives = st.timedeltas(min_value=timedelta(hours=1), max_value=timedelta(days=400))
units = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("life", "policy", "left"),
    [
        (timedelta(days=90), AUTO, timedelta(days=30)),
        (timedelta(hours=160), AUTO, timedelta(hours=80)),
        (timedelta(days=90), RenewPolicy(auto=False, before=timedelta(days=20)), timedelta(days=20)),
        (timedelta(hours=160), RenewPolicy(auto=False, before=timedelta(days=30)), timedelta(hours=80)),
        (timedelta(days=90), RenewPolicy(auto=False, fraction=0.5), timedelta(days=45)),
    ],
)
def test_rules_of_thumb(life: timedelta, policy: RenewPolicy, left: timedelta) -> None:
    assert without_ari(T0, T0 + life, policy) == T0 + life - left


@given(lives, st.timedeltas(min_value=timedelta(minutes=1), max_value=timedelta(days=400)))
def test_no_duration_makes_every_run_renew(life: timedelta, before: timedelta) -> None:
    due = without_ari(T0, T0 + life, RenewPolicy(auto=False, before=before))
    assert T0 + life / 2 <= due + timedelta(microseconds=1)


@given(lives, units, units, units)
def test_the_chosen_time_lies_in_the_window_and_is_kept_while_it_stands(
    life: timedelta, a: float, b: float, u: float
) -> None:
    start, end = sorted((T0 + life * a, T0 + life * b))
    memory = answered(RenewalMemory("https://ca.test/ari/x"), Window(start, end, 3600), T0, u)
    if end <= start:
        assert memory.chosen is None
        assert memory.failures == 1
        return
    assert memory.chosen is not None
    assert start <= memory.chosen <= end
    again = answered(memory, Window(start, end, 3600), T0 + timedelta(hours=2), 1 - u if u else 0.5)
    assert again.chosen == memory.chosen
    moved = answered(memory, Window(start, end + timedelta(hours=1), 3600), T0, 0.0)
    assert moved.chosen == start


@given(st.one_of(st.none(), st.floats(0, 1e12)))
def test_retry_after_is_clamped(seconds: float | None) -> None:
    window = Window(T0, T0 + timedelta(days=1), seconds)
    memory = answered(RenewalMemory("https://ca.test/ari/x"), window, T0, 0.5)
    assert memory.retry_after is not None
    assert RETRY_FLOOR <= memory.retry_after - T0 <= RETRY_CEILING


def test_failures_back_off_and_keep_what_was_known() -> None:
    memory = RenewalMemory("https://ca.test/ari/x", T0, T0 + timedelta(days=1), T0 + timedelta(hours=5))
    waits = []
    for _ in range(9):
        memory = failed(memory, T0, temporary=True)
        assert memory.retry_after is not None
        waits.append(memory.retry_after - T0)
    assert waits == sorted(waits)
    assert waits[0] == timedelta(minutes=1)
    assert waits[-1] == timedelta(hours=6)
    assert memory.chosen == T0 + timedelta(hours=5)


@pytest.mark.parametrize(
    ("asked", "waits"),
    [
        (timedelta(hours=2), timedelta(hours=2)),
        (timedelta(seconds=1), RETRY_FLOOR),
        (timedelta(days=-1), RETRY_FLOOR),
        (timedelta(days=365), RETRY_CEILING),
    ],
)
def test_a_failure_that_says_when_to_come_back_is_heeded_within_a_day(asked: timedelta, waits: timedelta) -> None:
    memory = failed(RenewalMemory("https://ca.test/ari/x"), T0, temporary=True, retry_at=T0 + asked)
    assert memory.retry_after == T0 + waits


def test_a_time_that_a_wrong_clock_noted_is_not_waited_for() -> None:
    """The run of a machine whose clock was 60 days ahead: a revocation would not be heard of for so long."""
    memory = answered(
        RenewalMemory("https://ca.test/ari/x"), Window(T0, T0 + timedelta(days=1), 3600), T0 + timedelta(days=60), 0.5
    )
    assert may_ask(memory, T0, T0 + timedelta(days=90))
    at_most = RenewalMemory("https://ca.test/ari/x", retry_after=T0 + RETRY_CEILING)
    assert not may_ask(at_most, T0, T0 + timedelta(days=90))


def test_nothing_is_asked_before_retry_after_or_past_the_end() -> None:
    memory = RenewalMemory("https://ca.test/ari/x", retry_after=T0 + timedelta(hours=1))
    assert not may_ask(memory, T0, T0 + timedelta(days=1))
    assert may_ask(memory, T0 + timedelta(hours=1), T0 + timedelta(days=1))
    assert not may_ask(memory, T0 + timedelta(days=2), T0 + timedelta(days=1))


def test_ari_cannot_let_a_certificate_expire() -> None:
    late = RenewalMemory("https://ca.test/ari/x", chosen=T0 + timedelta(days=200))
    assert renewal_time(T0, T0 + timedelta(days=100), AUTO, late) == T0 + timedelta(days=95)


@pytest.mark.parametrize("life", [timedelta(hours=160), timedelta(days=45), timedelta(days=90)])
@pytest.mark.parametrize("every", [timedelta(hours=1), timedelta(hours=12), timedelta(days=1)])
def test_a_year_of_runs_renews_about_once_in_a_life_and_never_lapses(life: timedelta, every: timedelta) -> None:
    now, not_before, renewals, ages = T0, T0, 0, []
    while now < T0 + timedelta(days=365):
        not_after = not_before + life
        assert now < not_after
        if now >= renewal_time(not_before, not_after, AUTO, None):
            ages.append((now - not_before) / life)
            not_before, renewals = now, renewals + 1
        now += every
    low = 0.5 if life < timedelta(days=10) else 2 / 3
    assert all(low <= age <= low + every / life + 1e-9 for age in ages)
    assert renewals == len(ages) > 0
