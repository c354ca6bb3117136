"""The result on stdout, for people."""

from __future__ import annotations

from ci_acme.core.report import Outcome, Result
from ci_acme.model.records import format_time


def result_text(result: Result) -> str:
    """A block of lines a certificate: what happened, until when, where it is, and what to do if it failed."""
    return "\n".join(line for outcome in result.certificates for line in _outcome(outcome))


def _outcome(outcome: Outcome) -> list[str]:
    head = f"{outcome.name}: {outcome.action}"
    if outcome.not_after and outcome.error is None:
        head += f", valid until {format_time(outcome.not_after)}"
    if outcome.reason and outcome.error is None:
        head += f" ({outcome.reason})"
    lines = [head]
    if outcome.error is not None:
        lines.append(f"  error: {outcome.error.message} [{outcome.error.code}]")
        if outcome.error.fix:
            lines.append(f"  fix: {outcome.error.fix}")
    for store in outcome.stores:
        lines.append(f"  {store.provider}:{store.target} {store.action}")
        if store.error is not None and store.error is not outcome.error:
            lines.append(f"    error: {store.error.message}")
            lines.append(f"    fix: {store.error.fix}")
    if outcome.cost is not None and outcome.cost.get("orders"):
        cost = outcome.cost
        names = "1 name" if cost["names"] == 1 else f"{cost['names']} names"
        lines.append(f"  costs {cost['orders']} order with {names} ({cost['counts_as']})")
    return lines
