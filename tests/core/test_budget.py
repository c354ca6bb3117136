"""The forecast agrees with a rate limiter that was written from the CA's documentation and shares no code with it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_acme.core.budget import (
    OWN_FAILURES,
    PROFILES,
    Limit,
    Limits,
    OrderKind,
    Rate,
    Refusal,
    Spend,
    When,
    account_spends,
    after,
    blamed,
    failure_spends,
    from_ns,
    order_spends,
    possible_at,
    refusal,
    to_ns,
)

NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
SECOND = 10**9
SETS = [["a.example.com"], ["b.example.com"], ["a.example.com", "b.example.com"], ["x.example.net", "c.example.com"]]
BOTH = "x.a.test,y.b.test"
LIMITS = Limits(
    certificates_per_domain=Rate(7, 7 * DAY),
    certificates_per_name_set=Rate(3, 7 * DAY),
    orders_per_account=Rate(12, 3 * HOUR),
    failures_per_name=Rate(2, HOUR),
)


def domain(name: str) -> str:
    return ".".join(name.split(".")[-2:])


@dataclass
class Jar:
    """Tokens that drip back: another way to say GCRA."""

    size: int
    seconds: Fraction
    tokens: Fraction = Fraction(-1)
    seen: Fraction = Fraction(0)

    def level(self, now: Fraction) -> Fraction:
        if self.tokens < 0:
            return Fraction(self.size)
        return min(Fraction(self.size), self.tokens + (now - self.seen) * self.size / self.seconds)

    def wait(self, now: Fraction) -> Fraction:
        """Retry-After for one token."""
        return max(Fraction(0), (1 - self.level(now)) * self.seconds / self.size)

    def take(self, now: Fraction) -> None:
        level = self.level(now)
        if level >= 1:
            self.tokens, self.seen = level - 1, now


@dataclass
class Server:
    """What the documentation says of each limit, and nothing else."""

    jars: dict[tuple[str, str], Jar] = field(default_factory=dict)

    def jar(self, kind: str, key: str) -> Jar:
        rate = {"set": (3, 7 * 86400), "domain": (7, 7 * 86400), "account": (12, 3 * 3600), "fail": (2, 3600)}[kind]
        return self.jars.setdefault((kind, key), Jar(rate[0], Fraction(rate[1])))

    def asked(self, kind: OrderKind, names: list[str]) -> list[tuple[str, str]]:
        if kind is OrderKind.ARI:
            return []
        keys = [("set", "+".join(sorted(names))), *(("fail", name) for name in names)]
        if kind is OrderKind.NEW:
            keys += [("account", "ours"), *(("domain", found) for found in {domain(name) for name in names})]
        return keys

    def order(self, now: Fraction, kind: OrderKind, names: list[str]) -> dict[tuple[str, str], Fraction]:
        """Issues and answers {}, or answers how long each exhausted limit has to be waited for."""
        waits = {key: self.jar(*key).wait(now) for key in self.asked(kind, names)}
        refused = {key: wait for key, wait in waits.items() if wait > 0}
        if not refused:
            for key in (*self.asked(kind, names), *([("set", "+".join(sorted(names)))] * (kind is OrderKind.ARI))):
                if key[0] != "fail":
                    self.jar(*key).take(now)
        return refused


class Client:
    """The forecast with its buckets."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.tats: dict[Spend, int] = {}

    def spends(self, kind: OrderKind, names: list[str]) -> list[Spend]:
        return order_spends(self.limits, kind, names, {domain(name) for name in names}, "ours")

    def order(self, now: int, kind: OrderKind, names: list[str]) -> Refusal | None:
        spends = self.spends(kind, names)
        refused = refusal(spends, self._tats(spends), now)
        if refused is None:
            self.count(spends, now)
        return refused

    def count(self, spends: list[Spend], now: int) -> None:
        for spend in spends:
            self._set(spend, after(spend, self._tats([spend]).get(spend, 0), now))

    def calibrate(self, limit: Limit, key: str, now: int, retry_after: int) -> None:
        rate = self.limits.rate(limit)
        assert rate is not None
        self._set(Spend(limit, key, rate, When.NEVER), rate.calibrated(now, retry_after))

    def _set(self, spend: Spend, tat: int) -> None:
        self.tats[Spend(spend.limit, spend.key, spend.rate, When.NEVER)] = tat

    def _tats(self, spends: list[Spend]) -> dict[Spend, int]:
        return {
            spend: self.tats[Spend(spend.limit, spend.key, spend.rate, When.NEVER)]
            for spend in spends
            if Spend(spend.limit, spend.key, spend.rate, When.NEVER) in self.tats
        }


LIMIT_OF = {
    "set": Limit.CERTIFICATES_PER_NAME_SET,
    "domain": Limit.CERTIFICATES_PER_DOMAIN,
    "account": Limit.ORDERS_PER_ACCOUNT,
    "fail": Limit.FAILURES_PER_NAME,
}


