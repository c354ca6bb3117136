"""Several writers and readers at once, in processes of their own."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from ci_acme.errors import DeliveryError
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme_providers.files import lock
from ci_acme_providers.files.lock import exclusive
from tests.stores.support import bundle_by_handle, hidden, run_driver, soon, store_in

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="readers by directory handle")


def test_a_reader_with_a_handle_sees_whole_generations_only(tmp_path: Path) -> None:
    """Without the store's code. A handle to a generation that is gone finds nothing, never a mix."""
    first = make_bundle()
    store_in(tmp_path).publish(first, make_metadata(first), deadline=soon())
    writers = threading.Thread(target=run_driver, args=("writers_driver", str(tmp_path), "4", "15"))
    writers.start()
    whole = gone = 0
    while writers.is_alive():
        try:
            bundle_by_handle(tmp_path / "test")
            whole += 1
        except FileNotFoundError:
            gone += 1
            assert (tmp_path / "test").is_dir()
    writers.join()
    assert whole > 20
    assert gone < whole
    assert bundle_by_handle(tmp_path / "test") != first
    assert not hidden(tmp_path)


def test_a_writer_waits_no_longer_than_its_deadline(tmp_path: Path) -> None:
    bundle = make_bundle()
    with exclusive(tmp_path / ".test.lock", soon()), pytest.raises(DeliveryError, match="another process") as caught:
        store_in(tmp_path).publish(bundle, make_metadata(bundle), deadline=soon(0.1))
    assert "stop it" in caught.value.fix
    store_in(tmp_path).publish(bundle, make_metadata(bundle), deadline=soon(0.1))
    assert bundle_by_handle(tmp_path / "test") == bundle


def test_stores_of_other_certificates_do_not_wait(tmp_path: Path) -> None:
    bundle = make_bundle()
    with exclusive(tmp_path / ".test.lock", soon()):
        store_in(tmp_path, "other").publish(bundle, make_metadata(bundle), deadline=soon(0.1))
    assert bundle_by_handle(tmp_path / "other") == bundle


def test_a_lock_file_that_is_gone_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder before removed it between our opening it and our locking it."""
    path = tmp_path / ".test.lock"
    real = lock._try_lock
    calls: list[int] = []

    def slow(descriptor: int) -> bool | None:
        if not calls:
            path.unlink()
        calls.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr(lock, "_try_lock", slow)
    with exclusive(path, soon()):
        assert path.exists()
    assert len(calls) == 2
    assert not path.exists()
