"""The parser, made of tables, and what comes from `CI_ACME_<OPTION>` where the command line does not say it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from ci_acme.cli.commands import COMMANDS, GLOBAL_OPTIONS
from ci_acme.config.options import OPTIONS, Option, flag_value
from ci_acme.dataclass import dataclass
from ci_acme.errors import UsageError

_SUMMARY: Final = {**dict(COMMANDS), **dict(GLOBAL_OPTIONS)}

GLOBALS: Final = (
    Option("config", _SUMMARY["--config FILE"], "FILE"),
    Option("output", _SUMMARY["--output text|json"], choices=("text", "json")),
    Option("log_level", _SUMMARY["--log-level LEVEL"], choices=("error", "warning", "info", "debug")),
    Option("log_format", _SUMMARY["--log-format text|json"], choices=("text", "json")),
    Option("no_color", _SUMMARY["--no-color"], flag=True),
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
    Option("revoke_certificate", "the certificate in this file, PEM or DER", "FILE", word="certificate"),
    Option("revoke_serial", "the certificate with this serial number in a store of the config", "HEX", word="serial"),
    Option("revoke_reason", "unspecified, keyCompromise, superseded, … (RFC 5280), or a number", "WHY", word="reason"),
    Option("revoke_key", "the certificate's private key, where no account may revoke it", "FILE", word="key"),
)
RETIRE: Final = (
    Option("revoke", "also revoke what no other environment uses", flag=True),
    Option("purge", "skip the recovery period of stores that have one", flag=True),
    next(option for option in REVOKE if option.word == "reason"),
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


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and exiting."""
        raise UsageError(f"{self.prog}: {message}", fix=f"see `{self.prog} --help`")


def parse(arguments: list[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """The options of a command line; those not given have their variable's value, if it is set.

    Raises `UsageError`. An option that nobody gives is not in the namespace. An empty variable counts as unset.
    """
    first = next((part for part in arguments if part in SHAPES), None)
    namespace = build(first).parse_args(arguments)
    for option in READ_HERE:
        text = environ.get(option.variable, "").strip()
        if text and not hasattr(namespace, option.name):
            setattr(namespace, option.name, _from_text(option, text))
    return namespace


def build(command: str | None = None) -> argparse.ArgumentParser:
    """The whole command line; or, as making a parser takes its time, only as much of it as `command` needs."""
    parser = Parser(prog="ci-acme", add_help=False, allow_abbrev=False)
    _add(parser, GLOBALS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, shape in SHAPES.items():
        if command in {None, name}:
            _fill(_subparser(commands, name, _SUMMARY[name], (*GLOBALS, *shape.options)), shape)
    return parser


def _fill(parser: argparse.ArgumentParser, shape: Shape) -> None:
    targets = [parser]
    if shape.actions:
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        targets = [_subparser(actions, name, summary, (*GLOBALS, *options)) for name, summary, options in shape.actions]
    if shape.positional is None:
        return
    dest, metavar, text = shape.positional
    for target in targets:
        many = dest in {"names", "files"}
        target.add_argument(
            dest, nargs="*" if many else "?", metavar=metavar, default=[] if many else argparse.SUPPRESS, help=text
        )


def _subparser(parent: Any, name: str, summary: str, options: tuple[Option, ...]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = parent.add_parser(
        name, help=summary, description=summary, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    _add(parser, options)
    return parser


def _add(parser: argparse.ArgumentParser, options: tuple[Option, ...]) -> None:
    for option in options:
        arguments: dict[str, Any] = {"help": f"{option.help} [{option.variable}]", "default": argparse.SUPPRESS}
        if option.flag:
            arguments["action"] = "store_true"
        else:
            arguments["metavar"] = option.metavar or "|".join(option.choices)
        if option.many:
            arguments["action"] = "append"
        if option.choices:
            arguments["choices"] = option.choices
        if option.number:
            arguments["type"] = float
        parser.add_argument(option.switch, dest=option.name, **arguments)


def _from_text(option: Option, text: str) -> Any:
    if option.flag:
        value = flag_value(text)
        if value is None:
            raise UsageError(f"{option.variable} is {text!r}", fix=f"set {option.variable} to true or false")
        return value
    if option.choices and text not in option.choices:
        raise UsageError(
            f"{option.variable} is {text!r}", fix=f"set {option.variable} to one of {', '.join(option.choices)}"
        )
    if option.number:
        try:
            return float(text)
        except ValueError:
            raise UsageError(f"{option.variable} is {text!r}, not a number", fix="give a number") from None
    return text
