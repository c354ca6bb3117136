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
    """A heading, a table with a row a certificate, and the errors with their fixes."""
    if document["command"] == "monitor" and "alerts" in document:
        return _alerts(document)
    certificates: Sequence[Mapping[str, Any]] = document.get("certificates", ())
    lines = [f"### ci-acme {document['command']}: {_verdict(document)}", ""]
    if certificates:
        lines += ["| certificate | result | names | authority | valid until | stores |", "|---|---|---|---|---|---|"]
        lines += [_row(certificate) for certificate in certificates]
        lines.append("")
    errors = [(certificate["name"], certificate["error"]) for certificate in certificates if certificate.get("error")]
    if document.get("error"):
        errors.insert(0, ("", document["error"]))
    for name, error in errors:
        head = f"**{escape(name)}**: " if name else ""
        lines += [f"- {head}{escape(error['message'])} (`{escape(error['code'])}`)", f"  - {escape(error['fix'])}"]
    text = "\n".join(lines).rstrip() + "\n"
    return text if len(text.encode()) <= MOST_BYTES else _short(document, len(certificates))


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
    size = 0
    if alerts:
        lines += ["| severity | alert | certificate | since | what | fix |", "|---|---|---|---|---|---|"]
    for alert in alerts:
        about = alert["certificate"] or alert["subject"]
        cells = (alert["severity"], alert["code"], about, alert["since"], alert["message"], alert["fix"])
        row = "| " + " | ".join(escape(cell) if cell else "" for cell in cells) + " |"
        size += len(row.encode()) + 1
        if size > MOST_BYTES // 2:
            lines += ["", "There are more, too many for this page: see the report."]
            break
        lines.append(row)
    looked = document["looked_at"]
    lines += ["", f"Looked at {looked['certificates']} certificates in {looked['stores']} stores."]
    return "\n".join(lines) + "\n"


def _short(document: Mapping[str, Any], count: int) -> str:
    return (
        f"### ci-acme {document['command']}: {_verdict(document)}\n\n"
        f"{count} certificates, too many for this page: see the report.\n"
    )
