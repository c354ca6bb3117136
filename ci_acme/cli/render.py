"""The result on stdout, for people."""

from __future__ import annotations

from typing import Any

from ci_acme.core.report import Outcome, Result
from ci_acme.model.records import format_time


def result_text(result: Result) -> str:
    """A block of lines a certificate: what happened, until when, where it is, and what to do if it failed."""
    lines = [line for outcome in result.certificates for line in _outcome(outcome)]
    return "\n".join(lines + [line for suggestion in result.suggestions for line in _suggestion(suggestion)])


def _outcome(outcome: Outcome) -> list[str]:
    head = f"{outcome.name}: {outcome.action}"
    if outcome.not_after and outcome.error is None and outcome.action != "retired":
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
    if outcome.revocation is not None:
        why = outcome.revocation.get("why")
        lines.append(f"  revocation: {outcome.revocation['action']}" + (f", {why}" if why else ""))
    if outcome.cost is not None and outcome.cost.get("orders"):
        cost = outcome.cost
        names = "1 name" if cost["names"] == 1 else f"{cost['names']} names"
        lines.append(f"  costs {cost['orders']} order with {names} ({cost['counts_as']})")
    lines += [_limit(limit) for limit in (outcome.cost or {}).get("limits", ())]
    return lines


def _limit(limit: dict[str, Any]) -> str:
    free = limit["remaining"] - limit.get("reserve", 0)
    left = f"{limit['remaining']} of {limit['of']} left"
    if limit.get("reserve"):
        left += f", {limit['reserve']} of them for renewals"
    if free <= 0:
        left += f", next at {limit['next']}"
    return f"  {limit['limit']} {limit['key']}: {left}"


def _suggestion(suggestion: dict[str, Any]) -> list[str]:
    shared = " and ".join(suggestion["names"])
    replaced, domain = ", ".join(suggestion["in_place_of"]), suggestion["registered_domain"]
    lines = [f"suggestion: one certificate for {shared} in place of {replaced} spends the limit of {domain} once"]
    if suggestion["cannot_cover"]:
        lines.append(f"  it cannot cover {', '.join(suggestion['cannot_cover'])}: a wildcard stands for one label")
    return lines
