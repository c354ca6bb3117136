"""A result to whoever shows it beside stdout: a report file, a dotenv report, outputs and summary of a CI job."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ci_acme.cli.console import Console

_T = TypeVar("_T")


def announce(document: Mapping[str, Any], options: Any, console: Console) -> None:
    """Write what the options and the CI system want. What cannot be written is a warning: the run is done."""
    report = getattr(options, "report", None)
    dotenv = getattr(options, "dotenv", None)
    if report is not None:
        _try(f"the report {report}", lambda: _write(report, document), console)
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


def _write(path: str, document: Mapping[str, Any]) -> None:
    Path(path).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _try(what: str, write: Callable[[], _T], console: Console) -> _T | None:
    try:
        return write()
    except OSError as error:
        console.warning(f"{what} cannot be written: {error.strerror or error}")
        return None
