"""A result as Markdown, for the page that a CI system shows of a job. Pure.

What certificates, CAs and stores say is written by others: no markup of theirs reaches the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]()<>#+!|~@-])")
_NAMES: Final = 3
MOST_BYTES: Final = 1_000_000
"""GitHub takes 1 MiB of a step."""


def as_markdown(document: Mapping[str, Any]) -> str:
    """A heading, a table with a row a certificate, and the errors with their fixes.

    What would be too much for a page has the certificates that failed or changed first, and says how many are left out.
    """
    if document["command"] == "monitor" and "alerts" in document:
        return _alerts(document)
    certificates: Sequence[Mapping[str, Any]] = document.get("certificates", ())
    rows, errors = [_row(one) for one in certificates], _errors(document, certificates)
    text = _page(document, rows, errors)
    if len(text.encode()) <= MOST_BYTES:
        return text
    first = sorted(certificates, key=lambda one: (one.get("error") is None, one["action"] == "kept"))
    rows, errors = _within([_row(one) for one in first], MOST_BYTES * 2 // 5), _within(errors, MOST_BYTES * 2 // 5)
    note = f"{len(certificates)} certificates are too many for this page: it shows {len(rows)}, the report has all."
    return _page(document, rows, [note, "", *errors])


def _page(document: Mapping[str, Any], rows: Sequence[str], errors: Sequence[str]) -> str:
    head = ["| certificate | result | names | authority | valid until | stores |", "|---|---|---|---|---|---|"]
    table = [*head, *rows, ""] if rows else []
    return "\n".join([f"### ci-acme {document['command']}: {_verdict(document)}", "", *table, *errors]).rstrip() + "\n"


def _errors(document: Mapping[str, Any], certificates: Sequence[Mapping[str, Any]]) -> list[str]:
    found = [(one["name"], one["error"]) for one in certificates if one.get("error")]
    if document.get("error"):
        found.insert(0, ("", document["error"]))
    return [
        f"- {f'**{escape(name)}**: ' if name else ''}{escape(error['message'])} (`{escape(error['code'])}`)\n"
        f"  - {escape(error['fix'])}"
        for name, error in found
    ]


def _within(parts: Sequence[str], most: int) -> list[str]:
    """As many of them as there is room for."""
    kept = []
    for part in parts:
        most -= len(part.encode()) + 1
        if most < 0:
            break
        kept.append(part)
    return kept


def escape(text: object) -> str:
    """Text as text: one line, nothing of it Markdown, HTML or a mention."""
    return _MARKUP.sub(r"\\\1", _CONTROL.sub(" ", str(text)).replace("&", "&amp;").replace("<", "&lt;"))


def _verdict(document: Mapping[str, Any]) -> str:
    if document["exit_code"]:
        return f"failed with exit code {document['exit_code']}"
    return "changed" if document.get("changed") else "nothing to change"


def _row(certificate: Mapping[str, Any]) -> str:
    names = list(certificate.get("names", ()))
    shown = ", ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")
    stores = ", ".join(
        f"{store['provider']}:{store['target']} {store['action']}" for store in certificate.get("stores", ())
    )
    result = f"{certificate['action']}: {certificate['reason']}" if certificate.get("reason") else certificate["action"]
    cells = (certificate["name"], result, shown, certificate.get("authority"), certificate.get("not_after"), stores)
    return "| " + " | ".join(escape(cell) if cell else "" for cell in cells) + " |"


def _alerts(document: Mapping[str, Any]) -> str:
    """The summary of a monitor: a row an alert, the worst first, then its fix."""
    alerts: Sequence[Mapping[str, Any]] = document["alerts"]
    firing = document["firing"]
    verdict = "no alert" if not firing else f"{firing} alert{'s' if firing > 1 else ''}"
    lines = [f"### ci-acme monitor: {verdict}", ""]
    if alerts:
        lines += ["| severity | alert | certificate | since | what | fix |", "|---|---|---|---|---|---|"]
    kept = _within([_alert(alert) for alert in alerts], MOST_BYTES // 2)
    lines += kept
    if len(kept) < len(alerts):
        lines += ["", "There are more, too many for this page: see the report."]
    looked = document["looked_at"]
    lines += ["", f"Looked at {looked['certificates']} certificates in {looked['stores']} stores."]
    return "\n".join(lines) + "\n"


def _alert(alert: Mapping[str, Any]) -> str:
    about = alert["certificate"] or alert["subject"]
    cells = (alert["severity"], alert["code"], about, alert["since"], alert["message"], alert["fix"])
    return "| " + " | ".join(escape(cell) if cell else "" for cell in cells) + " |"
