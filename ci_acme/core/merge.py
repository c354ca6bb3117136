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
        if not isinstance(document, Mapping) or document.get("schema") != RESULT_SCHEMA:
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
