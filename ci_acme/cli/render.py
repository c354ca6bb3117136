"""The result on stdout, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def result_text(document: Mapping[str, Any]) -> str:
    """A result document as lines, a block a certificate: what happened, until when, where it is, what to do."""
    lines = [line for one in document["certificates"] for line in _certificate(one)]
    if document.get("error") is not None:
        lines += _error(document["error"], "")
    return "\n".join(
        lines + [line for suggestion in document.get("suggestions", ()) for line in _suggestion(suggestion)]
    )


def _certificate(one: Mapping[str, Any]) -> list[str]:
    error = one.get("error")
    head = f"{one['name']}: {one['action']}"
    if one.get("not_after") and error is None and one["action"] != "retired":
        head += f", valid until {one['not_after']}"
    if one.get("reason") and error is None:
        head += f" ({one['reason']})"
    lines = [head]
    if error is not None:
        lines += _error(error, "  ", f" [{error['code']}]")
    for store in one.get("stores") or ():
        lines.append(f"  {store['provider']}:{store['target']} {store['action']}")
        if store.get("error") not in (None, error):
            lines += _error(store["error"], "    ")
    revocation, cost = one.get("revocation"), one.get("cost") or {}
    if revocation is not None:
        why = revocation.get("why")
        lines.append(f"  revocation: {revocation['action']}" + (f", {why}" if why else ""))
    if cost.get("orders"):
        names = "1 name" if cost["names"] == 1 else f"{cost['names']} names"
        lines.append(f"  costs {cost['orders']} order with {names} ({cost['counts_as']})")
    return lines + [_limit(limit) for limit in cost.get("limits", ())]


def _error(error: Mapping[str, Any], indent: str, code: str = "") -> list[str]:
    lines = [f"{indent}error: {error['message']}{code}"]
    return [*lines, f"{indent}fix: {error['fix']}"] if error.get("fix") else lines


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
