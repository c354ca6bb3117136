"""`ci-acme check`: one line a finding, each with its fix; exit status 9 if one is an error."""

from __future__ import annotations

import json
from typing import Any

from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console
from ci_acme.cli.running import make_run
from ci_acme.cli.signals import stop_on_signals
from ci_acme.cli.source import load_config
from ci_acme.clock import SystemClock
from ci_acme.core.checks import CHECK_SCHEMA, CheckLine
from ci_acme.errors import Finding

_COLORS = {"ok": "green", "warning": "yellow", "error": "red"}


def main(options: Any, console: Console) -> int:
    """Look, print, return 0 or 9."""
    clock = SystemClock()
    loaded = load_config(options)
    run = make_run(options, loaded, console, clock)
    with stop_on_signals(clock, run.abort):
        lines = run.check(options.names, getattr(options, "trust_policy", None))
    status = Finding.exit_status if any(line.level == "error" for line in lines) else 0
    for line in lines:
        if line.level != "ok":
            fix = f"\nfix: {line.fix}" if line.fix else ""
            console.annotate(line.level, f"{line.area} {line.subject}: {line.message}{fix}")
    console.close()
    if wants_json(options):
        findings = [line.as_dict() for line in lines]
        print(json.dumps({"schema": CHECK_SCHEMA, "exit_code": status, "findings": findings}, indent=2))
    else:
        print("\n".join(_text(line, console) for line in lines))
    return status


def _text(line: CheckLine, console: Console) -> str:
    text = f"{console.paint(f'{line.level:<8}', _COLORS[line.level])}{line.area:<6} {line.subject}: {line.message}"
    return f"{text}\n        fix: {line.fix}" if line.fix and line.level != "ok" else text
