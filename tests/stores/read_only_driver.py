"""Stores that cannot be written: on a read-only file system, at a mount point, in a fixed layer of an overlay.

Usage: read_only_driver.py DIRECTORY read-only|mount-point|fixed-layer, in a mount namespace of its own (`unshare -m`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ci_acme.errors import CiAcmeError, DeliveryError, StoreNotWritable
from ci_acme.ports import Present
from ci_acme.testing.material import make_bundle, make_metadata
from tests.stores.support import bundle_by_handle, hidden, soon, store_in

OLD, NEW = make_bundle("old.example"), make_bundle("new.example")


def main() -> None:
    base = Path(sys.argv[1])
    {"read-only": read_only, "mount-point": mount_point, "fixed-layer": fixed_layer}[sys.argv[2]](base / "certs")
    sys.stdout.write("done\n")


def read_only(directory: Path) -> None:
    store = store_in(directory)
    store.publish(OLD, make_metadata(OLD), deadline=soon())
    mount("--bind", str(directory), str(directory))
    mount("-o", "remount,bind,ro", str(directory))
    refused(store, "EROFS", "read-write")
    assert isinstance(store.read(deadline=soon()), Present)
    assert store.staged(deadline=soon()) is None
    store.unstage(deadline=soon())


def mount_point(directory: Path) -> None:
    store = store_in(directory)
    store.publish(OLD, make_metadata(OLD), deadline=soon())
    mount("--bind", str(directory / "test"), str(directory / "test"))
    refused(store, "EBUSY", "mount")


def fixed_layer(base: Path) -> None:
    """What a container sees of a directory that came with its image."""
    lower, upper, merged = base / "lower", base / "upper", base / "merged"
    for path in (lower, upper, merged):
        path.mkdir(parents=True)
    store_in(lower).publish(OLD, make_metadata(OLD), deadline=soon())
    mount("-t", "tmpfs", "tmpfs", str(upper))
    (upper / "upper").mkdir()
    (upper / "work").mkdir()
    options = f"lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work,redirect_dir=off"
    mount("-t", "overlay", "-o", options, "overlay", str(merged))
    refused(store_in(merged), "EXDEV", "copy")
    (merged / "copy").mkdir()
    for path in (merged / "test").iterdir():
        path.rename(merged / "copy" / path.name)
    (merged / "test").rmdir()
    (merged / "copy").rename(merged / "test")
    for bundle in (NEW, OLD):
        store_in(merged).probe(deadline=soon())
        store_in(merged).publish(bundle, make_metadata(bundle), deadline=soon())
        assert bundle_by_handle(merged / "test") == bundle


def refused(store: object, symbol: str, advice: str) -> None:
    directory = store._link.parent
    for wanted, act in (
        (StoreNotWritable, lambda: store.probe(deadline=soon())),
        (DeliveryError, lambda: store.publish(NEW, make_metadata(NEW), deadline=soon())),
    ):
        with pytest.raises(CiAcmeError) as caught:
            act()
        assert type(caught.value) is wanted
        assert caught.value.details["errno"] == symbol
        assert advice in caught.value.fix
    assert bundle_by_handle(directory / "test") == OLD
    assert not hidden(directory)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    main()
