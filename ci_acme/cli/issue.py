"""`ci-acme issue` and `ci-acme plan`."""

from __future__ import annotations

import json
import os
from typing import Any

from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console
from ci_acme.cli.render import result_text
from ci_acme.cli.signals import stop_on_signals
from ci_acme.cli.source import load_config
from ci_acme.clock import SystemClock
from ci_acme.runner import Run, RunOptions


def main(options: Any, console: Console) -> int:
    """Run, print the result, return its exit status."""
    loaded = load_config(options)
    clock = SystemClock()
    dry = options.command == "plan" or getattr(options, "dry_run", False)
    run = Run(
        loaded.config,
        RunOptions(
            command=options.command,
            force=getattr(options, "force", False),
            dry_run=dry,
            allow_new_account=getattr(options, "allow_new_account", False),
            timeout=getattr(options, "timeout", 900.0),
        ),
        clock=clock,
        notify=console,
        environ=os.environ,
    )
    with stop_on_signals(clock, run.abort):
        result = run.issue(options.names)
    console.close()
    print(json.dumps(result.as_dict(), indent=2) if wants_json(options) else result_text(result))
    return result.exit_status
