"""The command line. `--version` and `--help` are answered here, before anything is imported: start-up is CI latency."""

from __future__ import annotations

import sys

from ci_acme.cli.commands import COMMANDS, GLOBAL_OPTIONS
from ci_acme.cli.streams import Streams


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
    if arguments[0] == "--version":
        arguments = ["version", *arguments[1:]]
    elif arguments[0] in {"-h", "--help", "help"}:  # ci-acme help COMMAND
        arguments = [*arguments[1:], "--help"]
    from ci_acme.cli.app import run

    return run(arguments)


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
