"""Requests a second are bounded where a CA bounds them, and cost nothing where it does not."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.limiter import TokenBucket
from ci_acme.ca.transport import Transport
from ci_acme.errors import CaTimeout, Interrupted
from tests.ca.support import BASE, FakeClock, fake


@given(
    st.floats(0.5, 500),
    st.integers(1, 100),
    st.lists(st.floats(0, 0.5), min_size=1, max_size=200),
)
def test_no_window_of_time_sees_more_than_the_burst_and_the_rate(rate: float, burst: int, gaps: list[float]) -> None:
    clock = FakeClock()
    clock.time = 0.0
    bucket = TokenBucket(rate, burst, clock)
    sent: list[float] = []
    for gap in gaps:
        clock.time += gap
        sent.append(clock.time + bucket.take())
    assert all(first <= second + 1e-6 for first, second in pairwise(sent)), "who comes first goes first"
    for start in range(len(sent)):
        for end in range(start, len(sent)):
            assert end - start + 1 <= burst + rate * (sent[end] - sent[start]) + 1 + 1e-6


def test_a_clock_that_stands_still_or_runs_back_gives_no_tokens() -> None:
    clock = FakeClock()
    bucket = TokenBucket(10, 1, clock)
    assert [bucket.take() for _ in range(3)] == pytest.approx([0, 0.1, 0.2])
    clock.time -= 100
    assert bucket.take() == pytest.approx(0.3)
    bucket.give_back()
    assert bucket.take() == pytest.approx(0.3)


def test_requests_wait_for_their_turn() -> None:
    world = fake()
    transport = Transport(world.ca, world.clock, bucket=TokenBucket(2, 4, world.clock))
    begun = world.clock.monotonic()
    for _ in range(10):
        transport.get(f"{BASE}/dir", kind="directory", what="look", scope=world.scope())
    assert world.clock.monotonic() - begun == pytest.approx(3.0)


def test_a_turn_after_the_deadline_is_not_waited_for() -> None:
    world = fake()
    bucket = TokenBucket(0.01, 1, world.clock)
    transport = Transport(world.ca, world.clock, bucket=bucket)
    scope = world.scope(5)
    transport.get(f"{BASE}/dir", kind="directory", what="look", scope=scope)
    with pytest.raises(CaTimeout, match="so few requests"):
        transport.get(f"{BASE}/dir", kind="directory", what="look", scope=scope)
    assert world.clock.sleeps == []
    assert bucket.take() == pytest.approx(100)


def test_an_interrupt_ends_the_wait() -> None:
    world = fake()
    transport = Transport(world.ca, world.clock, bucket=TokenBucket(0.1, 1, world.clock))
    transport.get(f"{BASE}/dir", kind="directory", what="look", scope=world.scope())
    world.clock.stop_after = 1
    with pytest.raises(Interrupted):
        transport.get(f"{BASE}/dir", kind="directory", what="look", scope=world.scope())


def test_the_last_requests_of_a_run_wait_for_their_turn_too() -> None:
    """An order of a hundred names that is given up: the CA's limit is the same for other connections."""
    world = fake()
    bucket = TokenBucket(1, 1, world.clock)
    client = AcmeClient(f"{BASE}/dir", world.client.signer, http=world.ca, clock=world.clock, bucket=bucket)
    client.use_account(f"{BASE}/acct/1")
    client.directory(world.scope())
    begun = world.clock.time
    client.over(world.ca, world.clock).new_order(world.scope(), ["a.example.com"])
    assert world.clock.time - begun == pytest.approx(2)
