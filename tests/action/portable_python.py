"""A Python as uv downloads it where there is none, packed from the one that runs the tests."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import sys
import sysconfig
import tarfile
from pathlib import Path

_LEFT_OUT = ("site-packages", "dist-packages", "test", "tests", "idlelib", "__pycache__", "config-", "ensurepip")


def pack() -> bytes:
    """An archive with the layout of python-build-standalone: `python/bin`, `python/lib`."""
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz", compresslevel=0) as archive:
        archive.add(os.path.realpath(sys.executable), f"python/bin/{version}")
        archive.add(stdlib, f"python/lib/{version}", filter=_wanted)
        for path in Path(sysconfig.get_config_var("LIBDIR")).glob(f"lib{version}.so*"):
            archive.add(path, f"python/lib/{path.name}")
    return data.getvalue()


def listing(archive: bytes, url: str) -> bytes:
    """What uv reads from UV_PYTHON_DOWNLOADS_JSON_URL."""
    one = {
        "name": "cpython",
        "arch": {"family": platform.machine(), "variant": None},
        "os": "linux",
        "libc": "gnu",
        **dict(zip(("major", "minor", "patch"), sys.version_info[:3], strict=True)),
        "prerelease": "",
        "variant": None,
        "build": "20260101",
        "url": url,
        "sha256": hashlib.sha256(archive).hexdigest(),
    }
    return json.dumps({f"cpython-{platform.python_version()}-linux-{platform.machine()}-gnu": one}).encode()


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = member.name.rpartition("/")[2]
    return None if name.startswith(_LEFT_OUT) or name.endswith(".a") else member
