"""`ci-acme demo`: the whole main job on this machine alone, against a sandbox CA and DNS server on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TextIO

from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console
from ci_acme.cli.signals import stop_on_signals
from ci_acme.clock import SystemClock
from ci_acme.config.load import load
from ci_acme.core.report import Outcome, Result
from ci_acme.errors import CiAcmeError, UsageError
from ci_acme.model.events import Event, Step, Warned
from ci_acme.runner import Run, RunOptions
from ci_acme.sandbox import DEMO_ZONE, Sandbox

CONFIG: Final = "ci-acme.yaml"
MARKER: Final = ".ci-acme-demo"

TEMPLATE: Final = """\
# The config of `ci-acme demo`: edit it for the real thing. Relative paths are taken from the working directory.
version: 1

authorities:
  sandbox:
    directory: {directory}    # for the real thing: letsencrypt-staging, then letsencrypt
    ca_bundle: {ca_bundle}                     # remove it: a public CA is trusted by the system
    contact: [ops@example.com]
    agree_terms: true                                # you agree to the CA's terms of service
    account_key: file:.ci-acme/account.pem           # in CI: env:NAME, from the CI system's secrets

dns:
  - zone: {zone}                                  # your zone
    provider: rfc2136
    server: {dns}                         # its primary name server
    tsig_name: {tsig_name}
    tsig_secret: file:tsig.key                       # in CI: env:NAME; a secret is always a reference

resolver:
  nameservers: [{dns}]                    # remove it: the zone's own servers are found by themselves

certificates:
  demo:
    names: [{zone}, "*.{zone}"]
    stores:
      - {{provider: file, directory: certs}}
"""


def main(options: Any, console: Console) -> int:
    """Run the demo; everything that it leaves is in one directory."""
    directory = Path(getattr(options, "directory", None) or "ci-acme-demo")
    try:
        _prepare(directory)
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be written: {error.strerror or error}", fix="name another one with --directory"
        ) from None
    clock = SystemClock()
    json_wanted = wants_json(options)
    say = _Lines(sys.stderr if json_wanted else sys.stdout)
    with Sandbox(directory / "sandbox") as sandbox:
        _write(directory, sandbox)
        here = Path.cwd()
        os.chdir(directory)
        try:
            status, result = _tell(sandbox, directory, clock, say)
            if json_wanted:
                print(json.dumps(result.as_dict(), indent=2), flush=True)
            if status == 0 and getattr(options, "keep_running", False):
                _stay(sandbox, clock, say)
        finally:
            os.chdir(here)
    return status


class _Lines:
    """Numbered lines: the result, or beside it where that is a document."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._number = 0

    def __call__(self, text: str) -> None:
        self._number += 1
        print(f"{self._number:>2}  {text}", file=self._stream, flush=True)

    def failed(self, error: CiAcmeError) -> None:
        """The end, in place of the last lines."""
        print(f"    the demo failed: {error.message}\n    fix: {error.fix}", file=self._stream, flush=True)


def _tell(sandbox: Sandbox, directory: Path, clock: SystemClock, say: _Lines) -> tuple[int, Result]:
    """The exit status, and the result of the run that ordered or failed."""
    config = directory / CONFIG
    say(
        f"A sandbox CA speaks ACME (RFC 8555) at {sandbox.directory_url}. Nothing trusts it; only this machine sees it."
    )
    say(f"A DNS server for {DEMO_ZONE} answers at {sandbox.dns_address} and takes signed updates (RFC 2136).")
    say(f"{config} says: {DEMO_ZONE} and *.{DEMO_ZONE}, from that CA, proven through that DNS, into certs/.")
    try:
        planned, _ = _run(clock, "plan", dry_run=True)
        say(f"plan: {planned.action}: {planned.reason}.")
        events: list[str] = []
        issued, result = _run(clock, "issue", events=events)
        say(f"issue: {'; '.join(events)}.")
        say(
            f"issue: {issued.action} in {issued.seconds['total']:.2f} s with {issued.acme_requests} requests to the CA "
            f"and {issued.dns_changes} DNS changes; no challenge record is left."
        )
        kept, _ = _run(clock, "issue")
        say(f"issue again: {kept.action}: {kept.reason}. A pipeline may run it every time.")
    except _Failed as failure:
        say.failed(failure.error)
        return failure.error.exit_status, failure.result
    say(f"Key, certificate and chain are in {directory / 'certs' / 'demo'}, put there as one.")
    say(f"The real thing: edit {config} (its comments say what), then: cd {directory} && {_command()} issue")
    return 0, result


def _command() -> str:
    """What a shell finds this program by: `make demo` runs one that is not in its path."""
    if shutil.which("ci-acme") is not None:
        return "ci-acme"
    beside = Path(sys.executable).with_name("ci-acme")
    return shlex.quote(str(beside)) if beside.exists() else f"{shlex.quote(sys.executable)} -P -m ci_acme"


def _run(
    clock: SystemClock, command: str, *, dry_run: bool = False, events: list[str] | None = None
) -> tuple[Outcome, Result]:
    def notify(event: Event) -> None:
        if events is not None and isinstance(event, Step | Warned) and not event.text.startswith("request "):
            events.append(event.text)

    loaded = load(Path(CONFIG), overrides={}, environ={}, environment=None)
    options = RunOptions(command=command, dry_run=dry_run, allow_new_account=True, timeout=60)
    run = Run(loaded.config, options, clock=clock, notify=notify, environ=os.environ)
    with stop_on_signals(clock, run.abort):
        result = run.issue([])
    result.command = "demo"
    (outcome,) = result.certificates
    if outcome.error is not None:
        raise _Failed(outcome.error, result)
    return outcome, result


class _Failed(Exception):
    """A run of the demo that did not go well."""

    def __init__(self, error: CiAcmeError, result: Result) -> None:
        super().__init__(str(error))
        self.error = error
        self.result = result


def _stay(sandbox: Sandbox, clock: SystemClock, say: Callable[[str], None]) -> None:
    say("The sandbox runs until Ctrl-C: try `ci-acme issue --force` in the demo's directory, from another terminal.")
    with stop_on_signals(clock, lambda: None):
        while not clock.stopped:
            clock.shielded().sleep(0.2)


def _prepare(directory: Path) -> None:
    """Make the directory, or take over one of an earlier demo; an edited config is kept under another name."""
    marker = directory / MARKER
    if directory.exists() and any(directory.iterdir()) and not marker.exists():
        raise UsageError(
            f"{directory} exists and is not of an earlier demo", fix="name another one with --directory, or remove it"
        )
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / CONFIG
    if config.exists() and marker.read_text().strip() != _digest(config):
        config.replace(directory / f"{CONFIG}.edited")


def _write(directory: Path, sandbox: Sandbox) -> None:
    key = directory / "tsig.key"
    key.unlink(missing_ok=True)
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(sandbox.tsig_secret.reveal())
    config = directory / CONFIG
    config.write_text(
        TEMPLATE.format(
            directory=sandbox.directory_url,
            ca_bundle=sandbox.ca_bundle.relative_to(directory).as_posix(),
            dns=sandbox.dns_address,
            zone=DEMO_ZONE,
            tsig_name=sandbox.tsig_name,
        )
    )
    (directory / MARKER).write_text(_digest(config) + "\n")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
