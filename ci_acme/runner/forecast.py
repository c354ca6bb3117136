"""What `plan` says of rate limits: what is left for each certificate, which would be refused, and what would save some.

The certificates are gone through in the config's order, each with what those before it would have spent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ci_acme.core.budget import Limit, OrderKind, Spend, When, after, from_ns, possible_at, refusal, to_ns
from ci_acme.core.report import Outcome
from ci_acme.core.wildcards import burns, propose
from ci_acme.errors import StateError
from ci_acme.model.events import Warned
from ci_acme.model.records import format_time
from ci_acme.runner.jobs import Job
from ci_acme.runner.quota import limited
from ci_acme.state.buckets import Buckets

if TYPE_CHECKING:
    from ci_acme.runner.services import Services


def add_forecast(jobs: Sequence[Job], outcomes: Sequence[Outcome], services: Services) -> list[dict[str, Any]]:
    """Put `cost.limits` into the outcomes of a plan, and the refusal where one is due; returns suggestions."""
    forecast = _Forecast(services)
    for job, outcome in zip(jobs, outcomes, strict=True):
        if outcome.cost is not None:
            forecast.add(job, outcome)
    return forecast.suggestions()


class _Forecast:
    """A plan's view of the buckets."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._now = to_ns(services.clock.now())
        self._tats: dict[tuple[str, Limit, str], int] = {}
        self._new: dict[tuple[str, Spend], dict[str, tuple[str, ...]]] = defaultdict(dict)
        self._left: dict[tuple[str, Spend], int] = {}

    def add(self, job: Job, outcome: Outcome) -> None:
        """One certificate."""
        assert outcome.cost is not None
        outcome.cost["limits"] = []
        spec, authority = job.spec, self._services.authority(job.spec.authority)
        if not authority.limits:
            return
        quota = self._services.quota
        buckets = quota.buckets(spec.directory)
        if outcome.kind is not None:
            outcome.kind = quota.known_kind(spec, outcome.kind, authority, buckets)
            outcome.cost["counts_as"] = outcome.kind.value
        shown = quota.spends(spec, authority, OrderKind.NEW)
        tats = self._read(buckets, shown, spec.directory)
        outcome.cost["limits"] = [
            self._line(spend, tats.get(spend, 0)) for spend in shown if spend.when is not When.NEVER or spend in tats
        ]
        if outcome.kind is None:
            return
        spends = quota.spends(spec, authority, outcome.kind)
        tats = self._read(buckets, spends, spec.directory)
        self._note_new(spec.directory, spends, tats, job)
        refused = refusal(spends, tats, self._now)
        if refused is not None:
            outcome.error = limited(refused, spec.authority)
            outcome.action, outcome.reason = "refused", outcome.error.message
            return
        for spend in spends:
            key = (spec.directory, spend.limit, spend.key)
            self._tats[key] = after(spend, tats.get(spend, 0), self._now)

    def suggestions(self) -> list[dict[str, Any]]:
        """A shared wildcard for each registered domain whose limit the plan would burn."""
        found: list[dict[str, Any]] = []
        for key, wanted in self._new.items():
            spend = key[1]
            if burns(len(wanted), self._left[key], spend.kept, spend.rate.count):
                proposal = propose(spend.key, wanted)
                if proposal is not None:
                    found.append(proposal.as_dict())
        return found

    def _note_new(self, directory: str, spends: Sequence[Spend], tats: dict[Spend, int], job: Job) -> None:
        for spend in spends:
            if spend.limit is Limit.CERTIFICATES_PER_DOMAIN:
                self._new[directory, spend][job.spec.name] = job.spec.names
                self._left.setdefault((directory, spend), spend.rate.remaining(tats.get(spend, 0), self._now))

    def _read(self, buckets: Buckets, spends: Sequence[Spend], directory: str) -> dict[Spend, int]:
        """The buckets as they will be when the certificates before this one are there."""
        unknown = [spend for spend in spends if (directory, spend.limit, spend.key) not in self._tats]
        try:
            found = buckets.tats(unknown)
        except StateError as error:
            self._services.notify(Warned("", f"rate limits are not forecast: {error.message}"))
            found = {}
        planned = {spend: self._tats.get((directory, spend.limit, spend.key)) for spend in spends}
        return {**found, **{spend: tat for spend, tat in planned.items() if tat is not None}}

    def _line(self, spend: Spend, tat: int) -> dict[str, Any]:
        next_at: datetime = from_ns(possible_at(spend, tat, self._now))
        return {
            "limit": spend.limit.value,
            "key": spend.key,
            "remaining": max(0, spend.rate.remaining(tat, self._now)),
            "of": spend.rate.count,
            "next": format_time(next_at),
            **({"reserve": spend.kept} if spend.kept else {}),
        }
