"""`ci-acme permissions`: the least privilege of every provider, for exactly this config."""

from __future__ import annotations

import json
from typing import Any

from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console
from ci_acme.cli.running import make_run
from ci_acme.cli.signals import stop_on_signals
from ci_acme.cli.source import load_config
from ci_acme.clock import SystemClock
from ci_acme.core.permissions import as_text, document


def main(options: Any, console: Console) -> int:
    """Print what to grant."""
    clock = SystemClock()
    run = make_run(options, load_config(options), console, clock, dry_run=True)
    with stop_on_signals(clock, run.abort):
        grants, caa = run.permissions(options.names, online=not getattr(options, "offline", False))
    console.close()
    print(json.dumps(document(grants, caa), indent=2) if wants_json(options) else as_text(grants, caa))
    return 0
