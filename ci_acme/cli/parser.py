"""The parser, made of tables, and what comes from `CI_ACME_<OPTION>` where the command line does not say it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from ci_acme.cli.options import GLOBALS, READ_HERE, RUN, SHAPES, SUMMARY, Shape
from ci_acme.config.options import Option, flag_value
from ci_acme.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are ours."""

    actions: tuple[str, ...] = ()
    _shows = False

    def format_help(self) -> str:
        """The help, as wide as the terminal."""
        self._shows = True
        return super().format_help()

    def _get_formatter(self) -> argparse.HelpFormatter:
        """Each option that is added asks for one; the terminal's width, which costs 2 ms, is for help alone."""
        return argparse.HelpFormatter(self.prog, width=None if self._shows else 80)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and exiting."""
        fix = f"see `{self.prog} --help`"
        if self.actions and "ACTION" in message:
            fix = f"give one of {', '.join(self.actions)}; {fix}"
        raise UsageError(f"{self.prog}: {message}", fix=fix)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raise with the nearest choice: argparse only lists them."""
        if action.choices is not None and value not in action.choices:
            name = action.option_strings[0] if action.option_strings else str(action.metavar)
            self.error(_no_choice(name, str(value), list(action.choices)))


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """The options of a command line; those not given have their variable's value, if it is set.

    Raises `UsageError`. An option that nobody gives is not in the namespace. An empty variable counts as unset.
    """
    namespace, rest = build(command_of(arguments)).parse_known_args(arguments)
    if rest:
        raise _unknown(rest[0], namespace.command, getattr(namespace, "action", ""))
    for option in READ_HERE:
        text = environ.get(option.variable, "").strip()
        if text and not hasattr(namespace, option.name):
            setattr(namespace, option.name, _from_text(option, text))
    timeout = getattr(namespace, "timeout", None)
    if timeout is not None and not 0 < timeout < math.inf:
        raise UsageError(f"the timeout {timeout:g} is no time to run in", fix="give --timeout in seconds, more than 0")
    return namespace


def command_of(arguments: Sequence[str]) -> str:
    """The command among the arguments; only global options may stand before it. Raises `UsageError`."""
    takes = {option.switch: not option.flag for option in GLOBALS}
    parts = iter(arguments)
    for part in parts:
        if not part.startswith("-"):
            if part in SHAPES:
                return part
            raise UsageError(f"ci-acme: {_no_choice('COMMAND', part, list(SHAPES))}", fix="see `ci-acme --help`")
        switch, equals, _ = part.partition("=")
        if switch not in takes:
            raise _unknown(part)
        if takes[switch] and not equals:
            next(parts, None)
    raise UsageError("ci-acme: there is no COMMAND", fix="see `ci-acme --help`")


def _unknown(word: str, command: str = "", action: str = "") -> UsageError:
    """What nothing takes: an option, or one argument too many. A value is not shown, it may be a secret."""
    where = " ".join(filter(None, ("ci-acme", command, action)))
    switch = word.partition("=")[0]
    if not word.startswith("-"):
        return UsageError(f"{where}: there is an argument too many", fix=f"see `{where} --help`")
    if not command and any(switch == option.switch for shape in SHAPES.values() for option in shape.options):
        return UsageError(f"ci-acme: {switch} comes after the command", fix=f"write ci-acme COMMAND {switch}")
    shape = SHAPES.get(command, Shape())
    own = next((options for name, _, options in shape.actions if name == action), shape.options)
    close = _nearest(switch, [option.switch for option in (*GLOBALS, *own)])
    return UsageError(f"{where}: there is no option {switch}{close}", fix=f"see `{where} --help`")


def _no_choice(what: str, value: str, choices: Sequence[str]) -> str:
    return f"{what}: {value!r} is not one of {', '.join(choices)}{_nearest(value, choices)}"


def _nearest(word: str, known: Sequence[str]) -> str:
    from ci_acme.config.problems import nearest  # errors only

    by_word = {name.lstrip("-"): name for name in known}
    close = nearest(word.lstrip("-"), list(by_word))
    return "" if close is None else f"; did you mean {by_word[close]}?"


def build(command: str | None = None) -> argparse.ArgumentParser:
    """The whole command line; or, as making a parser takes its time, only as much of it as `command` needs."""
    parser = Parser(prog="ci-acme", add_help=False, allow_abbrev=False)
    _add(parser, GLOBALS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, shape in SHAPES.items():
        if command in {None, name}:
            _fill(_subparser(commands, name, SUMMARY[name], shape.options), shape)
    return parser


def _fill(parser: Parser, shape: Shape) -> None:
    targets = [parser]
    if shape.actions:
        parser.actions = tuple(name for name, _, _ in shape.actions)
        parser.usage = f"{parser.prog} [options] ACTION"
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, prog=parser.prog)
        targets = [_subparser(actions, name, summary, options) for name, summary, options in shape.actions]
    if shape.positional is None:
        return
    dest, metavar, text = shape.positional
    many = dest in {"names", "files"}
    for target in targets:
        target.usage = f"{target.prog} [options] [{metavar}{' ...' if many else ''}]"
        target.add_argument(
            dest, nargs="*" if many else "?", metavar=metavar, default=[] if many else argparse.SUPPRESS, help=text
        )


def _subparser(parent: Any, name: str, summary: str, options: tuple[Option, ...]) -> Parser:
    """A parser whose help has the options in groups: a command's own first, those of every command last."""
    parser: Parser = parent.add_parser(
        name, help=summary, description=summary, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    parser.usage = f"{parser.prog} [options]"
    shared = [option for option in options if option in RUN]
    _add(parser, [option for option in options if option not in shared])
    _add(
        parser.add_argument_group("instead of what the config file says"),
        [option for option in shared if option.with_file],
    )
    _add(parser.add_argument_group("without a config file"), [option for option in shared if not option.with_file])
    _add(parser.add_argument_group("as for every command"), GLOBALS)
    return parser


def _add(
    parser: argparse._ActionsContainer,  # pyright: ignore[reportPrivateUsage] - the one name of what takes arguments
    options: Iterable[Option],
) -> None:
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
