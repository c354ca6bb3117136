"""`ci-acme inventory`: every certificate, where it is, whose it is and when it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console
from ci_acme.cli.running import make_run
from ci_acme.cli.signals import stop_on_signals
from ci_acme.cli.source import load_config
from ci_acme.clock import SystemClock
from ci_acme.core.inventory import Row, document, expiring
from ci_acme.errors import UsageError


def main(options: Any, console: Console) -> int:
    """List, in the form that is asked for."""
    within = _within(getattr(options, "expiring", None))
    clock = SystemClock()
    run = make_run(options, load_config(options), console, clock, dry_run=True)
    with stop_on_signals(clock, run.abort):
        rows = run.inventory()
    now = clock.now()
    if within is not None:
        rows = expiring(rows, within, now)
    console.close()
    form = getattr(options, "format", "json" if wants_json(options) else "table")
    sys.stdout.write(_render(form, rows, now))
    return 0


def _render(form: str, rows: Sequence[Row], now: datetime) -> str:
    from ci_acme.core import listing

    if form == "json":
        return json.dumps(document(rows, now), indent=2) + "\n"
    if form == "csv":
        return listing.as_csv(rows)
    if form == "ics":
        return listing.as_calendar(rows, now)
    return listing.as_html(rows, now) if form == "html" else listing.as_table(rows) + "\n"


def _within(text: str | None) -> timedelta | None:
    if text is None:
        return None
    from ci_acme.config.fields import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--expiring {text!r} {error}", fix="give a time like --expiring 14d") from None
