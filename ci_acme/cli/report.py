"""`ci-acme report`: the results of a fan-out as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ci_acme.cli.announce import announce
from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console
from ci_acme.core.merge import merge
from ci_acme.core.summary import as_markdown
from ci_acme.errors import UsageError


def main(options: Any, console: Console) -> int:
    """Merge, print, return the worst exit status."""
    if not options.files:
        raise UsageError("there is nothing to merge", fix="give the files that --report has written")
    document = merge([(name, _read(name)) for name in options.files])
    announce(document, options, console)
    console.close()
    print(json.dumps(document, indent=2) if wants_json(options) else as_markdown(document).rstrip())
    status: int = document["exit_code"]
    return status


def _read(name: str) -> Any:
    try:
        return json.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}", fix="give the files of the jobs") from None
    except ValueError:
        raise UsageError(f"{name} is no JSON document", fix="give files that --report has written") from None
