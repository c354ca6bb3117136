"""What a GitHub job gets: outputs that nothing can break out of, annotations at the right line, masks, a summary."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.summary import MOST_BYTES, as_markdown, escape
from ci_acme.hosts import github
from ci_acme.hosts.dotenv import write_dotenv

HOSTILE = "a\"b'$(touch x)`y`\n%0A::error::no\r\nname<<EOF | <script>alert(1)</script> @team [x](http://evil)"


def document(**certificate: Any) -> dict[str, Any]:
    one = {
        "name": "web",
        "action": "issued",
        "reason": "no certificate",
        "names": ["www.example.com"],
        "authority": "ca",
        "serial": "0a",
        "not_after": "2027-01-01T00:00:00Z",
        "stores": [{"provider": "file", "target": "certs/web", "action": "written"}],
        "error": None,
        **certificate,
    }
    return {"command": "issue", "exit_code": 0, "changed": True, "certificates": [one], "error": None}


def read_outputs(text: str) -> dict[str, str]:
    """As the runner does: NAME<<DELIMITER, lines, DELIMITER."""
    found: dict[str, str] = {}
    lines = text.split("\n")
    while lines and lines[0]:
        name, delimiter = lines.pop(0).split("<<", 1)
        end = lines.index(delimiter)
        found[name] = "\n".join(lines[:end])
        lines = lines[end + 1 :]
    assert lines == [""]
    return found


@given(reason=st.text(), target=st.text())
def test_nothing_breaks_out_of_an_output(tmp_path_factory: pytest.TempPathFactory, reason: str, target: str) -> None:
    path = tmp_path_factory.mktemp("out") / "output"
    said = document(reason=reason, stores=[{"provider": "p", "target": target, "action": "written"}])
    github.write_outputs(said, "report.json", {"GITHUB_OUTPUT": str(path)})
    found = read_outputs(path.read_text(encoding="utf-8"))
    assert list(found) == ["changed", "certificates", "not-after", "report"]
    assert json.loads(found["certificates"]) == said["certificates"]
    assert found["not-after"] == "2027-01-01T00:00:00Z"


def test_the_delimiter_is_another_one_each_time(tmp_path: Path) -> None:
    path = tmp_path / "output"
    for _ in range(2):
        github.write_outputs(document(), None, {"GITHUB_OUTPUT": str(path)})
    assert len(set(re.findall(r"<<(ghadelimiter_\w{32})", path.read_text()))) == 8


@given(st.text(), st.text(), st.text())
def test_an_annotation_is_one_line_and_one_command(message: str, title: str, file: str) -> None:
    line = github.annotation("error", message, title=title, file=file, line=3)
    assert "\n" not in line
    assert "\r" not in line
    head = line.removeprefix("::error").partition("::")[0]
    assert re.fullmatch(r"( (title|file|line)=[^,:\n\r]*(,(title|file|line)=[^,:\n\r]*)*)?", head)


def test_masks_are_for_secrets_that_a_log_could_show_and_never_for_keys() -> None:
    stream = io.StringIO()
    github.mask(b"two\nlines-of-it", stream)
    github.mask(b"short", stream)
    github.mask(b"-----BEGIN PRIVATE KEY-----\nabcdefgh\n-----END PRIVATE KEY-----", stream)
    assert sorted(stream.getvalue().splitlines()) == ["::add-mask::lines-of-it", "::add-mask::two%0Alines-of-it"]


def test_the_summary_is_a_table_whose_cells_nobody_can_break() -> None:
    said = document(reason=HOSTILE, error={"code": "dns.zone", "message": HOSTILE, "fix": HOSTILE})
    text = as_markdown(said)
    rows = [line for line in text.splitlines() if line.startswith("| web")]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 7
    assert "<script>" not in text
    assert re.search(r"(?<!\\)@team", text) is None
    assert "[x](" not in text


@given(st.text())
def test_escaped_text_is_one_line(text: str) -> None:
    assert "\n" not in escape(text)
    assert "<" not in escape(text).replace("&lt;", "")


@pytest.mark.parametrize("failing", [3, 3000])
def test_a_summary_that_would_be_too_big_has_first_what_failed(failing: int) -> None:
    said = document()
    error = {"code": "dns.zone", "message": "ä" * 300, "fix": "f"}
    one = said["certificates"][0] | {"reason": "x" * 500, "action": "kept"}
    broken = [one | {"name": f"broken-{number}", "action": "failed", "error": error} for number in range(failing)]
    said["certificates"] = [one] * 3000 + broken
    text = as_markdown(said)
    assert len(text.encode()) < MOST_BYTES
    assert f"{3000 + failing} certificates are too many for this page" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 500
    assert all("broken" in row for row in rows[: min(failing, 500)])
    assert "| web | kept" in text or failing == 3000
    assert text.count("dns\\.zone") + text.count("dns.zone") >= min(failing, 500)


def outputs(said: dict[str, Any], tmp_path: Path) -> tuple[dict[str, str], list[str]]:
    path = tmp_path / "output"
    path.unlink(missing_ok=True)
    warnings = github.write_outputs(said, "report.json", {"GITHUB_OUTPUT": str(path)})
    return read_outputs(path.read_text(encoding="utf-8")), warnings


@pytest.mark.parametrize(("count", "words"), [(300, ""), (800, "alone"), (9000, "is empty")])
def test_outputs_fit_into_what_a_job_may_have(tmp_path: Path, count: int, words: str) -> None:
    """1 MB for all outputs of a job, in UTF-16 (GitHub: "Passing information between jobs")."""
    said = document()
    said["command"] = "plan"
    one = said["certificates"][0] | {"reason": "r" * 200, "action": "would-issue"}
    said["certificates"] = [one | {"name": f"certificate-{number:0>60}"} for number in range(count)]
    found, warnings = outputs(said, tmp_path)
    assert len("".join(found.values()).encode("utf-16-le")) < 1_000_000
    certificates = json.loads(found["certificates"])
    assert len(certificates) == (0 if words == "is empty" else count)
    assert not certificates or certificates[0]["stores"] == one["stores"]
    if words:
        assert words in warnings[0]
        assert "report" in warnings[0]
    else:
        assert warnings == []
        assert certificates == said["certificates"]
    jobs = json.loads(found["matrix"])["include"]
    assert len(jobs) == min(count, 256)
    assert any("the next run" in text for text in warnings) == (count == 9000)


def test_a_dotenv_report_has_three_public_facts(tmp_path: Path) -> None:
    write_dotenv(str(tmp_path / "e"), document())
    assert (tmp_path / "e").read_text() == (
        "CI_ACME_CHANGED=true\nCI_ACME_NOT_AFTER=2027-01-01T00:00:00Z\nCI_ACME_SERIAL=0a\n"
    )
