"""`ci-acme cleanup`: remove challenge records that interrupted runs left."""

from __future__ import annotations

import json
from typing import Any

from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console
from ci_acme.cli.running import make_run
from ci_acme.cli.signals import stop_on_signals
from ci_acme.cli.source import load_config
from ci_acme.clock import SystemClock
from ci_acme.errors import worst_exit_status

SCHEMA = "ci-acme/cleanup/1"


def main(options: Any, console: Console) -> int:
    """Replay the journal; 0 if nothing is left."""
    clock = SystemClock()
    run = make_run(options, load_config(options), console, clock)
    with stop_on_signals(clock, run.abort):
        found = run.cleanup()
    status = worst_exit_status([one.error.exit_status for one in found if one.error])
    console.close()
    if wants_json(options):
        print(
            json.dumps({"schema": SCHEMA, "exit_code": status, "records": [one.as_dict() for one in found]}, indent=2)
        )
        return status
    for one in {(one.item.zone.name, one.item.name, one.item.value, one.error is None): one for one in found}.values():
        what = f'{one.item.name} TXT "{one.item.value}" in zone {one.item.zone.name}'
        if one.error is None:
            print(f"removed {what}")
        else:
            print(f"perhaps left: {what}\n  error: {one.error.message}\n  fix: {one.error.fix}")
    if not found:
        print("nothing is left of earlier runs")
    return status