def agree(refused: Refusal | None, waits: dict[tuple[str, str], Fraction], now: int) -> bool:
    """The same decision, and the same time of the longest wait."""
    if refused is None or not waits:
        return refused is None and not waits
    return refused.at - now == max(waits.values()) * SECOND


orders = st.lists(
    st.tuples(st.integers(0, 40 * 3600), st.sampled_from(list(OrderKind)), st.sampled_from(SETS), st.booleans()),
    max_size=60,
)


def run(plan: list[tuple[int, OrderKind, list[str], bool]]) -> tuple[int, int, int]:
    server, client, now = Server(), Client(), to_ns(NOW)
    passed = refused = agreed = 0
    for seconds, kind, names, fails in plan:
        now += seconds * SECOND
        said = client.order(now, kind, names)
        waits = server.order(Fraction(now, SECOND), kind, names)
        agreed += agree(said, waits, now)
        passed += said is None
        refused += said is not None
        if said is None and fails:  # a validation of another order fails
            client.count(failure_spends(LIMITS, names[:1]), now)
            server.jar("fail", names[0]).take(Fraction(now, SECOND))
    return agreed, passed, refused


@given(orders)
@settings(max_examples=60, deadline=None)
def test_the_forecast_agrees_with_an_independent_server(plan: list[tuple[int, OrderKind, list[str], bool]]) -> None:
    assert run(plan)[0] == len(plan)


@pytest.mark.parametrize("seed", range(3))
def test_five_hundred_random_orders(seed: int) -> None:
    chance = random.Random(seed)
    plan = [
        (
            int(chance.expovariate(1 / 9000)),
            chance.choice(list(OrderKind)),
            chance.choice(SETS),
            chance.random() < 0.05,
        )
        for _ in range(500)
    ]
    agreed, passed, refused = run(plan)
    assert agreed == 500
    assert min(passed, refused) > 50, "both answers occur, else the test says nothing"


@given(orders, st.integers(1, 3), st.data())
@settings(max_examples=60, deadline=None)
def test_one_retry_after_a_bucket_makes_up_for_what_others_spent(
    plan: list[tuple[int, OrderKind, list[str], bool]], neighbours: int, data: st.DataObject
) -> None:
    """Neighbours spend first, unseen. From the answer of a bucket on it is known exactly; nothing else is wrong.

    Without renewals by ARI: a CA that refuses none of them says nothing about the buckets that they empty.
    """
    server, client, now = Server(), Client(), to_ns(NOW)
    for _ in range(neighbours * 5):
        server.order(Fraction(now, SECOND), OrderKind.NEW, data.draw(st.sampled_from(SETS)))
        now += 7 * SECOND
    corrected: set[tuple[str, str]] = set()
    for seconds, kind, names, _ in plan:
        if kind is OrderKind.ARI:
            continue
        now += seconds * SECOND
        before = dict(client.tats)
        said = client.order(now, kind, names)
        waits = server.order(Fraction(now, SECOND), kind, names)
        if said is not None:
            assert waits, "never refused what the server would have taken"
            continue
        if waits:
            client.tats = before  # an order that the CA refused is given back
        for key, wait in waits.items():
            assert key not in corrected, "one Retry-After is enough"
            corrected.add(key)
            client.calibrate(LIMIT_OF[key[0]], key[1].replace("+", ","), now, int(wait * SECOND))
        if waits:
            again = client.order(now, kind, names)
            assert agree(again, waits, now)


def test_recalibration_is_exact() -> None:
    rate = Rate(50, 7 * DAY)
    now = to_ns(NOW)
    tat = rate.calibrated(now, 3600 * SECOND)
    assert rate.possible_at(tat, now) == now + 3600 * SECOND
    assert rate.remaining(tat, now) == 0
    assert rate.remaining(tat, now + 3600 * SECOND) == 1


@pytest.mark.parametrize(
    ("rate", "emission"),
    [(Rate(50, 7 * DAY), 12_096), (Rate(5, 7 * DAY), 120_960), (Rate(300, 3 * HOUR), 36), (Rate(10, 3 * HOUR), 1080)],
)
def test_the_published_refill_times(rate: Rate, emission: int) -> None:
    assert rate.emission == emission * SECOND


@given(st.integers(1, 1000), st.integers(1, 10**6), st.lists(st.integers(0, 10**6), max_size=30))
def test_a_refund_undoes_a_spending(count: int, seconds: int, waits: list[int]) -> None:
    rate = Rate(count, timedelta(seconds=seconds))
    now = tat = to_ns(NOW)
    for wait in waits:
        now += wait * SECOND
        if rate.possible_at(tat, now) > now:
            assert rate.remaining(tat, now) == 0
            continue
        before = rate.remaining(tat, now)
        spent = rate.spent(tat, now)
        assert rate.remaining(spent, now) == before - 1
        assert rate.remaining(rate.refunded(spent, now), now) == before
        assert rate.refunded(tat - 10**18, now) == now, "never more than full"
        tat = spent


