"""What must be on the disk before a name leads to it, and after: seen at the calls themselves."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ci_acme.model.records import PendingOrder
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme_providers.files import slot
from tests.stores.support import soon, store_in

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="directories are fsynced on POSIX only")


@pytest.mark.parametrize("operation", ["publish", "stage"])
def test_everything_is_synced_before_the_swap_and_the_swap_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    bundle = make_bundle()
    order = PendingOrder("0" * 64, "https://ca.example/d", "https://ca.example/a", "https://ca.example/o", bundle.key)
    store = store_in(tmp_path)

    def act() -> None:
        if operation == "publish":
            store.publish(bundle, make_metadata(bundle), deadline=soon())
        else:
            store.stage(order, deadline=soon())

    act()
    synced: list[int] = []
    before_swap: list[set[int]] = []
    real_sync, real_exchange = os.fsync, slot.exchange

    def sync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real_sync(descriptor)

    def exchange(one: Path, other: Path) -> bool:
        needed = {path.stat().st_ino for path in [one, *one.iterdir()]}
        before_swap.append(needed - set(synced))
        synced.clear()
        return real_exchange(one, other)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(slot, "exchange", exchange)
    act()
    assert before_swap == [set()]
    assert tmp_path.stat().st_ino in synced


def test_new_directories_are_synced_into_their_parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    real_sync = os.fsync

    def sync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        real_sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    bundle = make_bundle()
    store_in(tmp_path / "a" / "b").publish(bundle, make_metadata(bundle), deadline=soon())
    assert {path.stat().st_ino for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")} <= synced
