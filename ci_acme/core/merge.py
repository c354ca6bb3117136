"""The results of many jobs as one: what a fan-out reports at its end. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ci_acme.core.report import RESULT_SCHEMA
from ci_acme.errors import UsageError, worst_exit_status


def merge(documents: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """One result document of several, each with the name of its file. Raises `UsageError` for anything else.

    The exit code is the worst by the contract's precedence; of a certificate that several have, the last stays.
    """
    certificates: dict[str, Mapping[str, Any]] = {}
    errors: list[Mapping[str, Any]] = []
    for name, document in documents:
        if not _is_result(document):
            raise UsageError(f"{name} is no result document", fix="give files that --report has written")
        certificates |= {one["name"]: one for one in document["certificates"]}
        if document.get("error"):
            errors.append(document["error"])
    runs = [document["run"] for _, document in documents if document.get("run")]
    return {
        "schema": RESULT_SCHEMA,
        "command": documents[0][1]["command"],
        "exit_code": worst_exit_status([int(document["exit_code"]) for _, document in documents]),
        "changed": any(document["changed"] for _, document in documents),
        "runs": runs,
        "certificates": list(certificates.values()),
        "error": errors[0] if errors else None,
    }


def _is_result(document: Any) -> bool:
    """Whether it has what is read here and for the summary: files of other jobs may be anything."""
    if not isinstance(document, Mapping) or document.get("schema") != RESULT_SCHEMA:
        return False
    certificates = document.get("certificates")
    return (
        isinstance(document.get("exit_code"), int)
        and isinstance(document.get("changed"), bool)
        and isinstance(document.get("command"), str)
        and isinstance(certificates, Sequence)
        and all(_is_certificate(one) for one in certificates)
        and _is_error(document.get("error"))
    )


def _is_certificate(one: Any) -> bool:
    return (
        isinstance(one, Mapping)
        and _has(one, "name", "action")
        and all(isinstance(one.get(key) or "", str) for key in ("reason", "authority", "not_after", "serial"))
        and all(isinstance(name, str) for name in _list(one.get("names")))
        and all(
            isinstance(store, Mapping) and _has(store, "provider", "target", "action")
            for store in _list(one.get("stores"))
        )
        and all(_is_error(store.get("error")) for store in _list(one.get("stores")))
        and _is_error(one.get("error"))
        and _is_like(one.get("revocation"), action=str)
        and _is_like(one.get("cost"), orders=int, names=int, counts_as=str)
        and all(_is_limit(limit) for limit in _list((one.get("cost") or {}).get("limits")))
    )


def _is_limit(limit: Any) -> bool:
    return (
        isinstance(limit, Mapping)
        and _has(limit, "limit", "key", "next")
        and all(isinstance(limit.get(key, 0), int) for key in ("remaining", "of", "reserve"))
        and "remaining" in limit
        and "of" in limit
    )


def _is_like(value: Any, **kinds: type) -> bool:
    """Whether it is nothing, or a mapping that has these."""
    return value is None or (
        isinstance(value, Mapping) and all(isinstance(value.get(key), kind) for key, kind in kinds.items())
    )


def _is_error(error: Any) -> bool:
    return error is None or (isinstance(error, Mapping) and _has(error, "code", "message", "fix"))


def _has(document: Mapping[str, Any], *keys: str) -> bool:
    return all(isinstance(document.get(key), str) for key in keys)


def _list(value: Any) -> Sequence[Any]:
    """The list; one that fits nothing for what is none."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else () if value is None else (None,)
