"""Rate limits in state: nothing is overspent, whoever spends beside us; what was not used comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_acme.clock import SystemClock
from ci_acme.core.budget import (
    Limit,
    Limits,
    OrderKind,
    Rate,
    Refusal,
    Spend,
    account_spends,
    failure_spends,
    order_spends,
    to_ns,
)
from ci_acme.state.buckets import Buckets
from ci_acme.state.engine import ANY, Engine
from ci_acme.state.memory import MemoryEngine
from tests.state.support import LIMITS, sqlite_engine, start_driver

CA = "https://ca.test/dir"
NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
SECOND = 10**9


@pytest.fixture(params=["sqlite", "memory"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "memory":
        yield MemoryEngine()
        return
    with closing(sqlite_engine(tmp_path / "state.db")) as opened:
        yield opened


def buckets(engine: Engine, directory: str = CA) -> Buckets:
    return Buckets(engine, directory, SystemClock())


def new(number: int = 0, limits: Limits = LIMITS) -> list[Spend]:
    return order_spends(limits, OrderKind.NEW, [f"n{number}.example.com"], ["example.com"], "ours")


def remaining(found: Buckets, spend: Spend) -> int:
    return spend.rate.remaining(found.tats([spend]).get(spend, 0), to_ns(NOW))


def test_eight_processes_never_overspend(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    processes = [start_driver("reserve", str(path), "10") for _ in range(8)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert sum(int(output) for output in outputs) == 50, "80 wanted one of 50"
    with closing(sqlite_engine(path)) as opened:
        assert len(opened.list("budget/")) == 52, "the sets that got one, the domain and the account: nothing else"


def test_what_is_refused_spends_nothing(engine: Engine) -> None:
    found = buckets(engine)
    limits = Limits(
        certificates_per_name_set=Rate(5, timedelta(days=7)), orders_per_account=Rate(1, timedelta(hours=3))
    )
    assert isinstance(found.reserve(new(0, limits), NOW), list)
    before = {key: engine.read(key) for key in engine.list("budget/")}
    refused = found.reserve(new(1, limits), NOW)
    assert isinstance(refused, Refusal)
    assert refused.spend.limit is Limit.ORDERS_PER_ACCOUNT
    assert refused.at == to_ns(NOW) + 3 * 3600 * SECOND
    assert {key: engine.read(key) for key in engine.list("budget/")} == before


def test_a_neighbour_who_is_faster_than_our_check_is_not_overspent(engine: Engine) -> None:
    """Between the check and the last bucket somebody takes what was left: the first ones are given back."""
    limits = Limits(
        certificates_per_name_set=Rate(5, timedelta(days=7)), certificates_per_domain=Rate(1, timedelta(days=7))
    )
    spends = new(0, limits)

    class Slow(Buckets):
        def tats(self, *arguments: object) -> dict[Spend, int]:
            result = {}
            assert isinstance(buckets(engine).reserve(new(1, limits), NOW), list)
            return result

    refused = Slow(engine, CA, SystemClock()).reserve(spends, NOW)
    assert isinstance(refused, Refusal)
    assert refused.spend.limit is Limit.CERTIFICATES_PER_DOMAIN
    assert remaining(buckets(engine), spends[0]) == 5


def test_a_refund_and_a_full_bucket_leave_no_key(engine: Engine) -> None:
    found = buckets(engine)
    taken = found.reserve(new(), NOW)
    assert isinstance(taken, list)
    assert len(engine.list("budget/")) == 3
    found.refund(taken, NOW)
    assert engine.list("budget/") == []


def test_a_ca_has_its_own_buckets(engine: Engine) -> None:
    found = buckets(engine)
    for _ in range(5):
        assert isinstance(found.reserve(new(), NOW), list)
    assert isinstance(found.reserve(new(), NOW), Refusal)
    assert isinstance(buckets(engine, "https://other.test/dir").reserve(new(), NOW), list)


def test_an_exempt_order_that_found_nothing_gives_nothing_back(engine: Engine) -> None:
    found = buckets(engine)
    spends = order_spends(LIMITS, OrderKind.ARI, ["a.example.com"], [], "ours")
    for number in range(7):
        taken = found.reserve(spends, NOW)
        assert isinstance(taken, list)
        assert len(taken) == (number < 5)
    assert remaining(found, spends[0]) == 0
    found.refund(taken, NOW)
    assert remaining(found, spends[0]) == 0


def test_failures_are_counted_and_then_refuse(engine: Engine) -> None:
    limits = Limits(failures_per_name=Rate(2, timedelta(hours=1)))
    found = buckets(engine)
    spends = order_spends(limits, OrderKind.NEW, ["*.a.example.com", "b.example.com"], [], "ours")
    for _ in range(3):
        assert isinstance(found.reserve(spends, NOW), list)
    for _ in range(3):  # the third one finds nothing left, and lasts no longer
        found.count(failure_spends(limits, ["a.example.com"]), NOW)
    refused = found.reserve(spends, NOW)
    assert isinstance(refused, Refusal)
    assert (refused.spend.key, refused.at) == ("a.example.com", to_ns(NOW) + 1800 * SECOND)
    assert isinstance(found.reserve(spends, NOW + timedelta(minutes=30)), list)


def test_a_retry_after_is_taken_over_exactly(engine: Engine) -> None:
    found = buckets(engine)
    (spend,) = account_spends(Limits(accounts_per_address=Rate(10, timedelta(hours=3))), "here")
    found.calibrate(spend, NOW, 777 * SECOND)
    refused = found.reserve([spend], NOW)
    assert isinstance(refused, Refusal)
    assert refused.at == to_ns(NOW) + 777 * SECOND
    (key,) = engine.list("budget/")
    entry = engine.read(key)
    assert entry is not None
    document = json.loads(entry.value)
    assert (document["source"], document["limit"], document["key"]) == ("retry-after", "accounts_per_address", "here")


def test_names_that_had_a_certificate_are_remembered(engine: Engine) -> None:
    found = buckets(engine)
    assert found.issued(["a", "b"]) is None
    found.note_issued(["b", "a"], NOW)
    assert found.issued(["a", "b"]) == NOW
    assert found.issued(["a"]) is None


@pytest.mark.parametrize("garbage", [b"", b"[]", b"{}", b'{"tat": "x"}', b"\xff"])
def test_a_bucket_that_cannot_be_understood_is_full(engine: Engine, garbage: bytes) -> None:
    found = buckets(engine)
    assert isinstance(found.reserve(new(), NOW), list)
    for key in engine.list("budget/"):
        engine.write(key, garbage, expect=ANY)
    assert remaining(found, new()[0]) == 5
    assert isinstance(found.reserve(new(), NOW), list)


@given(st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 2), st.booleans()), max_size=40))
@settings(max_examples=40, deadline=None)
def test_state_agrees_with_the_arithmetic(plan: list[tuple[int, int, bool]]) -> None:
    """The same decisions as with plain numbers, whatever is given back in between."""
    found, now, tats = buckets(MemoryEngine()), NOW, dict[tuple[Limit, str], int]()
    for wait, number, back in plan:
        now += timedelta(seconds=wait)
        spends, at = new(number), to_ns(now)
        ready = all(s.rate.possible_at(tats.get((s.limit, s.key), 0), at) <= at for s in spends)
        taken = found.reserve(spends, now)
        assert isinstance(taken, list) == ready
        if isinstance(taken, list) and back:
            found.refund(taken, now)
        elif isinstance(taken, list):
            for s in spends:
                tats[s.limit, s.key] = s.rate.spent(tats.get((s.limit, s.key), 0), at)
