"""Full, read-only and mounted file systems: real ones, in a mount namespace of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores.support import run_driver

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mount namespaces; file size limits stand in elsewhere")


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


def test_a_full_file_system(tmp_path: Path) -> None:
    failed, succeeded = map(int, run_driver("full_disk_driver", str(tmp_path), prefix=mount_namespace()).stdout.split())
    assert failed > 1
    assert succeeded > 1


@pytest.mark.parametrize("what", ["read-only", "mount-point", "fixed-layer"])
def test_a_target_that_cannot_be_replaced(tmp_path: Path, what: str) -> None:
    if what == "fixed-layer" and os.geteuid() != 0:
        pytest.skip("only root mounts an overlay with options")
    assert run_driver("read_only_driver", str(tmp_path), what, prefix=mount_namespace()).stdout == "done\n"
