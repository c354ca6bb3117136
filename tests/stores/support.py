"""What the tests of the file store share; also imported by the drivers that run as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ci_acme.clock import SystemClock
from ci_acme.errors import SecretError
from ci_acme.model.material import Bundle
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext
from ci_acme.testing.material import belongs_together
from ci_acme_providers.files.adapter import FileStore
from ci_acme_providers.files.config import FileSettings

ROOT = Path(__file__).parents[2]
PEM_FILES = {"privkey.pem", "cert.pem", "chain.pem", "fullchain.pem", "metadata.json"}


def soon(seconds: float = 30.0) -> Deadline:
    return Deadline(SystemClock(), seconds)


def environment_secret(reference: str) -> Secret:
    scheme, _, name = reference.partition(":")
    if scheme != "env" or name not in os.environ:
        raise SecretError(f"{reference} cannot be read", fix=f"set {name}")
    return Secret(os.environ[name].encode())


def store_in(directory: Path, name: str = "test", **settings: Any) -> FileStore:
    section = FileSettings.model_validate({"provider": "file", "directory": str(directory), **settings})
    return FileStore(section, ProviderContext(environment_secret, SystemClock(), certificate=name))


def bundle_by_handle(path: Path) -> Bundle:
    """One generation as a careful reader sees it: the directory is opened once. Raises FileNotFoundError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        parts = {name: read_at(handle, name) for name in PEM_FILES}
    finally:
        os.close(handle)
    bundle = Bundle(Secret(parts["privkey.pem"]), parts["cert.pem"], parts["chain.pem"])
    assert bundle.fullchain == parts["fullchain.pem"]
    assert belongs_together(parts["privkey.pem"], parts["cert.pem"])
    return bundle


def read_at(handle: int, name: str) -> bytes:
    with open(os.open(name, os.O_RDONLY, dir_fd=handle), "rb") as file:  # noqa: PTH123  # by handle
        return file.read()


def visible(directory: Path) -> list[str]:
    """Every name in the store's directory."""
    return sorted(path.name for path in directory.iterdir())


def hidden(directory: Path) -> list[str]:
    """Temporary names that are left in the store's directory."""
    return [name for name in visible(directory) if name.startswith(".")]


def run_driver(name: str, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run tests/stores/NAME.py as a process of its own and require that it ends well."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "providers"), *sys.path])}
    command = [*prefix, sys.executable, str(Path(__file__).parent / f"{name}.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done
