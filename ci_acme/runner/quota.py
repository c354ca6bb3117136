"""The CA's rate limits around an order: refused before it is made, given back if nothing came of it, corrected by 429.

The forecast is as good as what is remembered. Where state cannot be used it knows this run alone, and says so once; it
never fails a run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ci_acme.core.budget import (
    UNITS,
    Limit,
    Limits,
    OrderKind,
    Refusal,
    Spend,
    When,
    account_spends,
    blamed,
    failure_spends,
    from_ns,
    order_spends,
    to_ns,
)
from ci_acme.errors import CiAcmeError, RateLimited, StateError
from ci_acme.model.events import Warned
from ci_acme.model.records import format_time, parse_time
from ci_acme.model.spec import CertificateSpec
from ci_acme.state.buckets import Buckets
from ci_acme.state.engine import Engine

if TYPE_CHECKING:
    from ci_acme.ca.scope import Scope
    from ci_acme.config.schema import Authority
    from ci_acme.runner.services import Services

_THIS_ADDRESS: Final = "this address"
_PROVING: Final = ("authorization", "challenge", "finalize", "certificate")
"""Kinds of requests that come after an order was made."""


class Quota:
    """What this run knows of rate limits. Thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._warned = False

    @contextmanager
    def order(self, spec: CertificateSpec, kind: OrderKind, scope: Scope) -> Generator[None]:
        """Around an order, from before newOrder until the certificate is there.

        Raises `RateLimited` before the block if the CA would refuse the order. After it, what the CA did not count is
        given back: all of it if no order was made, all but the order itself if finalize was never sent. What is spent
        by an order that a later run goes on with stays spent.
        """
        authority = self._services.authority(spec.authority)
        if not authority.limits:
            yield
            return
        buckets = self.buckets(spec.directory)
        before = dict(scope.requests.by_kind())
        spends = self.spends(spec, authority, self.known_kind(spec, kind, authority, buckets))
        taken = self._reserve(buckets, spends, spec.authority)
        try:
            yield
        except BaseException as error:
            sent = scope.requests.by_kind()
            kinds = {name for name, count in sent.items() if count > before.get(name, 0)}
            made = any(name in kinds for name in _PROVING)
            if "finalize" not in kinds and not (made and _stays(error)):
                self._give_back(buckets, [spend for spend in taken if not made or spend.when is When.ISSUANCE])
            if isinstance(error, RateLimited) and not kinds.intersection(_PROVING):
                self._calibrate(buckets, spends, error)
            self._count_failures(buckets, authority.limits, error)
            raise
        self._guarded(lambda: buckets.note_issued(spec.names, self._services.clock.now()))

    @contextmanager
    def gone_on_with(self, spec: CertificateSpec) -> Generator[None]:
        """Around the order of an earlier run, which has spent what it costs: failed validations are counted."""
        limits = self._services.authority(spec.authority).limits
        try:
            yield
        except BaseException as error:
            if limits and failed_names(error):
                self._count_failures(self.buckets(spec.directory), limits, error)
            raise

    @contextmanager
    def account(self, authority: Authority, name: str) -> Generator[None]:
        """Around the registration of an account. Raises `RateLimited` if the CA would refuse it."""
        spends = account_spends(authority.limits, _THIS_ADDRESS)
        if not spends:
            yield
            return
        buckets = self.buckets(authority.directory_url)
        taken = self._reserve(buckets, spends, name)
        try:
            yield
        except BaseException as error:
            self._give_back(buckets, taken)
            if isinstance(error, RateLimited):
                self._calibrate(buckets, spends, error)
            raise

    def buckets(self, directory: str) -> Buckets:
        """The buckets of a CA; in a dry run they are only looked at."""
        engine = self._services.peek() if self._services.dry_run else self._services.state()
        self._warn_if_forgetful(engine)
        return Buckets(engine, directory, self._services.clock)

    def spends(self, spec: CertificateSpec, authority: Authority, kind: OrderKind) -> list[Spend]:
        """What an order of this kind spends."""
        domains: Sequence[str] = ()
        if authority.limits.certificates_per_domain is not None and kind is OrderKind.NEW:
            from ci_acme.dns.registered import registered_domains

            domains = registered_domains(spec.names)
        return order_spends(authority.limits, kind, spec.names, domains, authority.account_key)

    def known_kind(self, spec: CertificateSpec, kind: OrderKind, authority: Authority, buckets: Buckets) -> OrderKind:
        """`kind`, unless state remembers that the CA has issued for exactly these names before."""
        if kind is not OrderKind.NEW:
            return kind
        try:
            issued = buckets.issued(spec.names)
        except StateError:
            return kind
        since = self._services.clock.now() - authority.limits.renewal_memory
        return OrderKind.NEW if issued is None or issued < since else OrderKind.RENEWAL

    # --- inside ---

    def _reserve(self, buckets: Buckets, spends: Sequence[Spend], authority: str) -> list[Spend]:
        try:
            result = buckets.reserve(spends, self._services.clock.now())
        except StateError as error:
            self._services.notify(Warned("", f"rate limits are not forecast: {error.message}"))
            return []
        if isinstance(result, Refusal):
            raise limited(result, authority)
        return result

    def _give_back(self, buckets: Buckets, spends: Sequence[Spend]) -> None:
        self._guarded(lambda: buckets.refund(spends, self._services.clock.now()))

    def _calibrate(self, buckets: Buckets, spends: Sequence[Spend], error: RateLimited) -> None:
        """From the CA's own words and time, if it gave a time."""
        try:
            until = parse_time(error.details["retry_at"])
        except (KeyError, ValueError):
            return
        now = self._services.clock.now()
        wait = max(0, to_ns(until) - to_ns(now))
        problem = error.details.get("problem") or {}

        def calibrate() -> None:
            spend = blamed(spends, buckets.tats(spends), to_ns(now), wait, str(problem.get("detail", "")))
            if spend is not None:
                buckets.calibrate(spend, now, wait)
                error.details.setdefault("limit", spend.limit.value)
                error.details.setdefault("key", spend.key)

        self._guarded(calibrate)

    def _count_failures(self, buckets: Buckets, limits: Limits, error: BaseException) -> None:
        failed = failed_names(error)
        if failed:
            now = self._services.clock.now()
            self._guarded(lambda: buckets.count(failure_spends(limits, failed), now))

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except StateError as error:
            self._services.notify(Warned("", f"the rate limits of later runs are forecast too well: {error.message}"))

    def _warn_if_forgetful(self, engine: Engine) -> None:
        with self._lock:
            first, self._warned = not self._warned and engine.where == "memory", True
        if first:
            self._services.notify(Warned("", "without state, rate limits are forecast from this run alone"))


