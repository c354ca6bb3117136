"""`ci-acme issue`, and what other commands share with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ci_acme.cli.announce import announce
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
    result = carry_out(options, console, dry_run=getattr(options, "dry_run", False))
    return show(result, options, console)


def carry_out(options: Any, console: Console, *, dry_run: bool) -> Result:
    """Issue, or say what would be issued."""
    clock = SystemClock()
    run = make_run(options, load_config(options), console, clock, dry_run=dry_run)
    with stop_on_signals(clock, run.abort):
        return run.issue(options.names)


def show(result: Result, options: Any, console: Console) -> int:
    """The result on stdout in the form that was asked for; its exit status."""
    console.close()
    document = result.as_dict()
    announce(document, options, console)
    for outcome in result.certificates if wants_json(options) else ():
        if outcome.error is not None:
            console.error(outcome.error, outcome.name)
    print(json.dumps(document, indent=2) if wants_json(options) else result_text(document))
    return result.exit_status
