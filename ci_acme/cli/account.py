"""`ci-acme account`: register, show, update, rotate-key, deactivate. Each may be repeated."""

from __future__ import annotations

import json
import sys
from typing import Any

from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console
from ci_acme.cli.running import make_run
from ci_acme.cli.signals import stop_on_signals
from ci_acme.cli.source import chosen_authority, load_config
from ci_acme.clock import SystemClock
from ci_acme.core.account import AccountReport
from ci_acme.errors import UsageError

QUESTIONS = {
    "register": "the CA's terms of service are at {0}\nDo you agree to them?",
    "deactivate": "No key will ever work again for the account {0}; its certificates stay valid.\nDeactivate it?",
}


def main(options: Any, console: Console) -> int:
    """Do what `options.action` says, and show the account."""
    asking = sys.stdin.isatty() and sys.stderr.isatty()
    sure = getattr(options, "yes", False)
    if options.action == "deactivate" and not sure and not asking:
        raise UsageError("deactivating an account cannot be undone, and nobody can be asked here", fix="give --yes")

    def agree(subject: str) -> bool:
        if options.action == "deactivate" and sure:
            return True
        return asking and _yes(QUESTIONS[options.action].format(subject))

    clock = SystemClock()
    loaded = load_config(options)
    authority = getattr(options, "authority", None) or chosen_authority(options, loaded)
    run = make_run(options, loaded, console, clock)
    with stop_on_signals(clock, run.abort):
        report = run.account(options.action, authority, agree)
    console.close()
    print(json.dumps(report.as_dict(), indent=2) if wants_json(options) else _text(report))
    return 0


def _yes(question: str) -> bool:
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _text(report: AccountReport) -> str:
    agreed = {True: " (agreed to)", False: " (not agreed to)", None: ""}[report.terms_agreed]
    rows = {
        "account": report.url or "not shown by the CA",
        "status": report.status,
        "contact": ", ".join(report.contact) or "none that the CA shows",
        "terms": f"{report.terms_of_service}{agreed}" if report.terms_of_service else "",
        "external": "bound to an external account" if report.external_account else "",
        "key": f"{report.key_type}, {report.key}",
        "thumbprint": report.thumbprint,
        "before": report.previous_thumbprint or "",
        "directory": report.directory,
    }
    head = f"{report.authority}: {report.action}"
    if report.action == "deactivated" and not report.changed:
        head += " before"
    return "\n".join([head, *(f"  {name:<11}{value}" for name, value in rows.items() if value)])
