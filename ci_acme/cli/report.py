"""`ci-acme report`: the results of a fan-out as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ci_acme.cli.announce import announce
from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console
from ci_acme.cli.render import result_text
from ci_acme.core.merge import merge
from ci_acme.errors import UsageError


def main(options: Any, console: Console) -> int:
    """Merge, print, return the worst exit status."""
    if not options.files:
        raise UsageError("there is nothing to merge", fix="give the files that --report has written")
    files = [file for name in options.files for file in _files(name)]
    document = merge([(file, _read(file)) for file in files])
    announce(document, options, console)
    console.close()
    print(json.dumps(document, indent=2) if wants_json(options) else result_text(document))
    status: int = document["exit_code"]
    return status


def _files(name: str) -> list[str]:
    """The file, or the result documents in a directory: what jobs have left, each in a directory of its own or not."""
    if not Path(name).is_dir():
        return [name]
    found = sorted(str(path) for path in Path(name).rglob("*.json"))
    if not found:
        raise UsageError(f"{name} has no result document", fix="give the directory into which the reports were fetched")
    return found


def _read(name: str) -> Any:
    try:
        return json.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}", fix="give the files of the jobs") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{name} is no JSON document", fix="give files that --report has written") from None
