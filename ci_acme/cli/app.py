"""Runs one command: options, console, errors and exit status in one place."""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ci_acme.cli.commands import COMMANDS
from ci_acme.cli.console import Console
from ci_acme.cli.neutral import NeutralStream, reads_commands
from ci_acme.cli.options import REPORTS, SHAPES, Shape
from ci_acme.cli.parser import parse
from ci_acme.cli.signals import EarlySignals
from ci_acme.config.options import flag_value
from ci_acme.errors import CiAcmeError, InternalError, UsageError
from ci_acme.model.secret import without_secrets

if TYPE_CHECKING:
    from ci_acme.cli.annotations import Annotator


def run(arguments: list[str]) -> int:
    """Parse, dispatch, and turn every way out into an exit status and one result document."""
    gc.disable()  # a run is short and small: collecting costs a tenth of its CPU and frees nothing that matters
    _want_no_plugins()
    early = EarlySignals()
    with early:
        return _run(arguments, early)


def _want_no_plugins() -> None:
    """Keep pydantic from looking for plug-ins of its own.

    It would import `importlib.metadata` and read every package's entry points: a tenth of the CPU of a run that keeps
    a certificate. Its variable PYDANTIC_DISABLE_PLUGINS is read after the import, and a child would inherit it.
    """
    loader = ModuleType("pydantic.plugin._loader")
    loader.__dict__["get_plugins"] = tuple
    sys.modules.setdefault(loader.__name__, loader)


def _run(arguments: list[str], early: EarlySignals) -> int:
    options = None
    console = make_console(options, os.environ)
    try:
        options = parse(arguments, os.environ)
        console = make_console(options, os.environ)
        if reads_commands(os.environ):
            sys.stdout = NeutralStream(sys.stdout, json=wants_json(options))
        module = importlib.import_module(f"ci_acme.cli.{options.command}")
        status: int = module.main(options, console)
        sys.stdout.flush()
    except SystemExit as leaving:  # argparse after --help
        return int(leaving.code or 0)
    except CiAcmeError as error:
        return _fail(error, console, arguments, options)
    except UnicodeEncodeError as error:
        return _fail(_unnameable(error), console, arguments, options)
    except Exception as error:  # the one place where a defect of ours becomes a message
        return _fail(early.came or _defect(error), console, arguments, options)
    finally:
        console.close()
    return status


def make_console(options: Any, environ: Mapping[str, str]) -> Console:
    """The console that the global options ask for."""
    plain = getattr(options, "no_color", False) or bool(environ.get("NO_COLOR"))
    annotator: Annotator | None = None
    if environ.get("GITHUB_ACTIONS") == "true":
        from ci_acme.cli.annotations import Annotator

        annotator = Annotator()
    return Console(
        level=getattr(options, "log_level", "info"),
        form=getattr(options, "log_format", "text"),
        color=False if plain else None,
        finished="info" if wants_json(options) else "debug",
        annotator=annotator,
    )


def wants_json(options: Any) -> bool:
    """Whether stdout carries one JSON document."""
    return getattr(options, "output", "text") == "json"


def _fail(error: CiAcmeError, console: Console, arguments: list[str], options: Any) -> int:
    """Say what ended a run before it had a result, wherever its result would have been."""
    console.error(error)
    if console.annotator is not None:
        console.annotator.show_problems(error)
    command = next((part for part in arguments if part in dict(COMMANDS)), "")
    document = {
        "schema": "ci-acme/result/1",
        "command": command,
        "exit_code": error.exit_status,
        "changed": False,
        "certificates": [],
        "error": error.as_dict(),
    }
    if REPORTS[0] in SHAPES.get(command, Shape()).options and not getattr(options, "announced", False):
        from ci_acme.cli.announce import announce

        announce(document, options or _reports_from_variables(), console)
    if _json_asked(arguments):
        print(json.dumps(document, indent=2))
    return error.exit_status


def _reports_from_variables() -> Namespace:
    """Who wants a report, where the command line could not be read."""
    said = {option.name: os.environ.get(option.variable, "").strip() for option in REPORTS}
    return Namespace(**{**said, "no_summary": flag_value(said["no_summary"])})


def _defect(error: Exception) -> InternalError:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    where = " <- ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames[-4:]))
    if os.environ.get("CI_ACME_TRACEBACK") == "1":
        sys.stderr.write(without_secrets("".join(traceback.format_exception(error))))
    return InternalError(
        f"a defect in ci-acme: {type(error).__name__} at {where}",
        fix="please report this line with `ci-acme version`; the message is left out as it could hold a secret, "
        "and CI_ACME_TRACEBACK=1 shows it",
    )


def _unnameable(error: UnicodeEncodeError) -> CiAcmeError:
    """A path of the config that cannot be a file's name here; with another encoding it is a defect of ours."""
    if error.encoding != sys.getfilesystemencoding() or error.encoding == "utf-8":
        raise error
    return UsageError(
        f"the encoding of file names is {error.encoding} here, and has not every character of a path",
        fix="set PYTHONUTF8=1, or a locale like LC_ALL=C.UTF-8",
    )


def _json_asked(arguments: list[str]) -> bool:
    """Also where the command line could not be parsed."""
    joined = " ".join(arguments)
    if "--output=json" in joined or "--output json" in joined:
        return True
    return "--output" not in joined and os.environ.get("CI_ACME_OUTPUT") == "json"
