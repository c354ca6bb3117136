"""When a lease may be taken: never from one that renews it, always from one that is gone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.lease import Lease, Presence, is_free, is_held_by, taken

TTL = 30.0
times = st.floats(0, 1e10, allow_nan=False)
spans = st.floats(0, 1e6, allow_nan=False)
presences = st.sampled_from(Presence)


@given(times, spans, presences)
def test_what_nobody_holds_is_free(now: float, unchanged: float, presence: Presence) -> None:
    assert is_free(None, now=now, unchanged_for=unchanged, presence=presence)
    released = taken(None, "a", now=now, ttl=TTL).released()
    assert is_free(released, now=now, unchanged_for=0, presence=presence)


@given(times, st.floats(-7200, 7200), st.floats(0, TTL, exclude_max=True))
def test_a_clock_that_jumps_takes_nothing_from_a_process_that_is_there(now: float, jump: float, silent: float) -> None:
    lease = taken(None, "a", now=now, ttl=TTL)
    assert not is_free(lease, now=now + jump, unchanged_for=silent, presence=Presence.ALIVE)


@given(times, st.floats(-7200, 7200), presences)
def test_the_silent_are_followed_after_the_ttl_whatever_the_clock_says(
    now: float, jump: float, presence: Presence
) -> None:
    lease = taken(None, "a", now=now, ttl=TTL)
    assert is_free(lease, now=now + jump, unchanged_for=TTL, presence=presence)


@given(times, spans, st.floats(0, TTL, exclude_max=True))
def test_elsewhere_the_shared_clock_decides(now: float, later: float, silent: float) -> None:
    lease = taken(None, "a", now=now, ttl=TTL)
    free = is_free(lease, now=now + later, unchanged_for=silent, presence=Presence.UNKNOWN)
    assert free == (now + later >= lease.expires)


@given(times, spans)
def test_the_gone_are_followed_at_once(now: float, unchanged: float) -> None:
    assert is_free(taken(None, "a", now=now, ttl=TTL), now=now, unchanged_for=unchanged, presence=Presence.GONE)


@given(st.lists(st.sampled_from(["take", "renew", "release"]), max_size=20))
def test_fences_only_grow(steps: list[str]) -> None:
    lease: Lease | None = None
    fences = []
    for step in steps:
        if step == "take":
            lease = taken(lease, "a", now=0, ttl=TTL)
            fences.append(lease.fence)
        elif lease is not None:
            before = lease.fence
            lease = lease.renewed(1) if step == "renew" else lease.released()
            assert lease.fence == before
    assert fences == sorted(set(fences))


def test_a_holder_is_an_owner_and_a_fence() -> None:
    lease = taken(None, "a", now=0, ttl=TTL)
    assert is_held_by(lease, "a", lease.fence)
    assert is_held_by(lease.renewed(10), "a", lease.fence)
    assert not is_held_by(lease.released(), "a", lease.fence)
    assert not is_held_by(taken(lease, "a", now=60, ttl=TTL), "a", lease.fence)
    assert not is_held_by(taken(lease, "b", now=60, ttl=TTL), "a", lease.fence)
    assert not is_held_by(None, "a", 1)