def _stays(error: BaseException) -> bool:
    from ci_acme.ca.order import GONE_ON_WITH  # plan comes here without the ACME stack

    return isinstance(error, GONE_ON_WITH)


def failed_names(error: BaseException) -> list[str]:
    """The names whose validation at the CA failed, which the CA counts."""
    if not isinstance(error, CiAcmeError):
        return []
    challenges = error.details.get("challenges")
    return [str(item["identifier"]) for item in challenges] if isinstance(challenges, list) else []


def limited(refusal: Refusal, authority: str) -> RateLimited:
    """The error that stands for a refusal of the CA that did not have to happen."""
    spend, at = refusal.spend, format_time(from_ns(refusal.at))
    left = "none is" if refusal.remaining <= 0 else f"{refusal.remaining} {'is' if refusal.remaining == 1 else 'are'}"
    kept = f", and {spend.kept} of them are kept for renewals (reserve)" if spend.kept else ""
    details = {
        "retry_at": at,
        "limit": spend.limit.value,
        "key": spend.key,
        "remaining": max(0, refusal.remaining),
        "of": spend.rate.count,
        "period": show_period(spend.rate.period),
        "reserve": spend.kept,
        "forecast": True,
    }
    size = f"{spend.rate.count} {UNITS[spend.limit]} in {show_period(spend.rate.period)}"
    left += f" left for {spend.key}{kept}"
    return RateLimited(
        f"the rate limit {spend.limit.value} of {authority} would be hit: of {size}, {left}; it will work at {at}",
        fix=f"run again after {at}{_ADVICE.get(spend.limit, '')}",
        details={**details, _DETAIL[spend.limit]: spend.key},
    )


_ADVICE: Final = {
    Limit.CERTIFICATES_PER_DOMAIN: "; or cover many names by one wildcard (`ci-acme plan` proposes it)",
    Limit.CERTIFICATES_PER_NAME_SET: "; keep the certificate in a store that lasts, to order it once",
    Limit.FAILURES_PER_NAME: "; until then, correct what made the validation fail: `ci-acme check`",
}
_DETAIL: Final = {
    Limit.CERTIFICATES_PER_DOMAIN: "registered_domain",
    Limit.CERTIFICATES_PER_NAME_SET: "names",
    Limit.FAILURES_PER_NAME: "identifier",
    Limit.ORDERS_PER_ACCOUNT: "account_key",
    Limit.ACCOUNTS_PER_ADDRESS: "address",
}


def show_period(period: timedelta) -> str:
    """As the config says it: `7d`, `3h`, `90m`."""
    minutes = int(period.total_seconds() // 60)
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes and minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"
