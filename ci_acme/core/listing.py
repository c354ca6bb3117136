"""An inventory as a table, CSV, a calendar (RFC 5545) or one static HTML page. Pure.

What stores and ledgers say is written by others: no control character reaches a terminal, no formula a spreadsheet, no
markup a browser.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Final

from ci_acme.core.inventory import Row, show

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
_FOLD: Final = 75
_SHOWN: Final = 3

COLUMNS: Final = (
    "name", "state", "not_after", "renew_after", "owner", "issuer", "serial", "stores", "names", "not_before",
    "authority", "directory", "profile", "key", "sha256", "source", "run",
)  # fmt: skip
"""Of the CSV, in this order; new ones are added at the end."""

_TABLE: Final = (
    ("NAME", "name"),
    ("STATE", "state"),
    ("EXPIRES", "not_after"),
    ("RENEWS AFTER", "renew_after"),
    ("OWNER", "owner"),
    ("ISSUER", "issuer"),
    ("SERIAL", "serial"),
    ("STORES", "stores"),
    ("NAMES", "names"),
)


def as_table(rows: Sequence[Row]) -> str:
    """Columns for people; a long list of names or stores is cut."""
    if not rows:
        return "no certificates"
    lines = [[title for title, _ in _TABLE]]
    lines += [[_cell(row, column, shown=_SHOWN) or "-" for _, column in _TABLE] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(_TABLE))]
    return "\n".join(
        "  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_csv(rows: Sequence[Row]) -> str:
    """RFC 4180 with a head line. A cell that a spreadsheet would compute begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_harmless(_cell(row, column)) for column in COLUMNS])
    return out.getvalue()


def as_calendar(rows: Sequence[Row], now: datetime) -> str:
    """An event when each certificate ends, with an alarm when it should have been renewed."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//ci-acme//inventory//EN", "CALSCALE:GREGORIAN"]
    for row in rows:
        if row.not_after is not None and row.state not in {"replaced", "retired"}:
            lines += _event(row, row.not_after, now)
    lines.append("END:VCALENDAR")
    return "".join(f"{folded}\r\n" for line in lines for folded in _fold(line))


def as_html(rows: Sequence[Row], now: datetime) -> str:
    """One page without scripts, which loads nothing."""
    head = "".join(f"<th>{html.escape(title.capitalize())}</th>" for title, _ in _TABLE)
    body = "\n".join(
        f'<tr class="{html.escape(row.state)}">'
        + "".join(f"<td>{html.escape(_cell(row, column))}</td>" for _, column in _TABLE)
        + "</tr>"
        for row in rows
    )
    return _PAGE.format(time=html.escape(show(now) or ""), count=_count(rows), head=head, body=body)


def _count(rows: Sequence[Row]) -> str:
    return "1 certificate" if len(rows) == 1 else f"{len(rows)} certificates"


def _cell(row: Row, column: str, *, shown: int | None = None) -> str:
    if column in {"names", "stores"}:
        items = list(row.names) if column == "names" else [place.label for place in row.stores]
        cut = items if shown is None or len(items) <= shown else [*items[:shown], f"(+{len(items) - shown})"]
        return plain((" " if column == "names" else "; ").join(cut))
    value = getattr(row, column)
    return show(value) or "" if isinstance(value, datetime) else plain("" if value is None else str(value))


def plain(text: str) -> str:
    """One line without control characters: nothing that a terminal would obey."""
    return _CONTROL.sub(" ", text).strip()


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


# --- calendar ---


def _event(row: Row, end: datetime, now: datetime) -> list[str]:
    about = f"{row.name} ({', '.join(row.names)})"
    facts = [f"{title.capitalize()}: {_cell(row, column)}" for title, column in _TABLE if _cell(row, column)]
    lines = [
        "BEGIN:VEVENT",
        f"UID:{_text(row.sha256 or row.serial or row.name)}@ci-acme",
        f"DTSTAMP:{_stamp(now)}",
        f"DTSTART:{_stamp(end)}",
        "DURATION:PT0S",
        f"SUMMARY:{_text(f'Certificate {about} expires')}",
        "DESCRIPTION:" + "\\n".join(_text(fact) for fact in facts),
        "TRANSP:TRANSPARENT",
    ]
    if row.renew_after is not None:
        lines += [
            "BEGIN:VALARM",
            "ACTION:DISPLAY",
            f"TRIGGER;VALUE=DATE-TIME:{_stamp(row.renew_after)}",
            f"DESCRIPTION:{_text(f'Certificate {about} is due')}",
            "END:VALARM",
        ]
    return [*lines, "END:VEVENT"]


def _stamp(time: datetime) -> str:
    return f"{time.astimezone(timezone.utc):%Y%m%dT%H%M%SZ}"


def _text(text: str) -> str:
    """RFC 5545 section 3.3.11."""
    return plain(text).replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")


def _fold(line: str) -> list[str]:
    """RFC 5545 section 3.1: 75 octets a line, a continuation begins with a space; no character is torn apart."""
    folded: list[str] = []
    current = ""
    for character in line:
        if len((current + character).encode()) > _FOLD:
            folded.append(current)
            current = " "
        current += character
    return [*folded, current]


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>Certificates</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .8rem; border-bottom: 1px solid #ccc; }}
th, td:nth-child(-n+4) {{ white-space: nowrap; }}
td:nth-child(n+5) {{ min-width: 5rem; max-width: 24rem; overflow-wrap: anywhere; }}
.due td:nth-child(2), .partial td:nth-child(2) {{ background: #fe9; }}
.expired td:nth-child(2), .revoked td:nth-child(2) {{ background: #fba; }}
.missing td:nth-child(2), .unreadable td:nth-child(2) {{ background: #fba; }}
.replaced, .retired {{ color: #777; }}
</style>
</head>
<body>
<h1>Certificates</h1>
<p>{count}, {time}</p>
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</body>
</html>
"""
