"""What is left of a CA's rate limits, kept in state so that many processes spend from the same buckets.

Each bucket is a key. It is checked and spent by one compare-and-swap, in a fixed order; what was taken is given back
when a later bucket refuses. So no bucket is ever overspent; at worst a neighbour sees one unit less for a moment.
What is read grows with the names of an order, and not with what happened before.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from ci_acme.core.budget import Limit, Refusal, Spend, When, after, from_ns, possible_at, refusal, set_key, to_ns
from ci_acme.errors import StateUnavailable
from ci_acme.model.records import format_time, parse_time
from ci_acme.ports import Clock
from ci_acme.state.engine import ABSENT, ANY, Conflict, Engine, Entry

_PREFIX: Final = "budget/"
_ISSUED: Final = "issued/"
_ATTEMPTS: Final = 500
_PAUSE_SECONDS: Final = 0.01


class Buckets:
    """The buckets of one CA by its directory URL. Thread-safe. Every method raises `StateError`."""

    def __init__(self, engine: Engine, directory: str, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock.shielded()
        self._directory = directory
        self._ca = _digest(directory)

    def tats(self, spends: Iterable[Spend]) -> dict[Spend, int]:
        """The buckets as they are. One that is not there is full and not in the answer."""
        found: dict[Spend, int] = {}
        failures: frozenset[str] | None = None
        for spend in spends:
            key = self._key(spend)
            if spend.limit is Limit.FAILURES_PER_NAME:  # there are as many as names, and hardly ever one with a key
                if failures is None:
                    failures = frozenset(self._engine.list(self._prefix(spend.limit)))
                if key not in failures:
                    continue
            entry = self._engine.read(key)
            if entry is not None:
                found[spend] = _tat(entry)
        return found

    def reserve(self, spends: Sequence[Spend], now: datetime) -> Refusal | list[Spend]:
        """Check all and spend what the order will spend: what was spent; or what refuses it, with nothing spent."""
        at = to_ns(now)
        refused = refusal(spends, self.tats(spends), at)
        if refused is not None:
            return refused
        taken: list[Spend] = []
        for spend in spends:
            if spend.when is When.NEVER:
                continue
            result = self._change(spend, partial(_take, spend, now=at), at, "own")
            if isinstance(result, Refusal):
                self.refund(taken, now)
                return result
            if result:
                taken.append(spend)
        return taken

    def refund(self, spends: Iterable[Spend], now: datetime) -> None:
        """Give back what `reserve` spent and the CA will not count."""
        at = to_ns(now)
        for spend in spends:
            self._change(spend, partial(spend.rate.refunded, now=at), at, "refund")

    def count(self, spends: Iterable[Spend], now: datetime) -> None:
        """Count what has happened at the CA without asking, as far as there is something left."""
        at = to_ns(now)
        for spend in spends:
            self._change(spend, partial(after, spend, now=at), at, "own")

    def calibrate(self, spend: Spend, now: datetime, retry_after: int) -> None:
        """Take over what the CA said in a Retry-After of so many nanoseconds."""
        said = spend.rate.calibrated(to_ns(now), retry_after)
        self._change(spend, lambda _: said, to_ns(now), "retry-after")

    # --- which names have had a certificate ---

    def issued(self, names: Iterable[str]) -> datetime | None:
        """When a certificate of exactly these names was last issued, as far as this state knows."""
        entry = self._engine.read(self._issued_key(names))
        if entry is None:
            return None
        try:
            return parse_time(json.loads(entry.value)["at"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def note_issued(self, names: Iterable[str], at: datetime) -> None:
        """A certificate of exactly these names was issued."""
        document = {"at": format_time(at), "names": set_key(names)}
        self._engine.write(self._issued_key(names), json.dumps(document).encode(), expect=ANY)

    # --- one bucket ---

    def _change(self, spend: Spend, step: Callable[[int], int | Refusal], now: int, source: str) -> Refusal | bool:
        """Apply `step` to the TAT until nobody was faster; whether it changed, or the refusal of `step`."""
        key = self._key(spend)
        for _ in range(_ATTEMPTS):
            entry = self._engine.read(key)
            tat = 0 if entry is None else _tat(entry)
            decided = step(tat)
            if isinstance(decided, Refusal) or decided == tat:
                return decided if isinstance(decided, Refusal) else False
            try:
                self._put(key, entry, self._document(spend, decided, source) if decided > now else None)
            except Conflict:
                self._clock.sleep(random.random() * _PAUSE_SECONDS)  # noqa: S311 - spreads neighbours, guards nothing
                continue
            return True
        raise StateUnavailable(
            f"the rate limit {spend.limit.value} of {spend.key} in {self._engine.where} changes all the time",
            fix="run again",
        )

    def _put(self, key: str, entry: Entry | None, document: bytes | None) -> None:
        """Replace what was read; a bucket that is full again (None) needs no key."""
        if document is not None:
            self._engine.write(key, document, expect=ABSENT if entry is None else entry.version)
        elif entry is not None:
            self._engine.delete(key, expect=entry.version)

    def _document(self, spend: Spend, tat: int, source: str) -> bytes:
        document = {
            "ca": self._directory,
            "limit": spend.limit.value,
            "key": spend.key,
            "tat": tat,
            "full": format_time(from_ns(tat)),
            "source": source,
        }
        return json.dumps(document).encode()

    def _prefix(self, limit: Limit) -> str:
        return f"{_PREFIX}{self._ca}/{limit.value}/"

    def _key(self, spend: Spend) -> str:
        return self._prefix(spend.limit) + _digest(spend.key)

    def _issued_key(self, names: Iterable[str]) -> str:
        return f"{_ISSUED}{self._ca}/{_digest(set_key(names))}"


def _take(spend: Spend, tat: int, now: int) -> int | Refusal:
    at = possible_at(spend, tat, now)
    return after(spend, tat, now) if at <= now else Refusal(spend, spend.rate.remaining(tat, now), at)


def _tat(entry: Entry) -> int:
    """A bucket that cannot be understood counts as full: the CA will tell."""
    try:
        tat = json.loads(entry.value)["tat"]
    except (ValueError, KeyError, TypeError):
        return 0
    return tat if isinstance(tat, int) else 0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
