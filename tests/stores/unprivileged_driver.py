"""Reading and writing without the rights to do so.

Usage: unprivileged_driver.py DIRECTORY; as root it becomes nobody.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_acme.errors import CiAcmeError, DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.ports import Present
from ci_acme.testing.material import make_bundle, make_metadata
from tests.stores.support import hidden, soon, store_in

NOBODY = 65534
BUNDLE, OTHER = make_bundle("one.example"), make_bundle("other.example")


def main() -> None:
    base = Path(sys.argv[1])
    if os.geteuid() == 0:
        base = Path(f"/tmp/ci-acme-unprivileged-{os.getpid()}")
        base.mkdir(0o755)
        os.chown(base, NOBODY, NOBODY)
    store_in(base)  # pydantic builds the model now: afterwards its own files may be out of reach
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        act(base)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if base != Path(sys.argv[1]):
        import shutil

        shutil.rmtree(base)
    assert status == 0
    sys.stdout.write("done\n")


def act(base: Path) -> None:
    closed_directory(base / "closed")
    closed_target(base / "target")
    unreadable_certificate(base / "unreadable")
    someone_elses_parent()


def closed_directory(directory: Path) -> None:
    store = published(directory)
    directory.chmod(0o555)
    denied(StoreNotWritable, lambda: store.probe(deadline=soon()), "write in")
    denied(DeliveryError, lambda: store.publish(OTHER, make_metadata(OTHER), deadline=soon()), "run again")
    state = store.read(deadline=soon())
    assert isinstance(state, Present)
    assert state.certificate == BUNDLE.certificate
    directory.chmod(0o000)
    denied(StoreReadError, lambda: store.read(deadline=soon()), "read")
    assert store.staged(deadline=soon()) is None
    directory.chmod(0o755)


def closed_target(directory: Path) -> None:
    store = published(directory)
    (directory / "test").chmod(0o555)
    denied(StoreNotWritable, lambda: store.probe(deadline=soon()), "write in")
    assert not hidden(directory)


def unreadable_certificate(directory: Path) -> None:
    store = published(directory)
    (directory / "test" / "cert.pem").chmod(0)
    denied(StoreReadError, lambda: store.read(deadline=soon()), "read")
    (directory / "test" / "cert.pem").chmod(0o644)
    (directory / "test" / "privkey.pem").chmod(0)
    assert isinstance(store.read(deadline=soon()), Present)
    denied(StoreReadError, lambda: store.read_bundle(deadline=soon()), "read")


def someone_elses_parent() -> None:
    store = store_in(Path("/proc/ci-acme") if os.geteuid() == 0 else Path("/etc/ci-acme-test"))
    with pytest.raises(StoreNotWritable, match="cannot write"):
        store.probe(deadline=soon())


def published(directory: Path) -> object:
    store = store_in(directory)
    store.publish(BUNDLE, make_metadata(BUNDLE), deadline=soon())
    return store


def denied(kind: type[CiAcmeError], act: Callable[[], object], advice: str) -> None:
    with pytest.raises(CiAcmeError) as caught:
        act()
    error = caught.value
    assert type(error) is kind
    assert error.details["errno"] == "EACCES"
    assert "Permission denied" in error.message
    assert advice in error.fix
    assert f"uid {os.geteuid()}" in error.fix


if __name__ == "__main__":
    main()
