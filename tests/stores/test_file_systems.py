"""Full, read-only and mounted file systems: real ones, in a mount namespace of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores.support import run_driver


def mount_namespace() -> tuple[str, ...]:
    """The command that gives a process mounts of its own: as root, or as root of a user namespace."""
    command = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-r", "-m")
    script = "mkdir -p $0 && mount -t tmpfs -o size=64k tmpfs $0"
    place = f"/tmp/ci-acme-mount-test-{os.getpid()}"
    try:
        done = subprocess.run([*command, "sh", "-c", script, place], capture_output=True, check=False)
    finally:
        if Path(place).exists():
            Path(place).rmdir()
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.decode().strip()}; file size limits stand in for it")
    return command


@pytest.mark.skipif(
    sys.platform != "linux", reason="tmpfs and mount namespaces are Linux's; file size limits elsewhere"
)
@pytest.mark.parametrize("driver", ["full_disk_driver", "read_only_driver"])
def test_a_file_system_that_cannot_be_written(tmp_path: Path, driver: str) -> None:
    assert run_driver(driver, str(tmp_path), prefix=mount_namespace()).stdout
