"""`ci-acme retire`: tear an environment down; what is gone already is success."""

from __future__ import annotations

from typing import Any

from ci_acme.cli.console import Console
from ci_acme.cli.issue import show
from ci_acme.cli.running import make_run
from ci_acme.cli.signals import stop_on_signals
from ci_acme.cli.source import load_config
from ci_acme.clock import SystemClock


def main(options: Any, console: Console) -> int:
    """Remove, print the result, return its exit status."""
    from ci_acme.ca.revocation import parse_reason
    from ci_acme.runner.retiring import Teardown

    reason = getattr(options, "reason", None)
    wanted = Teardown(
        revoke=getattr(options, "revoke", False) or reason is not None,
        purge=getattr(options, "purge", False),
        reason=parse_reason(reason or "cessationOfOperation"),
    )
    clock = SystemClock()
    run = make_run(options, load_config(options), console, clock)
    with stop_on_signals(clock, run.abort):
        result = run.retire(options.names, wanted)
    return show(result, options, console)
