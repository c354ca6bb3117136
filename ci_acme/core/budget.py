"""A CA's rate limits as GCRA buckets: what an order spends, whether it would pass, and when.

The arithmetic is boulder's (`ratelimits/gcra.go`). A bucket is one number, its theoretical arrival time (TAT): it is
full when that has passed. One unit comes back every `emission` = period / count, and as much as `count` can be saved up
(`burst_offset` = emission * count). An order passes from the time on that the CA would name in Retry-After; boulder
itself rounds and is lenient by up to half of an emission interval, which is nothing to build on.

Times are whole nanoseconds since 1970, so that no order is decided by a rounding of ours. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Final

from ci_acme.dataclass import dataclass, fields, replace
from ci_acme.model.material import CertificateFacts
from ci_acme.model.records import RenewalMemory

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SECOND: Final = 1_000_000_000
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)


def to_ns(time: datetime) -> int:
    """An aware time as nanoseconds since 1970, exactly."""
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def from_ns(ns: int) -> datetime:
    """The first whole second at or after `ns`: a time to show must not be too early."""
    return _EPOCH + timedelta(seconds=-(-ns // _SECOND))


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` in `period`, all of which may be used at once."""

    count: int
    period: timedelta

    @property
    def emission(self) -> int:
        """Nanoseconds until one unit is back."""
        return max(1, round(self.period // timedelta(microseconds=1) * 1000 / self.count))

    @property
    def burst_offset(self) -> int:
        """Nanoseconds until an empty bucket is full."""
        return self.emission * self.count

    def remaining(self, tat: int, now: int) -> int:
        """How many units could be spent now."""
        return (now - (max(now, tat) - self.burst_offset)) // self.emission

    def possible_at(self, tat: int, now: int, cost: int = 1) -> int:
        """When `cost` units could be spent: `now`, or later."""
        return max(now, tat - self.burst_offset + self.emission * cost)

    def spent(self, tat: int, now: int, cost: int = 1) -> int:
        """The TAT after spending. The caller has asked `possible_at`."""
        return max(now, tat) + self.emission * cost

    def refunded(self, tat: int, now: int, cost: int = 1) -> int:
        """The TAT after giving back what was not used; a bucket is never more than full."""
        return max(now, tat - self.emission * cost)

    def calibrated(self, now: int, retry_after: int) -> int:
        """The TAT that a CA has which says `retry_after` (nanoseconds): exact, whatever others have spent unseen."""
        return now + retry_after + self.burst_offset - self.emission


class Limit(Enum):
    """What is counted. The values are the keys of the config's `rate_limits`."""

    CERTIFICATES_PER_NAME_SET = "certificates_per_name_set"
    FAILURES_PER_NAME = "failures_per_name"
    CERTIFICATES_PER_DOMAIN = "certificates_per_domain"
    ORDERS_PER_ACCOUNT = "orders_per_account"
    ACCOUNTS_PER_ADDRESS = "accounts_per_address"


UNITS: Final = {
    Limit.CERTIFICATES_PER_NAME_SET: "certificates of exactly the same names",
    Limit.FAILURES_PER_NAME: "failed validations of a name",
    Limit.CERTIFICATES_PER_DOMAIN: "new certificates of a registered domain",
    Limit.ORDERS_PER_ACCOUNT: "new orders of an account",
    Limit.ACCOUNTS_PER_ADDRESS: "new accounts of an address",
}
"""What a unit of each limit is, for messages."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A CA's limits; None is no limit. `reserve` is how many certificates a registered domain keep for renewals.

    Who has had a certificate of exactly these names within `renewal_memory` renews it.
    """

    certificates_per_domain: Rate | None = None
    certificates_per_name_set: Rate | None = None
    orders_per_account: Rate | None = None
    failures_per_name: Rate | None = None
    accounts_per_address: Rate | None = None
    reserve: int = 0
    renewal_memory: timedelta = timedelta(days=120)

    def rate(self, limit: Limit) -> Rate | None:
        """The rate of one limit."""
        rate: Rate | None = getattr(self, limit.value)
        return rate

    def __bool__(self) -> bool:
        return any(isinstance(getattr(self, field.name), Rate) for field in fields(self))

    def altered(self, rates: Mapping[str, Rate], reserve: int) -> Limits:
        """These limits with some of another rate."""
        return replace(self, **rates, reserve=reserve)  # type: ignore[arg-type]  # the keys are names of rates


OWN_FAILURES: Final = Rate(2, _HOUR)
"""Failed validations of a name after which we stop by ourselves: a retry loop must not lock an account out."""

PROFILES: Final[Mapping[str, Limits]] = {
    "none": Limits(),
    "letsencrypt": Limits(
        certificates_per_domain=Rate(50, 7 * _DAY),
        certificates_per_name_set=Rate(5, 7 * _DAY),
        orders_per_account=Rate(300, 3 * _HOUR),
        failures_per_name=OWN_FAILURES,  # the CA allows 5
        accounts_per_address=Rate(10, 3 * _HOUR),
    ),
    "letsencrypt-staging": Limits(  # its 30,000 new certificates a second and domain are no limit
        certificates_per_name_set=Rate(30_000, 7 * _DAY),
        orders_per_account=Rate(1500, 3 * _HOUR),
        failures_per_name=Rate(200, _HOUR),
        accounts_per_address=Rate(50, 3 * _HOUR),
    ),
}
"""The limits of well-known CAs."""


class OrderKind(Enum):
    """What an order is to the CA."""

    NEW = "new certificate"
    RENEWAL = "renewal"
    """Of exactly the same names."""
    ARI = "renewal by ARI"
    """It names the certificate that it replaces, within the window that the CA suggested (RFC 9773 section 5)."""


def order_kind(
    names: Iterable[str], replaced: CertificateFacts | None, memory: RenewalMemory | None, now: datetime, limits: Limits
) -> OrderKind:
    """What an order will be to the CA, as far as a store tells. `replaced` is what it will name as its predecessor."""
    if replaced is None:
        return OrderKind.NEW
    if memory is not None and memory.start and memory.end and memory.start <= now < memory.end:
        return OrderKind.ARI
    same = set(replaced.names) == set(names) and replaced.not_before > now - limits.renewal_memory
    return OrderKind.RENEWAL if same else OrderKind.NEW


class When(Enum):
    """What makes the CA count."""

    ORDER = "newOrder"
    ISSUANCE = "finalize"
    NEVER = "check only"


@dataclass(frozen=True, slots=True)
class Spend:
    """What one order means for one bucket. `key` is a domain, the names, a name, or the account.

    `kept` units must be left over. An `exempt` order is never refused, and what it spends is counted if there is any.
    """

    limit: Limit
    key: str
    rate: Rate
    when: When
    kept: int = 0
    exempt: bool = False


def order_spends(
    limits: Limits, kind: OrderKind, names: Sequence[str], domains: Iterable[str], account: str
) -> list[Spend]:
    """The buckets of an order, the narrowest first.

    A new certificate counts for everything; a renewal of the same names for those names only; a renewal by ARI is
    refused by nothing, and its certificate still counts as one of its names.
    """
    plain = sorted({name.removeprefix("*.") for name in names})
    found = [
        _spend(limits, Limit.CERTIFICATES_PER_NAME_SET, set_key(names), When.ISSUANCE, exempt=kind is OrderKind.ARI)
    ]
    if kind is not OrderKind.ARI:
        found += [_spend(limits, Limit.FAILURES_PER_NAME, name, When.NEVER) for name in plain]
    if kind is OrderKind.NEW:
        for domain in sorted(set(domains)):
            found.append(_spend(limits, Limit.CERTIFICATES_PER_DOMAIN, domain, When.ISSUANCE, kept=limits.reserve))
        found.append(_spend(limits, Limit.ORDERS_PER_ACCOUNT, account, When.ORDER))
    return [spend for spend in found if spend is not None]


def account_spends(limits: Limits, address: str) -> list[Spend]:
    """The bucket of a new account."""
    spend = _spend(limits, Limit.ACCOUNTS_PER_ADDRESS, address, When.ORDER)
    return [] if spend is None else [spend]


def failure_spends(limits: Limits, names: Iterable[str]) -> list[Spend]:
    """The buckets of failed validations: they have happened, so that nothing is asked."""
    plain = sorted({name.removeprefix("*.") for name in names})
    found = (_spend(limits, Limit.FAILURES_PER_NAME, name, When.ORDER, exempt=True) for name in plain)
    return [spend for spend in found if spend is not None]


def set_key(names: Iterable[str]) -> str:
    """The key of exactly these names."""
    return ",".join(sorted(set(names)))


def _spend(limits: Limits, limit: Limit, key: str, when: When, *, kept: int = 0, exempt: bool = False) -> Spend | None:
    rate = limits.rate(limit)
    return None if rate is None else Spend(limit, key, rate, when, kept, exempt)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The bucket that an order would find empty the longest, and when it would pass it."""

    spend: Spend
    remaining: int
    at: int


def possible_at(spend: Spend, tat: int, now: int) -> int:
    """When this bucket lets the order pass."""
    return now if spend.exempt else spend.rate.possible_at(tat, now, 1 + spend.kept)


def after(spend: Spend, tat: int, now: int) -> int:
    """The TAT after the order: it counts unless it only looks, or is exempt and there is nothing left to count."""
    if spend.when is When.NEVER or spend.rate.possible_at(tat, now) > now:
        return tat
    return spend.rate.spent(tat, now)


def refusal(spends: Iterable[Spend], tats: Mapping[Spend, int], now: int) -> Refusal | None:
    """Why the order would be refused, None if it would pass. A bucket that is not in `tats` is full."""
    worst: Refusal | None = None
    for spend in spends:
        tat = tats.get(spend, 0)
        at = possible_at(spend, tat, now)
        if at > now and (worst is None or at > worst.at):
            worst = Refusal(spend, spend.rate.remaining(tat, now), at)
    return worst


_WORDS: Final = (
    ("exact set", Limit.CERTIFICATES_PER_NAME_SET),
    ("failed authorization", Limit.FAILURES_PER_NAME),
    ("failed validation", Limit.FAILURES_PER_NAME),
    ("new orders", Limit.ORDERS_PER_ACCOUNT),
    ("too many certificates", Limit.CERTIFICATES_PER_DOMAIN),
    ("registrations", Limit.ACCOUNTS_PER_ADDRESS),
)


def blamed(spends: Sequence[Spend], tats: Mapping[Spend, int], now: int, retry_after: int, text: str) -> Spend | None:
    """Which bucket a CA means that refused the order for `retry_after` nanoseconds with this text; None if unclear.

    By the words of Let's Encrypt; else it is the emptiest of those that can ask for so long a wait: a bucket of ours
    never asks for more than one emission interval, and a CA adds a few per cent so that not all come back at once.
    """
    candidates = [spend for spend in spends if not spend.exempt]
    named = next((limit for words, limit in _WORDS if words in text), None)
    if named is not None:
        same = [spend for spend in candidates if spend.limit is named]
        return next((spend for spend in same if f'"{spend.key}"' in text), same[0] if len(same) == 1 else None)
    possible = [spend for spend in candidates if retry_after <= spend.rate.emission * 1.05]
    return min(
        possible,
        key=lambda spend: spend.rate.remaining(tats.get(spend, 0), now) / spend.rate.count,
        default=None,
    )
