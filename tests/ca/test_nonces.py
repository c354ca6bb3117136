"""The nonce pool under threads."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.ca.nonces import MAX_CIRCULATING, NoncePool, valid_nonce
from ci_acme.clock import SystemClock
from ci_acme.errors import CaTimeout, CaUnreachable, Interrupted
from ci_acme.ports import Deadline


@pytest.fixture
def fast_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@given(st.lists(st.sampled_from(["reply", "lost"]), max_size=60))
def test_nonces_are_fetched_only_when_none_is_left(ends: list[str]) -> None:
    clock = SystemClock()
    pool, fetched, counter = NoncePool(clock), 0, itertools.count()
    seen: set[str] = set()

    def fetch() -> str:
        nonlocal fetched
        fetched += 1
        return f"f{next(counter)}"

    for end in ends:
        nonce = pool.take(fetch, Deadline(clock, 5))
        assert nonce not in seen
        seen.add(nonce)
        pool.give_back(f"r{next(counter)}" if end == "reply" else None)
    lost = sum(end == "lost" for end in ends[:-1])
    assert fetched == (lost + 1 if ends else 0)


@pytest.mark.usefixtures("fast_switching")
def test_no_nonce_is_used_twice_and_few_are_fetched() -> None:
    clock = SystemClock()
    pool, counter = NoncePool(clock), itertools.count()
    used: list[str] = []
    fetched: list[str] = []
    failures: list[BaseException] = []

    def fetch() -> str:
        fetched.append(f"f{next(counter)}")
        return fetched[-1]

    def work() -> None:
        try:
            for _ in range(200):
                used.append(pool.take(fetch, Deadline(clock, 30)))
                pool.give_back(f"r{next(counter)}")
        except BaseException as error:  # it is asserted on below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(used) == len(set(used)) == 24 * 200
    assert 1 <= len(fetched) <= MAX_CIRCULATING


def test_with_all_in_circulation_one_is_waited_for() -> None:
    clock = SystemClock()
    pool, counter = NoncePool(clock, limit=2), itertools.count()
    fetch = lambda: f"f{next(counter)}"  # noqa: E731
    assert {pool.take(fetch, Deadline(clock, 1)) for _ in range(2)} == {"f0", "f1"}
    with pytest.raises(CaTimeout):
        pool.take(fetch, Deadline(clock, 0.05))
    threading.Timer(0.05, pool.give_back, ["back"]).start()
    assert pool.take(fetch, Deadline(clock, 10)) == "back"
    pool.give_back(None)
    assert pool.take(fetch, Deadline(clock, 10)) == "f2"


def test_the_wait_hears_that_the_run_shall_stop() -> None:
    clock = SystemClock()
    pool = NoncePool(clock, limit=1)
    pool.take(lambda: "f", Deadline(clock, 1))
    threading.Timer(0.05, clock.stop).start()
    with pytest.raises(Interrupted):
        pool.take(lambda: "f", Deadline(clock, 30))


def test_a_failed_fetch_does_not_shrink_the_pool() -> None:
    clock = SystemClock()
    pool = NoncePool(clock, limit=1)

    def fail() -> str:
        raise CaUnreachable("no")

    for _ in range(3):
        with pytest.raises(CaUnreachable):
            pool.take(fail, Deadline(clock, 1))
    assert pool.take(lambda: "f", Deadline(clock, 1)) == "f"


@given(st.text(max_size=20))
def test_only_base64url_is_a_nonce(text: str) -> None:
    good = bool(text) and all(character.isascii() and (character.isalnum() or character in "-_") for character in text)
    assert valid_nonce(text) == (text if good else None)
    assert valid_nonce(None) is None
