"""When to renew, as pure functions of times and one random number (RFC 9773, and rules of thumb where there is no ARI).

Nothing here knows a clock or makes a request: the caller passes `now`, and draws `u` uniformly from [0, 1).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from ci_acme.dataclass import dataclass, replace
from ci_acme.model.records import RenewalMemory
from ci_acme.model.spec import RenewPolicy

SHORT_LIFE: Final = timedelta(days=10)
"""Certificates that live less are renewed at half of their life (Let's Encrypt's integration guide)."""

RETRY_FLOOR: Final = timedelta(minutes=1)
RETRY_CEILING: Final = timedelta(days=1)
LONG_TERM_RETRY: Final = timedelta(hours=6)
"""RFC 9773 section 4.3: after a long-term error, or without a Retry-After, ask again in six hours."""

TEMPORARY_TRIES: Final = 6
LAST_CALL: Final = 0.05
"""Whatever ARI says, a certificate is renewed when this fraction of its life is left."""


@dataclass(frozen=True, slots=True)
class Window:
    """One answer of a renewalInfo resource. `retry_after` is in seconds, None if the CA sent none."""

    start: datetime
    end: datetime
    retry_after: float | None
    explanation_url: str | None = None


def without_ari(not_before: datetime, not_after: datetime, policy: RenewPolicy) -> datetime:
    """The renewal time by the policy alone.

    A duration that is longer than half of the certificate's life means half: `30d` on a certificate of six days would
    otherwise order a new one in every run.
    """
    life = not_after - not_before
    if policy.before is not None:
        return not_after - min(policy.before, life / 2)
    if policy.fraction is not None:
        return not_after - life * policy.fraction
    return not_after - (life / 2 if life < SHORT_LIFE else life / 3)


def renewal_time(
    not_before: datetime, not_after: datetime, policy: RenewPolicy, memory: RenewalMemory | None
) -> datetime:
    """When to renew this certificate: the time chosen from ARI's window if the policy asks ARI, else by rule."""
    if policy.auto and memory is not None and memory.chosen is not None:
        return min(memory.chosen, not_after - (not_after - not_before) * LAST_CALL)
    return without_ari(not_before, not_after, policy)


def may_ask(memory: RenewalMemory, now: datetime, not_after: datetime) -> bool:
    """Whether the renewalInfo resource may be asked now: Retry-After has passed and the certificate has not.

    A time that is further off than any that is kept was noted by a machine whose clock was wrong.
    """
    wait = None if memory.retry_after is None else memory.retry_after - now
    return now < not_after and (wait is None or wait <= timedelta(0) or wait > RETRY_CEILING)


def answered(memory: RenewalMemory, window: Window, now: datetime, u: float) -> RenewalMemory:
    """The memory after an answer: a new window gets a uniformly drawn time, the same window keeps the one it had.

    A window that does not end after it starts counts as no answer (RFC 9773 section 4.2).
    """
    if window.end <= window.start:
        return failed(memory, now, temporary=False)
    unchanged = memory.chosen is not None and (memory.start, memory.end) == (window.start, window.end)
    chosen = memory.chosen if unchanged else window.start + (window.end - window.start) * u
    wait = LONG_TERM_RETRY if window.retry_after is None else timedelta(seconds=min(window.retry_after, 1e6))
    return RenewalMemory(
        url=memory.url,
        start=window.start,
        end=window.end,
        chosen=chosen,
        retry_after=now + min(max(wait, RETRY_FLOOR), RETRY_CEILING),
        explanation_url=window.explanation_url,
    )


def failed(memory: RenewalMemory, now: datetime, *, temporary: bool, retry_at: datetime | None = None) -> RenewalMemory:
    """The memory after no usable answer: what was known stays, and the next try is later each time, at most 6 hours.

    Where the CA said when (`retry_at`, the Retry-After of a 429 or 503) it is not earlier, within a day.
    """
    failures = memory.failures + 1
    backoff = RETRY_FLOOR * 4 ** min(failures - 1, TEMPORARY_TRIES)
    wait = min(backoff, LONG_TERM_RETRY) if temporary and failures <= TEMPORARY_TRIES else LONG_TERM_RETRY
    if retry_at is not None:
        wait = max(wait, min(retry_at - now, RETRY_CEILING))
    return replace(memory, retry_after=now + wait, failures=failures)
