"""`ci-acme report` for people: the words of `issue`, whatever the jobs were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ci_acme.cli.app import run

ERROR = {"code": "store.delivery", "message": "a|b *refused*", "fix": "give it `x`", "details": {}}
STORE = {"provider": "file", "target": "certs/web_1", "version": None, "action": "written"}


def report(tmp_path: Path, *certificates: dict[str, Any], error: Any = None) -> int:
    document = {
        "schema": "ci-acme/result/1",
        "command": "issue",
        "exit_code": 6,
        "changed": True,
        "certificates": list(certificates),
        "error": error,
    }
    file = tmp_path / "result.json"
    file.write_text(json.dumps(document))
    return run(["report", str(file)])


def test_it_is_text_and_no_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = {"name": "web", "action": "issued", "reason": "it is *new*", "not_after": "2027-01-01T00:00:00Z"}
    bad = {"name": "api", "action": "failed", "error": ERROR}
    stores = [STORE, {**STORE, "action": "failed", "error": ERROR}]
    assert report(tmp_path, {**good, "stores": stores}, {**bad, "stores": stores}, error={**ERROR, "fix": ""}) == 6
    assert capsys.readouterr().out.splitlines() == [
        "web: issued, valid until 2027-01-01T00:00:00Z (it is *new*)",
        "  file:certs/web_1 written",
        "  file:certs/web_1 failed",
        "    error: a|b *refused*",
        "    fix: give it `x`",
        "api: failed",
        "  error: a|b *refused* [store.delivery]",
        "  fix: give it `x`",
        "  file:certs/web_1 written",
        "  file:certs/web_1 failed",
        "error: a|b *refused*",
    ]
