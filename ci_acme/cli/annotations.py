"""Errors and warnings as annotations of GitHub, at the line of the config file that they are about."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ci_acme.errors import CiAcmeError
from ci_acme.hosts.github import annotation, mask

if TYPE_CHECKING:
    from ci_acme.config.load import Loaded


class Annotator:
    """Makes the commands; knows where each certificate stands once a config is loaded."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._places: dict[str, tuple[str, int]] = {}

    def __call__(self, level: str, text: str, certificate: str) -> str:
        """The command that shows a message, at the certificate that it is about."""
        file, line = self._places.get(certificate, ("", None))
        title = f"ci-acme: {certificate}" if certificate else "ci-acme"
        return annotation(level, text, title=title, file=file, line=line)

    def remember(self, loaded: Loaded) -> None:
        """The first line of each certificate in the config file."""
        for path, origin in loaded.origins.items():
            head, _, rest = path.partition(".")
            file, _, line = origin.where.rpartition(":")
            if head != "certificates" or origin.kind != "file" or not line.isdigit():
                continue
            name = next((one for one in loaded.config.certificates if rest.startswith(f"{one}.")), None)
            if name is not None and int(line) < self._places.get(name, ("", sys.maxsize))[1]:
                self._places[name] = (_in_repository(file), int(line))

    def show_problems(self, error: CiAcmeError) -> None:
        """One annotation a problem of a config, at its line; what has none is in the error, and in no file."""
        for problem in error.details.get("problems", ()):
            if not problem.get("line"):
                continue
            text = f"{problem.get('path', '')}: {problem['message']}".removeprefix(": ")
            if problem.get("suggestion"):
                text += f"; did you mean {problem['suggestion']!r}?"
            file, line = _in_repository(problem.get("file", "")), problem["line"]
            self._stream.write(annotation("error", text, title="ci-acme", file=file, line=line) + "\n")
        self._stream.flush()

    def mask(self, value: bytes) -> None:
        """Hide a secret that was read from the log of the job."""
        mask(value, self._stream)


def _in_repository(file: str) -> str:
    """GitHub wants the path from the root of the repository; the command may run below it."""
    workspace = os.environ.get("GITHUB_WORKSPACE", "")
    if not workspace or not file:
        return file
    try:
        return (Path.cwd() / file).resolve().relative_to(Path(workspace).resolve()).as_posix()
    except ValueError:
        return file
