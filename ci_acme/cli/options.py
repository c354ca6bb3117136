"""The parser, made of tables, and what comes from `CI_ACME_<OPTION>` where the command line does not say it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from ci_acme.cli.commands import COMMANDS, GLOBAL_OPTIONS
from ci_acme.config.options import OPTIONS, Option, flag_value
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
ISSUE: Final = (
    Option("force", "renew even if nothing is due", flag=True),
    Option("dry_run", "the same as `ci-acme plan`", flag=True),
    Option("allow_new_account", "let a run in CI register an ACME account", flag=True),
)
INVENTORY: Final = (
    Option("expiring", "only those that end within this time, such as 14d", "TIME"),
    Option("format", "the form of the list (default: table)", choices=("table", "json", "csv", "ics", "html")),
)
INIT: Final = (
    Option("file", "the file to write (default: ci-acme.yaml; - for stdout)", "FILE"),
    Option("overwrite", "replace a file that is there", flag=True),
    Option("no_input", "ask nothing; take flags and defaults", flag=True),
)
DEMO: Final = (
    Option("directory", "where to leave the config and the certificate (default: ci-acme-demo)", "DIR"),
    Option("keep_running", "leave the sandbox CA running until Ctrl-C", flag=True),
)
CONFIG: Final[tuple[tuple[str, str, tuple[Option, ...]], ...]] = (
    ("validate", "read the config and report every problem", SOURCE),
    ("show", "the resolved config, with the origin of every value and secrets as references", SOURCE),
    ("schema", "the JSON Schema of the config file, for editors", ()),
    ("init", "write a commented config file", (*SOURCE, *INIT)),
)
READ_HERE: Final = tuple(
    option for option in (*GLOBALS, *RUN, *ISSUE, *INVENTORY, *INIT, *DEMO) if option not in OPTIONS
)
"""Options whose variables are read here; those that say configuration are read with it, for the origin of values."""


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and exiting."""
        raise UsageError(f"{self.prog}: {message}", fix=f"see `{self.prog} --help`")


def parse(arguments: list[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """The options of a command line; those not given have their variable's value, if it is set.

    Raises `UsageError`. An option that nobody gives is not in the namespace. An empty variable counts as unset.
    """
    namespace = build().parse_args(arguments)
    for option in READ_HERE:
        text = environ.get(option.variable, "").strip()
        if text and not hasattr(namespace, option.name):
            setattr(namespace, option.name, _from_text(option, text))
    return namespace


def build() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(prog="ci-acme", add_help=False, allow_abbrev=False)
    _add(parser, GLOBALS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (
        _command(commands, "issue", (*ISSUE, *RUN)),
        _command(commands, "plan", RUN),
        _command(commands, "check", RUN),
    ):
        command.add_argument(
            "names", nargs="*", metavar="NAME", default=[], help="certificates of the config (default: all)"
        )
    _command(commands, "cleanup", RUN)
    _command(commands, "inventory", (*INVENTORY, *RUN))
    config = _command(commands, "config", ())
    actions = config.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, summary, options in CONFIG:
        _subparser(actions, action, summary, (*GLOBALS, *options))
    _command(commands, "demo", DEMO)
    _command(commands, "version", ())
    return parser


def _command(commands: Any, name: str, options: tuple[Option, ...]) -> argparse.ArgumentParser:
    return _subparser(commands, name, _SUMMARY[name], (*GLOBALS, *options))


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
