"""How every command that touches the network makes its run."""

from __future__ import annotations

import os
from typing import Any

from ci_acme.cli.console import Console
from ci_acme.clock import SystemClock
from ci_acme.config.load import Loaded
from ci_acme.runner import Run, RunOptions


def make_run(options: Any, loaded: Loaded, console: Console, clock: SystemClock, *, dry_run: bool = False) -> Run:
    """A run of the options' command over a loaded config."""
    run_options = RunOptions(
        command=options.command,
        force=getattr(options, "force", False),
        dry_run=dry_run,
        allow_new_account=getattr(options, "allow_new_account", False),
        timeout=getattr(options, "timeout", 900.0),
    )
    annotator = console.annotator
    if annotator is not None:
        annotator.remember(loaded)
    return Run(
        loaded.config,
        run_options,
        clock=clock,
        notify=console,
        environ=os.environ,
        on_secret=console.on_secret,
    )
