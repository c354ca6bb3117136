"""GitHub Actions: outputs, the job summary, annotations, masks. Nothing here is written anywhere else.

Workflow commands go to stderr, which the runner reads as well: stdout has the result alone. File formats and escapes
are those of the documentation, "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from ci_acme.core.matrix import MOST_CHARACTERS, fitting, github_matrix, to_do

_ESSENTIAL: Final = ("name", "action", "serial", "not_after", "stores")
_SHORTEST_MASK: Final = 6
"""Characters: masking something shorter would garble every line of the log."""


def active(environ: Mapping[str, str]) -> bool:
    """Whether a runner reads what we write."""
    return environ.get("GITHUB_ACTIONS") == "true"


def write_outputs(document: Mapping[str, Any], report: str | None, environ: Mapping[str, str]) -> list[str]:
    """`changed`, `certificates`, `not-after`, `report`, `matrix` of a plan, `alerts` of a monitor: into GITHUB_OUTPUT.

    Returns what a reader of them must know: that something did not fit. Raises `OSError`.
    """
    path = environ.get("GITHUB_OUTPUT")
    if not path:
        return []
    certificates, said = _certificates(document)
    ends = sorted(one["not_after"] for one in document.get("certificates", ()) if one.get("not_after"))
    values = {
        "changed": "true" if document.get("changed") else "false",
        "certificates": certificates,
        "not-after": ends[0] if ends else "",
        "report": report or "",
    }
    if document.get("command") == "plan":
        names = to_do(document)
        values["matrix"] = _compact(github_matrix(names))
        left = len(names) - len(fitting(names))
        if left:
            said.append(f"{left} of {len(names)} certificates do not fit into the output matrix: the next run has them")
    if document.get("command") == "monitor":
        values["alerts"] = str(document.get("firing", ""))
    _append(path, "".join(_assignment(name, value) for name, value in values.items()))
    return said


def _certificates(document: Mapping[str, Any]) -> tuple[str, list[str]]:
    """All that is known, or the essential, or nothing: a job's outputs are limited. The report has everything."""
    every = document.get("certificates", [])
    essential = ({key: one.get(key) for key in _ESSENTIAL} for one in every)
    for found, said in (
        (lambda: every, []),
        (
            lambda: list(essential),
            [f"the output certificates has {', '.join(_ESSENTIAL)} alone: the report has the rest"],
        ),
    ):
        text = _compact(found())
        if len(text) <= MOST_CHARACTERS:
            return text, said
    return "[]", [f"the output certificates is empty: {len(every)} are too many for it; the report has them"]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def write_summary(markdown: str, environ: Mapping[str, str]) -> None:
    """Add to the page of the job. Raises `OSError`."""
    path = environ.get("GITHUB_STEP_SUMMARY")
    if path:
        _append(path, markdown + "\n")


def annotation(level: str, message: str, *, title: str = "", file: str = "", line: int | None = None) -> str:
    """A command that shows a message at a line of the repository; `level` is error, warning or notice."""
    properties = {"title": title, "file": file, "line": "" if line is None or not file else str(line)}
    said = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    return f"::{level}{' ' if said else ''}{said}::{_data(message)}"


def mask(value: bytes, stream: TextIO) -> None:
    """Let the runner hide a secret wherever it would be printed from now on. Keys are never printed, and never masked:
    a mask is a line in the log of whoever does not know the command.
    """
    text = value.decode("utf-8", errors="ignore")
    if "-----BEGIN" in text:
        return
    for line in {text, *text.splitlines()}:
        if len(line.strip()) >= _SHORTEST_MASK:
            stream.write(f"::add-mask::{_data(line)}\n")
    stream.flush()


def _assignment(name: str, value: str) -> str:
    """With a delimiter that nobody can know, so that no value ends itself."""
    delimiter = f"ghadelimiter_{secrets.token_hex(16)}"
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n"


def _append(path: str, text: str) -> None:
    with Path(path).open("a", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
