"""Publishes on a file system of 512 KiB with every amount of free space, and looks at what is left.

Usage: full_disk_driver.py DIRECTORY, in a mount namespace of its own (`unshare -m`). Prints failures and successes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ci_acme.errors import DeliveryError, StoreNotWritable
from ci_acme.model.records import PendingOrder
from ci_acme.ports import Absent
from ci_acme.testing.material import make_bundle, make_metadata
from tests.stores.support import bundle_by_handle, hidden, soon, store_in

OLD, NEW = make_bundle("old.example"), make_bundle("new.example")
ORDER = PendingOrder("0" * 64, "https://ca.example/d", "https://ca.example/a", "https://ca.example/o", NEW.key)


def main() -> None:
    disk = Path(sys.argv[1])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], check=True)
    failed = [publish_with_free(disk, pages * 4096) for pages in range(12)]
    assert failed[0]
    assert not failed[-1]
    probe_when_full(disk)
    the_room_is_kept_for_the_bundle(disk)
    subprocess.run(["umount", str(disk)], check=True)
    sys.stdout.write(f"{sum(failed)} {len(failed) - sum(failed)}\n")


def publish_with_free(disk: Path, free: int) -> bool:
    """Whether publishing over an old bundle failed; the old one still serves then."""
    directory = disk / f"free-{free}"
    store = store_in(directory)
    store.publish(OLD, make_metadata(OLD), deadline=soon())
    fill(disk, free)
    failure: DeliveryError | None = None
    try:
        store.publish(NEW, make_metadata(NEW), deadline=soon())
    except DeliveryError as error:
        failure = error
    assert bundle_by_handle(directory / "test") == (OLD if failure else NEW)
    assert not hidden(directory)
    empty(disk)
    if failure is None:
        return False
    assert failure.details["errno"] == "ENOSPC"
    assert "No space left on device" in failure.message
    assert "free some space" in failure.fix
    assert "without a new order" in failure.fix
    return True


def probe_when_full(disk: Path) -> None:
    directory = disk / "probe"
    store_in(directory).probe(deadline=soon())
    fill(disk, 32 * 1024)
    with pytest.raises(StoreNotWritable) as caught:
        store_in(directory).probe(deadline=soon())
    assert caught.value.details["errno"] == "ENOSPC"
    assert not hidden(directory)
    assert store_in(directory).read(deadline=soon()) == Absent()
    empty(disk)


def the_room_is_kept_for_the_bundle(disk: Path) -> None:
    """The disk fills up between the order and the delivery: the certificate is delivered all the same."""
    directory = disk / "room"
    store = store_in(directory)
    store.publish(OLD, make_metadata(OLD), deadline=soon())
    store.stage(ORDER, deadline=soon())
    fill(disk, 0)
    with pytest.raises(DeliveryError):
        store.stage(replace(ORDER, certificate=NEW.fullchain), deadline=soon())
    assert store.staged(deadline=soon()) == ORDER
    store.publish(NEW, make_metadata(NEW), deadline=soon())
    assert bundle_by_handle(directory / "test") == NEW
    store.unstage(deadline=soon())
    assert not hidden(directory)
    empty(disk)


def fill(disk: Path, free: int) -> None:
    """Leave exactly `free` bytes."""
    descriptor = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
    while os.statvfs(disk).f_bavail:
        os.write(descriptor, b"x" * 4096)
    os.truncate(descriptor, os.fstat(descriptor).st_size - free)
    os.close(descriptor)


def empty(disk: Path) -> None:
    (disk / "filler").unlink()


if __name__ == "__main__":
    main()
