"""The parser, and where each option's value comes from: the command line, else `CI_ACME_<OPTION>`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from ci_acme.cli.commands import COMMANDS, GLOBAL_OPTIONS
from ci_acme.errors import UsageError

_SUMMARY: Final = {**dict(COMMANDS), **dict(GLOBAL_OPTIONS)}
_TRUE: Final = {"1", "true", "yes", "on"}
_FALSE: Final = {"", "0", "false", "no", "off"}


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `kind` is text, flag, list (repeatable), choice or number; a list's variable is comma-separated."""

    flag: str
    help: str
    kind: str = "text"
    metavar: str | None = None
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The attribute: `--dry-run` is `dry_run`."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable: `--dry-run` is `CI_ACME_DRY_RUN`."""
        return "CI_ACME_" + self.name.upper()


GLOBALS: Final = (
    Option("--config", _SUMMARY["--config FILE"], metavar="FILE"),
    Option("--output", _SUMMARY["--output text|json"], "choice", choices=("text", "json")),
    Option("--log-level", _SUMMARY["--log-level LEVEL"], "choice", choices=("error", "warning", "info", "debug")),
    Option("--log-format", _SUMMARY["--log-format text|json"], "choice", choices=("text", "json")),
    Option("--no-color", _SUMMARY["--no-color"], "flag"),
)

ENVIRONMENT: Final = Option("--environment", "what ${environment} stands for (default: what the CI system says)")

SOURCE: Final = (
    ENVIRONMENT,
    Option("--domain", "a name of the certificate; repeat it. Without a config file", "list", "NAME"),
    Option("--name", "what the certificate is called (default: the first domain)", metavar="NAME"),
    Option("--dns", "the DNS provider of the file-less form", metavar="PROVIDER"),
    Option("--dns-option", "a setting of the DNS provider; repeat it", "list", "KEY=VALUE"),
    Option("--store", "a store and where in it; repeat it", "list", "STORE[:TARGET]"),
    Option("--ca", "the CA: a well-known name or a directory URL", metavar="NAME|URL"),
    Option("--ca-bundle", "PEM file to trust for a private CA", metavar="FILE"),
    Option("--email", "contact of the ACME account", metavar="ADDRESS"),
    Option("--agree-terms", "agree to the CA's terms of service", "flag"),
    Option("--account-key", "reference to the account key, e.g. file:PATH or env:NAME", metavar="REFERENCE"),
    Option("--profile", "the CA's certificate profile", metavar="NAME"),
    Option(
        "--key",
        "key type of the certificate",
        "choice",
        choices=("ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096"),
    ),
    Option("--resolver", "name server to ask, HOST[:PORT]; repeat it", "list", "SERVER"),
    Option("--state", "where a run keeps what it remembers (default: sqlite:.ci-acme/state.db)", metavar="URL"),
)

RUN: Final = (
    *SOURCE,
    Option("--timeout", "seconds for the whole run (default: 900)", "number", "SECONDS"),
)

ISSUE: Final = (
    Option("--force", "renew even if nothing is due", "flag"),
    Option("--dry-run", "the same as `ci-acme plan`", "flag"),
    Option("--allow-new-account", "let a run in CI register an ACME account", "flag"),
)


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and exiting."""
        raise UsageError(f"{self.prog}: {message}", fix=f"see `{self.prog} --help`")


def build() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(prog="ci-acme", add_help=False, allow_abbrev=False)
    _add(parser, GLOBALS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser, required=True)
    issue = _command(commands, "issue", (*ISSUE, *RUN))
    plan = _command(commands, "plan", RUN)
    for command in (issue, plan):
        command.add_argument("names", nargs="*", metavar="NAME", help="certificates of the config (default: all)")
    _command(commands, "check", RUN).add_argument("names", nargs="*", metavar="NAME")
    _command(commands, "cleanup", RUN)
    _add_config(commands)
    _command(
        commands,
        "demo",
        (
            Option("--directory", "where to leave the config and the certificate (default: ci-acme-demo)"),
            Option("--keep-running", "leave the sandbox CA running until Ctrl-C", "flag"),
        ),
    )
    _command(commands, "version", ())
    return parser


def _add_config(commands: Any) -> None:
    config = _command(commands, "config", ())
    actions = config.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser, required=True)
    for name, summary, options in (
        ("validate", "read the config and report every problem", SOURCE),
        ("show", "the resolved config, with the origin of every value and secrets as references", SOURCE),
        ("schema", "the JSON Schema of the config file, for editors", ()),
        ("init", "write a commented config file", (*SOURCE, *INIT)),
    ):
        action = actions.add_parser(
            name, help=summary, description=summary, allow_abbrev=False, argument_default=argparse.SUPPRESS
        )
        _add(action, (*GLOBALS, *options))


INIT: Final = (
    Option("--file", "the file to write (default: ci-acme.yaml; - for stdout)", metavar="FILE"),
    Option("--overwrite", "replace a file that is there", "flag"),
    Option("--no-input", "ask nothing; take flags and defaults", "flag"),
)


def _command(commands: Any, name: str, options: tuple[Option, ...]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=_SUMMARY[name], description=_SUMMARY[name], allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    _add(parser, (*GLOBALS, *options))
    return parser


def _add(parser: argparse.ArgumentParser, options: tuple[Option, ...]) -> None:
    for option in options:
        arguments: dict[str, Any] = {"help": f"{option.help} [{option.variable}]", "default": argparse.SUPPRESS}
        if option.kind == "flag":
            arguments["action"] = "store_true"
        else:
            arguments["metavar"] = option.metavar
        if option.kind == "list":
            arguments["action"] = "append"
        elif option.kind == "choice":
            arguments["choices"] = option.choices
            arguments["metavar"] = option.metavar or "|".join(option.choices)
        elif option.kind == "number":
            arguments["type"] = float
        parser.add_argument(option.flag, **arguments)


ALL: Final = {option.name: option for option in (*GLOBALS, *RUN, *ISSUE, *INIT)}


def parse(arguments: list[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """The options of a command line; those not given come from their environment variables. Raises `UsageError`.

    `namespace.origins` maps each option that was given to `--option` or `CI_ACME_OPTION`.
    """
    namespace = build().parse_args(arguments)
    given = set(vars(namespace))
    origins = {name: ALL[name].flag for name in given if name in ALL}
    for name, option in ALL.items():
        text = environ.get(option.variable)
        if name in given or text is None or (text == "" and option.kind != "flag"):
            continue
        setattr(namespace, name, _from_text(option, text))
        origins[name] = option.variable
    namespace.origins = origins
    return namespace


def _from_text(option: Option, text: str) -> Any:
    if option.kind == "flag":
        return _flag(option, text)
    if option.kind == "list":
        return [part for part in text.replace(",", " ").split() if part]
    if option.kind == "choice" and text not in option.choices:
        raise UsageError(
            f"{option.variable} is {text!r}", fix=f"set {option.variable} to one of {', '.join(option.choices)}"
        )
    if option.kind == "number":
        try:
            return float(text)
        except ValueError:
            raise UsageError(f"{option.variable} is {text!r}, not a number", fix="give a number of seconds") from None
    return text


def _flag(option: Option, text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise UsageError(f"{option.variable} is {text!r}", fix=f"set {option.variable} to true or false")