def test_a_reserve_is_for_renewals() -> None:
    limits = Limits(certificates_per_domain=Rate(50, 7 * DAY), reserve=10)
    client = Client(limits)
    now = to_ns(NOW)
    for number in range(40):
        assert client.order(now, OrderKind.NEW, [f"n{number}.example.com"]) is None
    refused = client.order(now, OrderKind.NEW, ["n40.example.com"])
    assert refused is not None
    assert (refused.spend.limit, refused.spend.key) == (Limit.CERTIFICATES_PER_DOMAIN, "example.com")
    assert refused.remaining == 10
    assert refused.at == now + 12_096 * SECOND
    assert client.order(now, OrderKind.RENEWAL, ["n0.example.com"]) is None
    assert client.order(refused.at - 1, OrderKind.NEW, ["n40.example.com"]) is not None
    assert client.order(refused.at, OrderKind.NEW, ["n40.example.com"]) is None


def test_what_each_kind_of_order_spends() -> None:
    def limits(kind: OrderKind) -> dict[Limit, bool]:
        return {spend.limit: spend.exempt for spend in Client().spends(kind, ["*.a.example.com", "a.example.com"])}

    assert limits(OrderKind.NEW) == dict.fromkeys(set(Limit) - {Limit.ACCOUNTS_PER_ADDRESS}, False)
    assert limits(OrderKind.RENEWAL) == {Limit.CERTIFICATES_PER_NAME_SET: False, Limit.FAILURES_PER_NAME: False}
    assert limits(OrderKind.ARI) == {Limit.CERTIFICATES_PER_NAME_SET: True}
    failures = [spend for spend in Client().spends(OrderKind.NEW, ["*.a.b", "a.b"]) if spend.when is When.NEVER]
    assert [spend.key for spend in failures] == ["a.b"], "a wildcard and its base are validated at one name"


def test_a_renewal_by_ari_is_never_refused_and_counts_what_there_is() -> None:
    client, now = Client(), to_ns(NOW)
    for _ in range(10):
        assert client.order(now, OrderKind.ARI, ["a.example.com"]) is None
    refused = client.order(now, OrderKind.RENEWAL, ["a.example.com"])
    assert refused is not None
    assert refused.at == now + 56 * 3600 * SECOND, "ten renewals did not spend more than the three that there were"


def test_profiles() -> None:
    assert not PROFILES["none"]
    assert order_spends(PROFILES["none"], OrderKind.NEW, ["a.example.com"], ["example.com"], "x") == []
    assert account_spends(PROFILES["none"], "here") == failure_spends(PROFILES["none"], ["a"]) == []
    assert PROFILES["letsencrypt"].failures_per_name == OWN_FAILURES == Rate(2, HOUR)
    assert [spend.limit for spend in account_spends(PROFILES["letsencrypt"], "here")] == [Limit.ACCOUNTS_PER_ADDRESS]
    assert PROFILES["letsencrypt-staging"]


def test_times_are_exact_and_never_shown_too_early() -> None:
    assert from_ns(to_ns(NOW)) == NOW
    assert to_ns(NOW + timedelta(microseconds=1)) - to_ns(NOW) == 1000
    assert from_ns(to_ns(NOW) + 1) == NOW + timedelta(seconds=1)
    assert from_ns(possible_at(Spend(Limit.ORDERS_PER_ACCOUNT, "k", Rate(1, HOUR), When.ORDER), 0, 7)) == datetime(
        1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc
    )


@pytest.mark.parametrize(
    ("text", "retry_after", "limit", "key"),
    [
        ('too many certificates (50) already issued for "b.test"', 99, "certificates_per_domain", "b.test"),
        ("too many certificates (5) for this exact set of identifiers", 99, "certificates_per_name_set", BOTH),
        ("too many new orders (300) from this account in the last 3h0m0s", 10**6, "orders_per_account", "ours"),
        ('too many failed authorizations (5) for "x.a.test" in the last 1h0m0s', 99, "failures_per_name", "x.a.test"),
        ("slow down", 30, "orders_per_account", "ours"),
        ("slow down", 100_000, "certificates_per_name_set", BOTH),
        ("slow down", 10**6, None, None),
        ('too many certificates (50) already issued for "c.test"', 99, None, None),
    ],
)  # fmt: skip
def test_which_bucket_a_ca_means(text: str, retry_after: int, limit: str | None, key: str | None) -> None:
    spends = order_spends(
        PROFILES["letsencrypt"], OrderKind.NEW, ["x.a.test", "y.b.test"], ["a.test", "b.test"], "ours"
    )
    account = next(spend for spend in spends if spend.limit is Limit.ORDERS_PER_ACCOUNT)
    now = to_ns(NOW)
    used = account.rate.spent(now, now)
    found = blamed(spends, {account: used}, now, retry_after * SECOND, text)
    assert (found.limit.value if found else None, found.key if found else None) == (limit, key)


def test_an_exempt_order_is_blamed_on_nothing() -> None:
    spends = order_spends(PROFILES["letsencrypt"], OrderKind.ARI, ["x.a.test"], [], "ours")
    assert blamed(spends, {}, to_ns(NOW), SECOND, "too many certificates for this exact set") is None
