"""Kills an operation of the file store before each system call that changes something, in turn, and looks.

Usage: crash_driver.py DIRECTORY exchange|rename publish|first|stage|unstage|annotate. Prints how often it killed, and
how often the target was absent at first sight.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from ci_acme.model.records import PendingOrder
from ci_acme.ports import Absent, Present
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme_providers.files import slot
from tests.stores.support import bundle_by_handle, hidden, soon, store_in

OLD, NEW = make_bundle("old.example"), make_bundle("new.example")
FIRST = PendingOrder("0" * 64, "https://ca.example/d", "https://ca.example/a", "https://ca.example/o", NEW.key)
SECOND = replace(FIRST, certificate=NEW.fullchain)
LATER = make_metadata(OLD).with_renewal(None, make_metadata(OLD).renew_after + timedelta(days=1))


def main() -> None:
    base, how, operation = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if how == "rename":
        slot.exchange = lambda one, other: False
    prepare, act, inspect = OPERATIONS[operation]
    kills = absent = 0
    while True:
        directory = base / str(kills)
        prepare(directory)
        if not killed_before_call(kills, act, directory):
            break
        absent += not (directory / "test").exists()
        inspect(directory)
        kills += 1
    inspect(directory)
    sys.stdout.write(f"{kills} {absent}\n")


def killed_before_call(count: int, act: Callable[[Path], None], directory: Path) -> bool:
    """Run `act` in a child that dies just before its system call number `count`; False if it has fewer."""
    child = os.fork()
    if child == 0:
        sys.setprofile(Executioner(count))
        act(directory)
        sys.setprofile(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


CHANGES = {"open", "write", "fsync", "rename", "replace", "mkdir", "rmdir", "unlink", "link", "symlink", "truncate"}
CHANGES |= {"fchmod", "fchown", "chmod", "chown", "setxattr", "flock"}
"""Between two of these, what others see does not change; an exchange is between two of them."""


class Executioner:
    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, frame: object, event: str, function: object) -> None:
        if event != "c_call" or getattr(function, "__name__", None) not in CHANGES:
            return
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1


def publish(directory: Path) -> None:
    store_in(directory).publish(NEW, make_metadata(NEW), deadline=soon())


def publish_old(directory: Path) -> None:
    store_in(directory).publish(OLD, make_metadata(OLD), deadline=soon())
    (directory / "test" / "dhparam.pem").write_text("mine")
    (directory / "test" / "hooks").mkdir()
    (directory / "test" / "hooks" / "reload").write_text("mine too")
    store_in(directory).stage(SECOND, deadline=soon())


def look_after_publish(directory: Path) -> None:
    """A reader has a whole generation at once (by exchange) or after the next run looked; nothing else is lost."""
    if sys.argv[2] == "exchange":
        assert bundle_by_handle(directory / "test") in (OLD, NEW)
    state = store_in(directory).read(deadline=soon())
    assert isinstance(state, Present), state
    assert state.metadata is not None
    assert bundle_by_handle(directory / "test") in (OLD, NEW)
    assert store_in(directory).staged(deadline=soon()) == SECOND
    publish(directory)
    assert bundle_by_handle(directory / "test") == NEW
    store_in(directory).unstage(deadline=soon())
    assert not hidden(directory), hidden(directory)
    assert (directory / "test" / "dhparam.pem").read_text() == "mine"
    assert (directory / "test" / "hooks" / "reload").read_text() == "mine too"


def look_after_first(directory: Path) -> None:
    if directory.exists():
        state = store_in(directory).read(deadline=soon())
        assert state == Absent() or bundle_by_handle(directory / "test") == NEW
    publish(directory)
    assert bundle_by_handle(directory / "test") == NEW
    assert not hidden(directory)


def stage(directory: Path) -> None:
    store_in(directory).stage(SECOND, deadline=soon())


def stage_first(directory: Path) -> None:
    store_in(directory).stage(FIRST, deadline=soon())


def look_after_stage(directory: Path) -> None:
    assert store_in(directory).staged(deadline=soon()) in (FIRST, SECOND)
    assert store_in(directory).read(deadline=soon()) == Absent()
    stage(directory)
    assert store_in(directory).staged(deadline=soon()) == SECOND
    assert hidden(directory) == [".test.pending"]


def unstage(directory: Path) -> None:
    store_in(directory).unstage(deadline=soon())


def look_after_unstage(directory: Path) -> None:
    assert store_in(directory).staged(deadline=soon()) in (None, FIRST)
    unstage(directory)
    assert store_in(directory).staged(deadline=soon()) is None
    publish(directory)
    assert not hidden(directory)


def annotate(directory: Path) -> None:
    store_in(directory).annotate(LATER, deadline=soon())


def look_after_annotate(directory: Path) -> None:
    assert bundle_by_handle(directory / "test") == OLD
    state = store_in(directory).read(deadline=soon())
    assert isinstance(state, Present)
    assert state.metadata in (LATER, make_metadata(OLD))
    annotate(directory)
    store_in(directory).unstage(deadline=soon())
    assert not hidden(directory)


OPERATIONS = {
    "publish": (publish_old, publish, look_after_publish),
    "first": (lambda directory: None, publish, look_after_first),
    "stage": (stage_first, stage, look_after_stage),
    "unstage": (stage_first, unstage, look_after_unstage),
    "annotate": (publish_old, annotate, look_after_annotate),
}

if __name__ == "__main__":
    main()
