"""`ci-acme issue` and `ci-acme plan`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console
from ci_acme.cli.render import result_text
from ci_acme.cli.running import make_run
from ci_acme.cli.signals import stop_on_signals
from ci_acme.cli.source import load_config
from ci_acme.clock import SystemClock

if TYPE_CHECKING:
    from ci_acme.core.report import Result


def main(options: Any, console: Console) -> int:
    """Run, print the result, return its exit status."""
    clock = SystemClock()
    dry_run = options.command == "plan" or getattr(options, "dry_run", False)
    run = make_run(options, load_config(options), console, clock, dry_run=dry_run)
    with stop_on_signals(clock, run.abort):
        result = run.issue(options.names)
    return show(result, options, console)


def show(result: Result, options: Any, console: Console) -> int:
    """The result on stdout in the form that was asked for; its exit status."""
    console.close()
    for outcome in result.certificates if wants_json(options) else ():
        if outcome.error is not None:
            console.error(outcome.error, outcome.name)
    print(json.dumps(result.as_dict(), indent=2) if wants_json(options) else result_text(result))
    return result.exit_status
