"""A result to whoever shows it beside stdout: a report file, a dotenv report, outputs and summary of a CI job."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ci_acme.cli.console import Console

_T = TypeVar("_T")


def announce(document: Mapping[str, Any], options: Any, console: Console) -> None:
    """Write what the options and the CI system want. What cannot be written is a warning: the run is done."""
    options.announced = True
    report: str | None = getattr(options, "report", None) or _for_later_steps(document)
    dotenv = getattr(options, "dotenv", None) or None
    if report and not _try(f"the report {report}", functools.partial(_write, report, document), console):
        report = None
    if dotenv is not None:
        from ci_acme.hosts.dotenv import write_dotenv

        _try(f"the dotenv report {dotenv}", lambda: write_dotenv(dotenv, document), console)
    if "GITHUB_OUTPUT" in os.environ or "GITHUB_STEP_SUMMARY" in os.environ:
        from ci_acme.core.summary import as_markdown
        from ci_acme.hosts import github

        if github.active(os.environ):
            said = _try("the job's outputs", lambda: github.write_outputs(document, report, os.environ), console)
            for text in said or ():
                console.warning(text)
            if not getattr(options, "no_summary", False):
                _try("the job's summary", lambda: github.write_summary(as_markdown(document), os.environ), console)


def _for_later_steps(document: Mapping[str, Any]) -> str | None:
    """Where a step of a GitHub job leaves its report unasked: the output of that name has to lead somewhere."""
    directory = os.environ.get("RUNNER_TEMP")
    if not directory or not os.environ.get("GITHUB_OUTPUT") or os.environ.get("GITHUB_ACTIONS") != "true":
        return None
    return str(Path(directory, f"ci-acme-{document['command']}-{os.urandom(8).hex()}.json"))


def _write(path: str, document: Mapping[str, Any]) -> bool:
    Path(path).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return True


def _try(what: str, write: Callable[[], _T], console: Console) -> _T | None:
    try:
        return write()
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        console.warning(f"{what} cannot be written: {getattr(error, 'strerror', None) or error}")
        return None
