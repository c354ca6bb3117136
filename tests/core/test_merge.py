"""Results of many jobs become one, which says the worst."""

from __future__ import annotations

from typing import Any

import pytest

from ci_acme.core.merge import merge
from ci_acme.errors import UsageError


def result(code: int, *names: str, changed: bool = False, error: Any = None) -> dict[str, Any]:
    certificates = [{"name": name, "action": "kept"} for name in names]
    return {
        "schema": "ci-acme/result/1",
        "command": "issue",
        "exit_code": code,
        "changed": changed,
        "run": {"id": "x"},
        "certificates": certificates,
        "error": error,
    }


def test_the_worst_exit_code_counts() -> None:
    merged = merge([("a", result(0, "a")), ("b", result(4, "b", changed=True)), ("c", result(6, "c"))])
    assert (merged["exit_code"], merged["changed"], len(merged["runs"])) == (6, True, 3)
    assert [one["name"] for one in merged["certificates"]] == ["a", "b", "c"]


def test_a_certificate_counts_once_and_an_error_of_a_job_stays() -> None:
    error = {"code": "config.invalid", "message": "m", "fix": "f"}
    merged = merge([("a", result(0, "a")), ("b", result(2, "a", error=error))])
    assert [one["name"] for one in merged["certificates"]] == ["a"]
    assert merged["error"] == error


def broken(**parts: Any) -> dict[str, Any]:
    """A result whose certificate, or which itself, is not what a run writes."""
    document = result(0, "a")
    document["certificates"][0] |= parts
    return document | {key: value for key, value in parts.items() if key in document and key != "error"}


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"schema": "x"},
        "text",
        {"schema": "ci-acme/result/1"},
        broken(certificates="abc"),
        broken(certificates=[7]),
        broken(exit_code="0"),
        broken(changed=1),
        broken(name=None),
        broken(names=[1]),
        broken(names="www"),
        broken(stores=[{"provider": "file"}]),
        broken(stores=7),
        broken(not_after=5),
        broken(error="bad"),
        broken(error={"code": 1}),
        broken(stores=[{"provider": "file", "target": "t", "action": "kept", "error": "bad"}]),
        broken(revocation={}),
        broken(cost=1),
        broken(cost={"orders": 1, "names": "2", "counts_as": "new"}),
        broken(cost={"orders": 1, "names": 2, "counts_as": "new", "limits": [None]}),
        broken(cost={"orders": 1, "names": 2, "counts_as": "new", "limits": [{"limit": "x"}]}),
    ],
)
def test_anything_else_is_refused(document: Any) -> None:
    with pytest.raises(UsageError, match=r"b\.json is no result"):
        merge([("a.json", result(0)), ("b.json", document)])
