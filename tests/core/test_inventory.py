"""What there is: stores joined with the ledger, and every form parsed back."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.inventory import INVENTORY_SCHEMA, Place, Row, document, expiring, from_entry, join, life
from ci_acme.core.listing import COLUMNS, as_calendar, as_csv, as_html, as_table

NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
WEB = Row(
    name="web",
    names=("*.example.com", "example.com"),
    state="valid",
    source="stores",
    directory="https://ca.test/dir",
    owner="team-web",
    issuer="CN=R3",
    serial="0a",
    sha256="ab" * 32,
    not_before=NOW - 10 * DAY,
    not_after=NOW + 80 * DAY,
    renew_after=NOW + 50 * DAY,
    stores=(Place("file", "certs/web", "held", "0a"),),
)
ENTRY: dict[str, Any] = {
    "name": "web",
    "names": ["example.com", "*.example.com"],
    "directory": "https://ca.test/dir",
    "serial": "0a",
    "sha256": "ab" * 32,
    "not_before": "2026-11-15T12:00:00Z",
    "not_after": "2027-02-13T12:00:00Z",
    "renew_after": "2027-01-14T12:00:00Z",
    "owner": "somebody",
    "run": "r1",
    "stores": [{"provider": "file", "target": "certs/web", "version": None}],
}


def entry(**changes: Any) -> dict[str, Any]:
    return {**ENTRY, **changes}


def test_stores_win_and_the_ledger_adds() -> None:
    (row,) = join([WEB], [entry(owner="x", serial="ff")], NOW)
    assert (row.serial, row.owner, row.source, row.run) == ("0a", "team-web", "both", "r1")


def test_a_certificate_that_is_gone_keeps_its_last_known_facts() -> None:
    missing = Row(
        name="web",
        names=("*.example.com", "example.com"),
        state="missing",
        source="stores",
        directory="https://ca.test/dir",
        stores=(Place("file", "certs/web", "absent"),),
    )
    (row,) = join([missing], [ENTRY], NOW)
    assert (row.state, row.serial, row.source, row.stores[0].state) == ("missing", "0a", "ledger", "absent")


def test_other_environments_are_listed_from_the_ledger() -> None:
    other = entry(name="preview", names=["pr-7.example.com"], serial="0b", stores=[{"provider": "x", "target": "y"}])
    gone = entry(name="web", names=["old.example.com"], serial="0c")
    retired = entry(name="old", names=["r.example.com"], serial="0d", retired="2026-11-01T00:00:00Z")
    rows = join([WEB], [other, gone, retired, {"garbage": 1}], NOW)
    assert [(row.name, row.state, row.source) for row in rows] == [
        ("web", "valid", "stores"),
        ("old", "retired", "ledger"),
        ("preview", "valid", "ledger"),
        ("web", "replaced", "ledger"),
    ]


@pytest.mark.parametrize(
    ("end", "due", "state"),
    [(None, None, "missing"), (NOW, None, "expired"), (NOW + DAY, NOW, "due"), (NOW + DAY, NOW + DAY, "valid")],
)
def test_life(end: datetime | None, due: datetime | None, state: str) -> None:
    assert life(end, due, NOW) == state


def test_what_ends_soon() -> None:
    def row(name: str, days: int, state: str = "valid") -> Row:
        return Row(name, (name,), state, "stores", "", not_after=NOW + days * DAY)

    rows = [
        row("c", 20),
        row("b", 14),
        row("a", -1, "expired"),
        row("r", 1, "replaced"),
        Row("m", (), "missing", "", ""),
    ]
    assert [found.name for found in expiring(rows, 14 * DAY, NOW)] == ["a", "b"]


def test_json() -> None:
    found = json.loads(json.dumps(document([WEB], NOW)))
    assert found["schema"] == INVENTORY_SCHEMA == "ci-acme/inventory/1"
    (row,) = found["certificates"]
    assert row["not_after"] == "2027-02-13T12:00:00Z"
    assert row["stores"] == [
        {"provider": "file", "target": "certs/web", "state": "held", "serial": "0a", "version": None}
    ]


EVIL = "=cmd|' /C calc'!A0\r\nBEGIN:VEVENT<script>alert(1)</script>\x1b[31m,;\\\u202e"


def evil() -> Row:
    return Row(EVIL, (EVIL, "ü" * 60), "valid", "stores", EVIL, owner=EVIL, issuer="@x", not_after=NOW, sha256="cd")


def test_csv_computes_nothing_in_a_spreadsheet() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv([WEB, evil()]), newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["names"] == "*.example.com example.com"
    assert rows[0]["stores"] == "file:certs/web"
    assert rows[0]["not_after"] == "2027-02-13T12:00:00Z"
    assert rows[1]["issuer"] == "'@x"
    assert rows[1]["name"].startswith("'=cmd")
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


@given(st.text())
def test_any_text_survives_in_csv_without_a_formula(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(as_csv([Row(text, (), "valid", "s", "")]), newline=""))
    assert row["name"].lstrip("'").strip()[:1] not in {"\t", "\r"}
    assert not row["name"].startswith(("=", "+", "-", "@", "\t", "\r"))


def unfolded(text: str) -> list[str]:
    assert text.endswith("\r\n")
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    assert "\n" not in text.replace("\r\n", "")
    return text.replace("\r\n ", "").removesuffix("\r\n").split("\r\n")


def test_calendar() -> None:
    lines = unfolded(as_calendar([WEB, evil(), Row("gone", (), "replaced", "", "", not_after=NOW)], NOW))
    assert (lines[0], lines[-1]) == ("BEGIN:VCALENDAR", "END:VCALENDAR")
    assert lines.count("BEGIN:VEVENT") == lines.count("END:VEVENT") == 2
    assert "DTSTART:20270213T120000Z" in lines
    assert "TRIGGER;VALUE=DATE-TIME:20270114T120000Z" in lines
    assert r"SUMMARY:Certificate web (*.example.com\, example.com) expires" in lines
    assert any("ü" * 60 in line for line in lines), "a character is not torn apart by folding"


@given(st.text(), st.text(max_size=200))
def test_any_text_makes_a_calendar_of_one_event(name: str, owner: str) -> None:
    row = Row(name, (name,), "valid", "s", "", owner=owner, not_after=NOW)
    lines = unfolded(as_calendar([row], NOW))
    assert lines.count("BEGIN:VEVENT") == 1


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in {"src", "href"}]
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells and self.tags[-1] == "td":
            self.cells[-1] += data


def test_html_is_one_static_page() -> None:
    page = as_html([WEB, evil()], NOW)
    reader = Reader()
    reader.feed(page)
    assert not {"script", "img", "link", "iframe"} & set(reader.tags)
    assert reader.tags.count("tr") == 3
    assert "default-src 'none'" in page
    assert reader.cells[0].strip() == "web"
    assert "<p>2 certificates, 20" in page
    assert "<p>1 certificate, 20" in as_html([WEB], NOW)
    assert any("<script>" in cell for cell in reader.cells), "escaped, and shown as it is"


def test_table_has_a_line_a_certificate_and_no_control_character() -> None:
    text = as_table([WEB, evil()])
    lines = text.splitlines()
    assert len(lines) == 3
    assert re.split(r"\s{2,}", lines[1])[:3] == ["web", "valid", "2027-02-13T12:00:00Z"]
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert as_table([]) == "no certificates"


def test_an_entry_round_trip() -> None:
    row = from_entry(ENTRY, NOW)
    assert row is not None
    assert row.state == "valid"
    assert from_entry({**ENTRY, "not_after": "yesterday"}, NOW) is None
