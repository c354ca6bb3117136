"""What every command takes, as tables; `parser` makes the command line of them."""

from __future__ import annotations

from typing import Final

from ci_acme.cli.commands import COMMANDS, GLOBAL_OPTIONS
from ci_acme.config.options import OPTIONS, Option
from ci_acme.dataclass import dataclass

SUMMARY: Final = {**dict(COMMANDS), **dict(GLOBAL_OPTIONS)}

GLOBALS: Final = (
    Option("config", SUMMARY["--config FILE"], "FILE"),
    Option("output", SUMMARY["--output text|json"], choices=("text", "json")),
    Option("log_level", SUMMARY["--log-level LEVEL"], choices=("error", "warning", "info", "debug")),
    Option("log_format", SUMMARY["--log-format text|json"], choices=("text", "json")),
    Option("no_color", SUMMARY["--no-color"], flag=True),
)
SOURCE: Final = (
    Option("environment", "what ${environment} stands for (default: what the CI system says)", "NAME"),
    *OPTIONS,
)
RUN: Final = (*SOURCE, Option("timeout", "seconds for the whole run (default: 900)", "SECONDS", number=True))
REPORTS: Final = (
    Option("report", "also write the result document to this file", "FILE"),
    Option("dotenv", "also write CI_ACME_CHANGED, CI_ACME_NOT_AFTER and CI_ACME_SERIAL to this file", "FILE"),
    Option("no_summary", "add nothing to the summary of a GitHub job", flag=True),
)
CHECK: Final = (Option("trust_policy", "judge this trust policy of an AWS role by the job's identity token", "FILE"),)
PLAN: Final = (Option("matrix", "print a job matrix of what is to do, for fan-out", choices=("github", "gitlab")),)
ISSUE: Final = (
    Option("force", "renew even if nothing is due", flag=True),
    Option("dry_run", "the same as `ci-acme plan`", flag=True),
    Option("allow_new_account", "let a run in CI register an ACME account", flag=True),
)
INVENTORY: Final = (
    Option("expiring", "only those that end within this time, such as 14d", "TIME"),
    Option("format", "the form of the list (default: table)", choices=("table", "json", "csv", "ics", "html")),
)
MONITOR: Final = (Option("metrics", "also write OpenMetrics to this file", "FILE"),)
INIT: Final = (
    Option("file", "the file to write (default: ci-acme.yaml; - for stdout)", "FILE"),
    Option("overwrite", "replace a file that is there", flag=True),
    Option("no_input", "ask nothing; take flags and defaults", flag=True),
)
DEMO: Final = (
    Option("directory", "where to leave the config and the certificate (default: ci-acme-demo)", "DIR"),
    Option("keep_running", "leave the sandbox CA running until Ctrl-C", flag=True),
)
YES: Final = (Option("yes", "do it without a question", flag=True),)
ACCOUNT: Final[tuple[tuple[str, str, tuple[Option, ...]], ...]] = (
    ("register", "make the account key, if there is none, and register it; shows an account that is there", RUN),
    ("show", "the account's URL, status, contacts, terms and key", RUN),
    ("update", "let the account have the contacts of the config, or --email", RUN),
    ("rotate-key", "give the account a new key, in the file that account_key names", RUN),
    ("deactivate", "end the account for good", (*YES, *RUN)),
)
REVOKE: Final = (
    Option("certificate", "the certificate in this file, PEM or DER", "FILE"),
    Option("revoke_serial", "the certificate with this serial number in a store of the config", "HEX", word="serial"),
    Option("reason", "unspecified, keyCompromise, superseded, … (RFC 5280), or a number", "WHY"),
    Option("revoke_key", "the certificate's private key, where no account may revoke it", "FILE", word="key"),
)
RETIRE: Final = (
    Option("revoke", "also revoke what no other environment uses", flag=True),
    Option("purge", "skip the recovery period of stores that have one", flag=True),
    next(option for option in REVOKE if option.name == "reason"),
)
PERMISSIONS: Final = (Option("offline", "ask neither the DNS for CNAMEs nor a CA for its CAA name", flag=True),)
CONFIG: Final[tuple[tuple[str, str, tuple[Option, ...]], ...]] = (
    ("validate", "read the config and report every problem", SOURCE),
    ("show", "the resolved config, with the origin of every value and secrets as references", SOURCE),
    ("extras", "the Python extras that the config needs: pip install 'ci-acme[EXTRA]'", SOURCE),
    ("schema", "the JSON Schema of the config file, for editors", ()),
    ("init", "write a commented config file", (*SOURCE, *INIT)),
)
READ_HERE: Final = tuple(
    option
    for option in (
        *GLOBALS,
        *RUN,
        *ISSUE,
        *YES,
        *REVOKE,
        *RETIRE,
        *PERMISSIONS,
        *REPORTS,
        *CHECK,
        *PLAN,
        *INVENTORY,
        *MONITOR,
        *INIT,
        *DEMO,
    )
    if option not in OPTIONS
)
"""Options whose variables are read here; those that say configuration are read with it, for the origin of values."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A command's options, its positional argument (attribute, metavar, help), and its actions, if it has any."""

    options: tuple[Option, ...] = ()
    positional: tuple[str, str, str] | None = None
    actions: tuple[tuple[str, str, tuple[Option, ...]], ...] = ()


_NAMES: Final = ("names", "NAME", "certificates of the config (default: all)")
_TAKEN: Final = {option.switch for option in REVOKE}
SHAPES: Final = {
    "issue": Shape((*ISSUE, *REPORTS, *RUN), _NAMES),
    "plan": Shape((*PLAN, *REPORTS, *RUN), _NAMES),
    "check": Shape((*CHECK, *RUN), _NAMES),
    "cleanup": Shape(RUN),
    "retire": Shape((*RETIRE, *REPORTS, *RUN), _NAMES),
    "report": Shape(REPORTS, ("files", "FILE", "result documents that --report has written, or directories of them")),
    "permissions": Shape((*PERMISSIONS, *RUN), _NAMES),
    "inventory": Shape((*INVENTORY, *RUN)),
    "monitor": Shape((*MONITOR, *REPORTS, *RUN), _NAMES),
    "account": Shape(positional=("authority", "AUTHORITY", "of the config (default: the only one)"), actions=ACCOUNT),
    "revoke": Shape(
        (*REVOKE, *(option for option in RUN if option.switch not in _TAKEN)),
        ("certificate_name", "NAME", "a certificate of the config"),
    ),
    "config": Shape(actions=CONFIG),
    "demo": Shape(DEMO),
    "version": Shape(),
}
"""Every command of `commands.COMMANDS`."""
