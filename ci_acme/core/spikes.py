"""Too many orders: loops at once, by plain rules; unusual numbers of new certificates, by statistics. Pure.

New certificates come in bursts: on CI data, "three times the mean" and Poisson alarms cry wolf dozens of times a year
and domain. Here counts are taken for negative binomial, with a mean and a dispersion that come from the same window of
the last 28 days of the same kind (working days or weekends); an alarm needs a number that is both unlikely and large.
Renewals and kept certificates do not count.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ci_acme.core.alerts import Alert
from ci_acme.core.watch import LedgerEvent
from ci_acme.dataclass import dataclass
from ci_acme.model.records import format_time

DAY: Final = timedelta(days=1)
HOUR: Final = timedelta(hours=1)
HISTORY: Final = 28
"""Days that are compared with."""
WARM_UP: Final = timedelta(days=14)
"""Before there are records of so many days, nothing is known to be unusual."""
_PRIOR: Final = 1 / 1.5
"""What the dispersion is drawn to: 1/k of traffic with the day effects of CI."""


@dataclass(frozen=True, slots=True)
class Window:
    """How many new certificates in `width` are unusual: a probability below `chance`, and `excess` above the mean."""

    width: timedelta
    chance: float
    excess: float


WINDOWS: Final = (Window(HOUR, 1e-5, 8), Window(DAY, 1e-4, 5))
"""The short one finds a loop in its first hour, the long one what is too slow for that."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """A time in which nothing is unusual."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class SpikeRules:
    """As the config says it: see `ci_acme.config.monitoring.Spike`."""

    repeats: int = 3
    failures: int = 3
    unusual: bool = True
    quiet: tuple[Quiet, ...] = ()


@dataclass(frozen=True, slots=True)
class Unusual:
    """A count that is too large for `usual`, its mean on days of the same kind."""

    window: Window
    count: int
    usual: float
    chance: float


def tail(count: int, mean: float, dispersion: float) -> float:
    """The probability of `count` or more: negative binomial with variance mean + dispersion * mean^2, both above 0."""
    if count <= 0:
        return 1.0
    size = 1 / dispersion
    log_p, log_q = math.log(size / (size + mean)), math.log(mean / (size + mean))
    below = math.fsum(
        math.exp(math.lgamma(n + size) - math.lgamma(size) - math.lgamma(n + 1) + size * log_p + n * log_q)
        for n in range(count)
    )
    return max(0.0, 1.0 - below)


def unusual(
    times: Sequence[datetime], now: datetime, begin: datetime, subjects: int, windows: Sequence[Window] = WINDOWS
) -> Unusual | None:
    """Whether one of the windows that end now holds too many of the sorted `times`.

    `begin` is since when there are records, `subjects` among how many this one is looked at: each gets its part of the
    probability of a false alarm.
    """
    if now - begin < WARM_UP:
        return None
    for window in windows:
        count = _within(times, now - window.width, now)
        earlier = _earlier(times, now, begin, window.width)
        if count <= window.excess or not earlier:
            continue
        mean, dispersion = _moments(earlier)
        if count - mean < window.excess:
            continue
        chance = tail(count, mean, dispersion)
        if chance < window.chance / max(1, subjects):
            return Unusual(window, count, mean, chance)
    return None


def _within(times: Sequence[datetime], after: datetime, until: datetime) -> int:
    return bisect_right(times, until) - bisect_right(times, after)


def _earlier(times: Sequence[datetime], now: datetime, begin: datetime, width: timedelta) -> list[int]:
    """The counts of the same window on the days before that are of the same kind, as far as there are records."""
    ends = [now - DAY * back for back in range(1, HISTORY + 1)]
    return [
        _within(times, end - width, end)
        for end in ends
        if end - width >= begin and _weekend(end, width) == _weekend(now, width)
    ]


def _weekend(end: datetime, width: timedelta) -> bool:
    return (end - width / 2).weekday() >= 5


def _moments(counts: Sequence[int]) -> tuple[float, float]:
    """Mean and dispersion; a mean of nothing at all is not 0, and the dispersion is half of what is known of CI."""
    size = len(counts)
    mean = (sum(counts) + 0.5) / size
    variance = sum((count - mean) ** 2 for count in counts) / max(1, size - 1)
    seen = max(0.0, (variance - mean) / mean**2)
    return mean, (seen + _PRIOR) / 2


