"""Failures in the middle of a replacement: the old bundle serves, or nothing does, and nothing of ours is left."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from ci_acme.errors import DeliveryError
from ci_acme.ports import Absent
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme_providers.files import disk, slot
from tests.stores.support import bundle_by_handle, soon, store_in, visible

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="directory handles")

OLD, NEW = make_bundle("old.example"), make_bundle("new.example")


@pytest.fixture(params=["exchange", "rename"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "rename":
        monkeypatch.setattr(slot, "exchange", lambda one, other: False)
    return request.param


def publish(directory: Path, bundle: object) -> None:
    store_in(directory).publish(bundle, make_metadata(bundle), deadline=soon())


def publish_old(directory: Path) -> None:
    publish(directory, OLD)
    (directory / "test" / "hooks").mkdir()
    (directory / "test" / "notes").write_text("mine")


def assert_as_before(directory: Path) -> None:
    assert visible(directory) == ["test"]
    assert bundle_by_handle(directory / "test") == OLD
    assert (directory / "test" / "hooks").is_dir()
    assert (directory / "test" / "notes").read_text() == "mine"


def fail(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def break_sync_of(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync
    inode = directory.stat().st_ino

    def sync(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == inode:
            raise fail(errno.EIO)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)


def test_a_swap_that_cannot_be_made_durable_is_undone(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_old(tmp_path)
    break_sync_of(tmp_path, monkeypatch)
    with pytest.raises(DeliveryError) as caught:
        publish(tmp_path, NEW)
    assert caught.value.details["errno"] == "EIO"
    assert_as_before(tmp_path)
    monkeypatch.undo()
    publish(tmp_path, NEW)
    assert bundle_by_handle(tmp_path / "test") == NEW


def test_a_first_swap_that_cannot_be_made_durable_is_undone(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_sync_of(tmp_path, monkeypatch)
    with pytest.raises(DeliveryError):
        publish(tmp_path, NEW)
    assert visible(tmp_path) == []
    assert store_in(tmp_path).read(deadline=soon()) == Absent()


def test_a_second_rename_that_fails_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_old(tmp_path)
    monkeypatch.setattr(slot, "exchange", lambda one, other: False)
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name.startswith(".test.new-") and target.name == "test":
            raise fail(errno.ENOSPC)
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(DeliveryError, match="No space left"):
        publish(tmp_path, NEW)
    assert_as_before(tmp_path)


def test_an_exchange_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_old(tmp_path)

    def exchange(one: Path, other: Path) -> bool:
        raise fail(errno.EIO)

    monkeypatch.setattr(slot, "exchange", exchange)
    with pytest.raises(DeliveryError, match="Input/output error"):
        publish(tmp_path, NEW)
    assert_as_before(tmp_path)


def test_a_disk_that_lies_is_found_out_before_anybody_reads(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_old(tmp_path)
    installed: list[Path] = []
    monkeypatch.setattr(disk, "_write_all", lambda descriptor, data: os.write(descriptor, data[:-1] + b"?"))
    monkeypatch.setattr(slot.Slot, "install", lambda self, new: installed.append(new))
    with pytest.raises(DeliveryError, match="not what was written"):
        publish(tmp_path, NEW)
    assert installed == []
    assert_as_before(tmp_path)


def test_an_interrupt_in_the_middle_leaves_the_old_bundle(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_old(tmp_path)

    def interrupted(self: object, name: str) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(disk.Snapshot, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path, NEW)
    monkeypatch.undo()
    assert_as_before(tmp_path)


def test_writes_may_be_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    publish(tmp_path, NEW)
    assert bundle_by_handle(tmp_path / "test") == NEW
