"""`ci-acme version`, with `--output json` too."""

from __future__ import annotations

import json
import platform
from typing import Any

from ci_acme import __version__
from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console


def main(options: Any, console: Console) -> int:
    """Print the version."""
    if wants_json(options):
        print(json.dumps({"version": __version__, "python": platform.python_version(), "system": platform.system()}))
    else:
        print(f"ci-acme {__version__}")
    return 0
