"""A dotenv report, as GitLab takes it from a job to the later ones: public facts only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_dotenv(path: str, document: Mapping[str, Any]) -> None:
    """CI_ACME_CHANGED, CI_ACME_NOT_AFTER (the earliest) and CI_ACME_SERIAL (of the first certificate).

    Of a monitor also CI_ACME_ALERTS, how many fire.

    GitLab takes one line a variable, no quotes, names of letters, digits and underscores. Raises `OSError`.
    """
    certificates = document.get("certificates", ())
    ends = sorted(one["not_after"] for one in certificates if one.get("not_after"))
    serials = [one["serial"] for one in certificates if one.get("serial")]
    values = {
        "CI_ACME_CHANGED": "true" if document.get("changed") else "false",
        "CI_ACME_NOT_AFTER": ends[0] if ends else "",
        "CI_ACME_SERIAL": serials[0] if serials else "",
    }
    if document.get("command") == "monitor":
        values["CI_ACME_ALERTS"] = str(document.get("firing", ""))
    Path(path).write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
