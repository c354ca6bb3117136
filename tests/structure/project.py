"""The checkout, as these tests read it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
CORE: Final = ROOT / "ci_acme"
PROVIDERS: Final = ROOT / "providers" / "ci_acme_providers"


def modules(package: Path) -> list[str]:
    """Dotted names of all modules of a package, but `__main__`."""
    names = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__main__":
            continue
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def platforms() -> list[str]:
    """The platform folders of the providers."""
    return sorted(path.parent.name for path in PROVIDERS.glob("*/__init__.py"))


def loaded_by(*names: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after importing these modules."""
    program = (
        "import importlib, json, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "providers")])
    done = subprocess.run(
        [sys.executable, "-c", program, *names],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def toml_arrays(table: str) -> dict[str, list[str]]:
    """The string arrays of a table of pyproject.toml (Python 3.10 has no TOML reader)."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    body = text.split(f"[{table}]\n", 1)[1].split("\n[", 1)[0]
    uncommented = re.sub(r"[ \t]*#[^\n\"]*$", "", body, flags=re.MULTILINE)
    found: dict[str, list[str]] = {}
    for key, array in re.findall(r"^([\w-]+) = \[(.*?)\]$", uncommented, flags=re.MULTILINE | re.DOTALL):
        found[key] = re.findall(r'"([^"]+)"', array)
    return found


def run_script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python script of `scripts/`."""
    command: list[Any] = [sys.executable, ROOT / "scripts" / name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
