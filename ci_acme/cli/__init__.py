"""The command line. `--version` and `--help` are answered here, before anything is imported: start-up is CI latency."""

from __future__ import annotations

import sys

from ci_acme.cli.commands import COMMANDS, GLOBAL_OPTIONS
from ci_acme.cli.streams import Streams

_QUESTIONS = frozenset({"-h", "--help", "--version"})
"""Options that are answered whatever else is asked."""


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status (CONTRACT section 2). Ctrl-C is never a traceback."""
    try:
        with Streams() as streams:
            status = _main(argv)
        return streams.status(status)
    except KeyboardInterrupt:
        return 130


def _main(argv: list[str] | None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if arguments in (["--version"], ["version"]):
        from ci_acme import __version__

        print(f"ci-acme {__version__}")
        return 0
    if not arguments or arguments in (["-h"], ["--help"], ["help"]):
        print(top_help())
        return 0 if arguments else 2
    if arguments[0] == "help":  # ci-acme help COMMAND
        arguments = ["--help", *arguments[1:]]
    before, rest = _at_command(arguments)
    others = [part for part in before if part not in _QUESTIONS]
    if "--version" in before:
        arguments = ["version", *others, *rest]
    elif len(others) < len(before):
        if not rest:
            print(top_help())
            return 0
        arguments = [*others, *rest, "--help"]
    from ci_acme.cli.app import run

    return run(arguments)


def _at_command(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What stands before the command, and the command with the rest."""
    with_value = {name.split()[0] for name, _ in GLOBAL_OPTIONS if " " in name}
    index = 0
    while index < len(arguments) and arguments[index].startswith("-"):
        index += 2 if arguments[index] in with_value else 1
    return arguments[:index], arguments[index:]


def top_help() -> str:
    """What `ci-acme --help` prints."""
    width = max(len(name) for name, _ in (*COMMANDS, *GLOBAL_OPTIONS))
    lines = [
        "usage: ci-acme [options] COMMAND [...]",
        "",
        "Get TLS certificates into the places where deployments need them, from inside a pipeline.",
        "",
        "commands:",
        *(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS),
        "",
        "options, before or after the command; each has an environment variable CI_ACME_<OPTION>:",
        *(f"  {name:<{width}}  {summary}" for name, summary in GLOBAL_OPTIONS),
        "",
        "`ci-acme COMMAND --help` has the rest. Try `ci-acme demo`: it needs nothing but this installation.",
    ]
    return "\n".join(lines)