# --- over the records ---


def spikes(
    events: Iterable[LedgerEvent], rules: SpikeRules, now: datetime, domains: Callable[[Iterable[str]], list[str]]
) -> Iterator[Alert]:
    """The alerts about loops and unusual numbers. `domains` tells the registered domains of names."""
    known = sorted((event for event in events if event.at <= now), key=lambda event: event.at)
    if not known:
        return
    yield from _repeated(known, rules, now)
    yield from _failures(known, rules, now)
    if rules.unusual and not any(quiet.begin <= now < quiet.end for quiet in rules.quiet):
        yield from _unusual(known, now, domains)


def _repeated(events: Sequence[LedgerEvent], rules: SpikeRules, now: datetime) -> Iterator[Alert]:
    recent = [e for e in events if e.what in {"certificate", "renewal"} and e.at > now - DAY]
    counts = Counter(_names(event) for event in recent)
    for names, count in counts.items():
        if count < rules.repeats or not names:
            continue
        these = [event for event in recent if _names(event) == names]
        text = f"{count} certificates of the same names ({_some(names)}) were issued within 24 hours"
        fix = (
            "see which runs order them: they do not find the certificate in its store, or use --force; a CA gives few "
            "of the same names in a week"
        )
        runs = sorted({str(event.by.get("run", "")) for event in these} - {""})
        details = {"count": count, "runs": runs[:10]}
        name = these[-1].certificate
        yield Alert("spike.repeated", "warning", names[0], text, fix, name, None, these[0].at, details)


def _failures(events: Sequence[LedgerEvent], rules: SpikeRules, now: datetime) -> Iterator[Alert]:
    recent = [event for event in events if event.what == "failure" and event.at > now - HOUR]
    by_name: dict[str, list[LedgerEvent]] = defaultdict(list)
    for event in recent:
        for name in event.facts.get("failed") or _names(event):
            by_name[str(name)].append(event)
    told: set[int] = set()
    for name, these in by_name.items():
        last = these[-1]
        if len(these) < rules.failures or id(last) in told:
            continue
        told.add(id(last))
        text = f"{len(these)} orders for {name} failed within an hour, the last with {last.facts.get('code')}"
        fix = f"stop whatever tries again, and see `ci-acme check {last.certificate}`; a CA locks names with failures"
        details = {"count": len(these), "error": last.facts.get("code")}
        yield Alert("spike.failures", "warning", name, text, fix, last.certificate, None, these[0].at, details)


def _unusual(
    events: Sequence[LedgerEvent], now: datetime, domains: Callable[[Iterable[str]], list[str]]
) -> Iterator[Alert]:
    new = [event for event in events if event.what == "certificate"]
    by_domain: dict[str, list[datetime]] = defaultdict(list)
    by_repository: dict[str, list[datetime]] = defaultdict(list)
    for event in new:
        for domain in domains(_names(event)):
            by_domain[domain].append(event.at)
        repository = event.by.get("oidc_repository") or event.by.get("repository")
        if repository:
            by_repository[repository].append(event.at)
    for what, groups in (("under", by_domain), ("asked for by", by_repository)):
        for subject, times in groups.items():
            found = unusual(times, now, events[0].at, len(groups))
            if found is not None:
                yield _told(found, what, subject, times, now)


def _told(found: Unusual, what: str, subject: str, times: Sequence[datetime], now: datetime) -> Alert:
    width = "hour" if found.window.width == HOUR else "24 hours"
    since = times[bisect_right(times, now - found.window.width)]
    text = (
        f"{found.count} new certificates {what} {subject} in the last {width}, since {format_time(since)}; "
        f"{found.usual:.1f} are usual at this time"
    )
    fix = "see what asks for them (`ci-acme inventory`); a release or a move belongs into monitor.spike.quiet"
    details: Mapping[str, Any] = {"count": found.count, "usual": round(found.usual, 2), "chance": found.chance}
    return Alert("spike.unusual", "warning", subject, text, fix, None, None, since, details)


def _names(event: LedgerEvent) -> tuple[str, ...]:
    return tuple(sorted(map(str, event.facts.get("names") or ())))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
