"""Waiting for Route 53's own signal: how often it is asked, and what ends it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ci_acme.errors import DnsPropagationTimeout, Interrupted
from ci_acme.ports import Placement, TxtValue
from tests.clouds.api import refuse
from tests.clouds.aws_support import Account, EagerClock
from tests.clouds.aws_wire import error
from tests.clouds.route53 import MODEL, FakeRoute53

NAME = "_acme-challenge.www.ci.test"


@pytest.fixture
def account() -> Iterator[Account]:
    with FakeRoute53() as fake:
        yield Account(fake)


def test_polls_come_soon_at_first_and_are_jittered(account: Account) -> None:
    account.fake.polls = 9
    adapter = account.adapter()
    placements = account.ensure(adapter, TxtValue(NAME, "value"))
    adapter.wait_in_sync(placements, deadline=account.deadline(120))
    first, *others = account.clock.slept
    assert first == pytest.approx(1.0)
    assert len(others) == 9
    assert all(2.0 <= pause <= 4.0 for pause in others[:3])
    assert all(4.0 <= pause <= 8.0 for pause in others[3:])
    assert len(set(others)) == len(others)
    assert account.fake.operations().count("GetChange") == 10


def test_one_change_of_many_values_is_asked_for_once(account: Account) -> None:
    adapter = account.adapter()
    placements = account.ensure(adapter, *(TxtValue(f"n{number}.ci.test", "value") for number in range(20)))
    adapter.wait_in_sync(placements, deadline=account.deadline())
    assert account.fake.operations().count("GetChange") == 1


def test_what_was_adopted_or_has_no_change_is_not_waited_for(account: Account) -> None:
    account.fake.merge(account.zone, NAME, "value", 60)
    adapter = account.adapter()
    placements = account.ensure(adapter, TxtValue(NAME, "value"))
    adapter.wait_in_sync([*placements, Placement(account.found, NAME, "x", created=True)], deadline=account.deadline())
    assert account.clock.slept == []


def test_a_change_that_route_53_does_not_know_any_more_is_over(account: Account) -> None:
    adapter = account.adapter()
    placements = account.ensure(adapter, TxtValue(NAME, "value"))
    account.fake.changes.clear()
    adapter.wait_in_sync(placements, deadline=account.deadline())


@pytest.mark.parametrize(("timeout", "seconds"), [(180.0, 30.0), (30.0, 600.0)])
def test_the_deadline_or_the_timeout_of_the_entry_ends_it(account: Account, timeout: float, seconds: float) -> None:
    account.fake.polls = 1000
    adapter = account.adapter(propagation_timeout=timeout)
    placements = account.ensure(adapter, TxtValue(NAME, "value"))
    with pytest.raises(DnsPropagationTimeout, match=NAME) as raised:
        adapter.wait_in_sync(placements, deadline=account.deadline(seconds))
    assert raised.value.fix == "raise propagation_timeout of the DNS entry"
    assert sum(account.clock.slept) <= 30


def test_a_signal_ends_it(account: Account) -> None:
    account.fake.polls = 1000
    clock = EagerClock()
    adapter = account.adapter(clock=clock)
    placements = account.ensure(adapter, TxtValue(NAME, "value"))
    clock.stop()
    account.clock.stop()
    with pytest.raises(Interrupted):
        adapter.wait_in_sync(placements, deadline=account.deadline())


def test_a_signal_ends_throttled_calls_too(account: Account) -> None:
    throttled = refuse(error(MODEL, 400, "Throttling", "Rate exceeded"))
    account.fake.fail(lambda _: True, throttled, times=3)
    account.fake.fail(lambda _: True, lambda call, do: (account.clock.stop(), throttled(call, do))[1], times=5)
    with pytest.raises(Interrupted):
        account.ensure(account.adapter(), TxtValue(NAME, "value"))
    assert len(account.fake.calls) == 4
