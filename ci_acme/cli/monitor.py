"""`ci-acme monitor`: one line an alert, each with its fix; exit status 9 when one fires."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ci_acme.cli.announce import announce
from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console
from ci_acme.cli.running import make_run
from ci_acme.cli.signals import stop_on_signals
from ci_acme.cli.source import load_config
from ci_acme.clock import SystemClock
from ci_acme.core.alerts import Alert, Report
from ci_acme.core.listing import plain
from ci_acme.errors import Finding, UsageError

_COLORS = {"critical": "red", "warning": "yellow", "notice": "dim"}
_LEVELS = {"critical": "error", "warning": "warning", "notice": "notice"}


def main(options: Any, console: Console) -> int:
    """Look, tell whoever wants to know, return 0 or 9."""
    from ci_acme.runner.monitoring import summary_line

    clock = SystemClock()
    run = make_run(options, load_config(options), console, clock, dry_run=True)
    with stop_on_signals(clock, run.abort):
        report = run.monitor(options.names)
    status = Finding.exit_status if report.firing else 0
    document = report.as_dict(status)
    for alert in report.alerts:
        console.annotate(_LEVELS[alert.severity], f"{alert.message}\nfix: {alert.fix}", alert.certificate or "")
    console.close()
    if wants_json(options):
        print(json.dumps(document, indent=2))
    else:
        print("\n".join([*(_text(alert, console) for alert in report.alerts), summary_line(report)]))
    announce(document, options, console)
    metrics = getattr(options, "metrics", None)
    if metrics is not None:
        _write_metrics(Path(metrics), report)
    return status


def _write_metrics(path: Path, report: Report) -> None:
    from ci_acme.monitor.metrics import as_openmetrics, write

    try:
        write(path, as_openmetrics(report))
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"--metrics {path} cannot be written: {reason}", fix="name a file that can be") from None


def _text(alert: Alert, console: Console) -> str:
    about = alert.certificate or plain(alert.subject)
    where = f" ({plain(alert.subject)})" if alert.certificate and alert.subject != alert.certificate else ""
    head = f"{console.paint(f'{alert.severity:<9}', _COLORS[alert.severity])}{alert.kind:<17}{about}{where}: "
    return f"{head}{plain(alert.message)}\n         fix: {plain(alert.fix)}"
