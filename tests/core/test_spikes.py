"""Too many orders: loops by rules, unusual numbers by statistics, few false alarms on traffic that comes in bursts."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.spikes import DAY, HOUR, WARM_UP, Quiet, SpikeRules, spikes, tail, unusual
from tests.core.test_watch import Event

BEGIN = datetime(2026, 1, 5, tzinfo=timezone.utc)  # a Monday
NOW = BEGIN + 50 * DAY + timedelta(hours=12)


def domains(names: Any) -> list[str]:
    return sorted({".".join(name.split(".")[-2:]) for name in names})


def new(at: datetime, name: str = "www.example.com", what: str = "certificate", **by: str) -> Event:
    return Event(at, what, {"names": [name], "sha256": f"{at}"}, by=by)


def found(events: list[Event], now: datetime = NOW, **rules: Any) -> list[tuple[str, str]]:
    return [(alert.code, alert.subject) for alert in spikes(events, SpikeRules(**rules), now, domains)]


def history(count: int = 1) -> list[Event]:
    """Some certificates each day at ten."""
    days = (BEGIN + DAY * day + 10 * HOUR for day in range(50))
    return [
        new(at + timedelta(minutes=n), f"d{at.day}m{at.month}n{n}.example.com") for at in days for n in range(count)
    ]


def burst(count: int, name: str = "p{}.example.com", **by: str) -> list[Event]:
    return [new(NOW - timedelta(minutes=n), name.format(n), **by) for n in range(1, count + 1)]


# --- the arithmetic ---


@given(st.integers(0, 60), st.floats(0.02, 60), st.floats(0.2, 3))
def test_the_tail_is_a_probability_that_falls(count: int, mean: float, dispersion: float) -> None:
    here, beyond = tail(count, mean, dispersion), tail(count + 1, mean, dispersion)
    assert 0 <= beyond <= here <= 1


@pytest.mark.parametrize(("mean", "dispersion"), [(0.3, 0.5), (4.0, 2 / 3), (25.0, 1.2)])
def test_the_tail_is_that_of_a_negative_binomial(mean: float, dispersion: float) -> None:
    """By its recurrence, which has no gamma function in it."""
    size = 1 / dispersion
    share = mean / (size + mean)
    mass, below = (1 - share) ** size, 0.0
    for count in range(80):
        assert math.isclose(tail(count, mean, dispersion), 1 - below, abs_tol=1e-9)
        below += mass
        mass *= share * (count + size) / (count + 1)


@given(st.integers(0, 40), st.integers(1, 20))
def test_more_certificates_are_never_less_unusual(base: int, extra: int) -> None:
    times = [event.at for event in history()]
    few = sorted([*times, *(e.at for e in burst(base))])
    many = sorted([*times, *(e.at for e in burst(base + extra))])
    if unusual(few, NOW, BEGIN, 1) is not None:
        assert unusual(many, NOW, BEGIN, 1) is not None


def test_without_a_history_nothing_is_unusual() -> None:
    times = sorted(event.at for event in burst(40))
    assert unusual(times, NOW, NOW - WARM_UP + HOUR, 1) is None
    assert unusual(times, NOW, NOW - WARM_UP - HOUR, 1) is not None


# --- traffic ---

WEIGHTS = [0.2] * 7 + [1, 2, 3, 3, 3, 2, 3, 3, 3, 2, 1] + [0.3] * 6


def poisson(rng: random.Random, mean: float) -> int:
    count, product, floor = 0, rng.random(), math.exp(-mean)
    while product > floor:
        count, product = count + 1, product * rng.random()
    return count


def traffic(rng: random.Random, rate: float, days: int) -> list[datetime]:
    """Office hours, quiet weekends, days that differ (gamma, k = 1.5), a release one day in thirty."""
    times = []
    for number in range(days):
        day = BEGIN + DAY * number
        mean = rate * (0.2 if day.weekday() >= 5 else 1.2) * rng.gammavariate(1.5, 1 / 1.5)
        mean *= 3 if rng.random() < 1 / 30 else 1
        for hour, weight in enumerate(WEIGHTS):
            count = poisson(rng, mean * weight / sum(WEIGHTS))
            times += [day + HOUR * hour + timedelta(seconds=rng.random() * 3600) for _ in range(count)]
    return sorted(times)


@pytest.mark.parametrize(("rate", "most"), [(0.3, 1.0), (5, 6.0)])
def test_false_alarms_are_few(rate: float, most: float) -> None:
    """Three times the mean would be 54 and 29 a year, mean and three sigmas 16 and 14 (knowledge of the field)."""
    rng, alarms, years, days = random.Random(7), 0, 0.0, 240
    for _ in range(6):
        times, last = traffic(rng, rate, days), BEGIN
        for hour in range(28 * 24, days * 24, 3):
            now = BEGIN + HOUR * hour
            if now - last >= DAY and unusual(times, now, BEGIN, 1) is not None:
                alarms, last = alarms + 1, now
        years += (days - 28) / 365
    assert alarms / years <= most


@pytest.mark.parametrize("rate", [0.3, 5])
def test_a_runaway_loop_is_found_in_its_first_hour(rate: float) -> None:
    rng = random.Random(11)
    for _ in range(10):
        start = BEGIN + DAY * (50 + rng.randrange(7)) + HOUR * rng.randrange(24)
        loop = [start + timedelta(minutes=3 * n) for n in range(1, 21)]
        times = sorted(one for one in [*traffic(rng, rate, 60), *loop] if one <= start + HOUR)
        assert unusual(times, start + HOUR, BEGIN, 1) is not None


# --- over the records ---


def test_a_burst_is_told_by_domain_and_by_repository() -> None:
    assert found(history(2)) == []
    events = [*history(2), *burst(30, repository="o/r")]
    assert found(events) == [("spike.unusual", "example.com"), ("spike.unusual", "o/r")]
    assert found(events, unusual=False) == []
    assert found(events, quiet=(Quiet(NOW - HOUR, NOW + HOUR),)) == []
    assert found(events, quiet=(Quiet(NOW - 2 * HOUR, NOW),)) != []
    renewals = [Event(one.at, "renewal", one.facts) for one in burst(30)]
    assert found([*history(2), *renewals]) == [], "renewals are no new names"
    later = [*events, new(NOW + HOUR)]
    assert found(later) == found(events), "what is yet to come"


def test_the_message_says_what_is_usual() -> None:
    (alert, *_) = spikes([*history(2), *burst(30)], SpikeRules(), NOW, domains)
    assert "30 new certificates under example.com in the last hour" in alert.message
    assert alert.since == NOW - timedelta(minutes=30)
    assert alert.details["count"] == 30
    assert alert.details["usual"] < 2


def test_the_same_names_again_and_again() -> None:
    same = [new(NOW - HOUR * n, what="renewal" if n % 2 else "certificate") for n in (1, 2, 30)]
    assert found(same) == [], "within a day"
    assert found([*same, new(NOW - 3 * HOUR)]) == [("spike.repeated", "www.example.com")]
    assert found([*same, new(NOW - 3 * HOUR)], repeats=4) == []
    assert found([]) == []


def test_orders_that_fail_again_and_again() -> None:
    def failure(minutes: int, **facts: Any) -> Event:
        at = NOW - timedelta(minutes=minutes)
        return Event(at, "failure", {"names": ["a.example.com", "b.example.com"], "code": "dns.challenge", **facts})

    assert found([failure(1), failure(2), failure(70)]) == []
    assert found([failure(1), failure(2), failure(3)]) == [("spike.failures", "a.example.com")], "once for one order"
    named = [failure(n, failed=["b.example.com"]) for n in (1, 2, 3)]
    assert found(named) == [("spike.failures", "b.example.com")]
    assert found(named, failures=4) == []
