"""One writer at a time for one target, on one machine and on file systems that lock across machines."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ci_acme.ports import Deadline
from ci_acme_providers.files.disk import remove_quietly

_POLL_SECONDS: Final = 0.02
_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_HELD: Final = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


class LockTimeout(Exception):
    """Another process holds the lock until the deadline."""


@contextmanager
def exclusive(path: Path, deadline: Deadline) -> Generator[bool]:
    """Hold the lock file `path`, which exists only meanwhile; a killed process holds nothing.

    Yields False where the file system has no locks. Raises `LockTimeout`, `Interrupted` while it waits, `OSError`.
    """
    while True:
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            locked = _try_lock(descriptor)
            if locked is not None and _same(path, descriptor):
                try:
                    yield locked
                finally:
                    remove_quietly(path)  # while it is held: whoever waits on it sees that it is gone and begins anew
                return
        finally:
            os.close(descriptor)
        if deadline.expired:
            raise LockTimeout(str(path))
        deadline.clock.sleep(_POLL_SECONDS)


def _same(path: Path, descriptor: int) -> bool:
    """Whether the locked file is still the one that others would find."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int) -> bool | None:
    """True if it is ours, False if there are no locks here, None if somebody else has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in _HELD else False
    return True
