"""An alert is one line and its fix, whatever those say who wrote it."""

from __future__ import annotations

import io

from ci_acme.cli.console import Console
from ci_acme.cli.monitor import _text
from ci_acme.core.alerts import Alert


def test_nothing_of_others_speaks_to_a_terminal_or_a_ci_log() -> None:
    hostile = "a\x1b[2J\r\n::error::owned\u202e"
    alert = Alert("renewal.failed", "warning", hostile, hostile, hostile, "web")
    lines = _text(alert, Console(stream=io.StringIO(), color=False)).split("\n")
    assert len(lines) == 2
    assert lines[0].startswith("warning  renewal-failed   web (a")
    assert lines[1].startswith("         fix: a")
    assert all(character.isprintable() for line in lines for character in line)
