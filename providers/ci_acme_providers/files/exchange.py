"""Swap two names in one step, where the system can."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any, Final

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2  # Linux: renameat2(2)
_RENAME_SWAP: Final = 2  # macOS: renamex_np(2)
_RENAMEAT2: Final = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "ppc64le": 357, "s390x": 347}
_UNSUPPORTED: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)


def exchange(one: Path, other: Path) -> bool:
    """Let `one` and `other`, which both exist, change names atomically.

    False, with nothing changed, if the system, the file system or a sandbox cannot (EPERM is what old container
    sandboxes say to a system call that they do not know). Raises `OSError` for every other failure.
    """
    import ctypes  # 3 ms that only a replacement pays

    if sys.platform == "win32":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    paths = (os.fsencode(one), os.fsencode(other))
    if _swap(libc, *paths) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def _swap(libc: Any, one: bytes, other: bytes) -> int:
    """The system's call: 0, or -1 and errno."""
    if sys.platform == "darwin":
        return int(libc.renamex_np(one, other, _RENAME_SWAP))
    if hasattr(libc, "renameat2"):
        return int(libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE))
    number = _RENAMEAT2.get(os.uname().machine) if sys.platform == "linux" else None  # musl has no wrapper
    if number is None:
        import ctypes

        ctypes.set_errno(errno.ENOSYS)
        return -1
    return int(libc.syscall(number, _AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE))
