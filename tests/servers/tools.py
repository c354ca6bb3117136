"""Where the programs are that tests run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

FIX = "run scripts/test-servers"


class ToolMissing(Exception):
    """A program is not installed; the message has the one-line fix."""


def tools_bin() -> Path:
    """The directory with pebble, lego and certbot, as `scripts/test-servers` fills it."""
    override = os.environ.get("CI_ACME_TEST_TOOLS")
    if override:
        return Path(override) / "bin"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "ci-acme" / "tools" / "bin"


def find(name: str) -> str:
    """The path of a program. Raises `ToolMissing`."""
    postgres = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    places = [tools_bin(), *postgres[-1:], *os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/sbin"]
    found = shutil.which(name, path=os.pathsep.join(map(str, places)))
    if found is None:
        raise ToolMissing(f"{name} is not installed: {FIX}")
    return found
