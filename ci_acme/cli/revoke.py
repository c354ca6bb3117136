"""`ci-acme revoke`: by name, file or serial number; a certificate that was revoked before is success."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console
from ci_acme.cli.running import make_run
from ci_acme.cli.signals import stop_on_signals
from ci_acme.cli.source import chosen_authority, load_config
from ci_acme.clock import SystemClock
from ci_acme.core.account import Revocation
from ci_acme.errors import UsageError


def main(options: Any, console: Console) -> int:
    """Revoke, print the result, return its exit status."""
    from ci_acme.ca.revocation import parse_reason
    from ci_acme.runner.revoking import Wanted

    name, file, serial = _selection(options)
    reason, key = getattr(options, "reason", None), getattr(options, "revoke_key", None)
    code = None if reason is None else parse_reason(reason)
    clock = SystemClock()
    loaded = load_config(options)
    wanted = Wanted(
        name=name,
        certificate=None if file is None else Path(file),
        serial=serial,
        reason=code,
        key=None if key is None else Path(key),
        authority=chosen_authority(options, loaded),
    )
    run = make_run(options, loaded, console, clock)
    with stop_on_signals(clock, run.abort):
        report = run.revoke(wanted)
    console.close()
    for one in report.certificates if wants_json(options) else ():
        if one.error is not None:
            console.error(one.error, one.name or one.facts.serial)
    text = "\n".join(line for one in report.certificates for line in _lines(one))
    print(json.dumps(report.as_dict(), indent=2) if wants_json(options) else text)
    return report.exit_status


def _selection(options: Any) -> tuple[str | None, str | None, str | None]:
    """Name, file and serial number, of which exactly one is given. Raises `UsageError`."""
    name = getattr(options, "certificate_name", None)
    file, serial = getattr(options, "certificate", None), getattr(options, "revoke_serial", None)
    if sum(value is not None for value in (name, file, serial)) != 1:
        raise UsageError(
            "it is not clear what to revoke", fix="give one of: the NAME of a certificate, --certificate, --serial"
        )
    return name, file, serial


def _lines(one: Revocation) -> list[str]:
    head = f"{one.name or ', '.join(one.facts.names)}: {one.action}, serial {one.facts.serial}"
    if one.by is not None:
        head += f", at {one.authority} by the {one.by}"
    if one.reason is not None:
        head += f" ({one.reason})"
    lines = [head]
    if one.error is not None:
        lines += [f"  error: {one.error.message} [{one.error.code}]", f"  fix: {one.error.fix}"]
    lines += [f"  {store.provider}:{store.target} {store.action}" for store in one.stores]
    return [*lines, f"  next: {one.next}"] if one.next else lines
