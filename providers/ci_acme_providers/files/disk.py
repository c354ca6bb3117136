"""Files and directories with the promises that a store needs: exact modes, no symlink followed by accident, fsynced."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ci_acme.dataclass import dataclass

READ_LIMIT: Final = 1 << 20
"""No file of a bundle is larger; more is not read."""

_BINARY: Final = getattr(os, "O_BINARY", 0)
_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)
_DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_NONBLOCK: Final = getattr(os, "O_NONBLOCK", 0)
_BY_HANDLE: Final = bool(_DIRECTORY) and os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd
_NO_DIRECTORY_FSYNC: Final = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use a file: its permission bits, and owner and group; None leaves those of the process."""

    mode: int
    uid: int | None = None
    gid: int | None = None


def create_file(path: Path, data: bytes, access: Access) -> None:
    """Write a new file and fsync it. Never follows or overwrites what is there, and is never wider than `access`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _CLOEXEC | _BINARY
    descriptor = os.open(path, flags, 0o600)
    try:
        _write_all(descriptor, data)
        grant(descriptor, path, access)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def grant(descriptor: int, path: Path, access: Access) -> None:
    """Set owner and group as far as that is permitted, then the mode whatever the umask is."""
    if not hasattr(os, "fchown"):
        path.chmod(access.mode)
        return
    there = os.fstat(descriptor)
    for uid, gid in ((access.uid, -1), (-1, access.gid)):
        if uid is None or gid is None or (uid, gid) in {(there.st_uid, -1), (-1, there.st_gid)}:
            continue
        try:
            os.fchown(descriptor, uid, gid)
        except PermissionError:
            continue  # only root gives files away; the process's own owner or group stays
    os.fchmod(descriptor, access.mode)


def access_of(path: Path) -> Access | None:
    """Mode and owner of what is there; None if nothing is."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return None
    return Access(stat.S_IMODE(there.st_mode), there.st_uid, there.st_gid)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable, where the system knows how."""
    if not _DIRECTORY:
        return
    descriptor = os.open(path, os.O_RDONLY | _DIRECTORY | _CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_FSYNC:  # some network file systems cannot, and order names themselves
            raise
    finally:
        os.close(descriptor)


def remove_quietly(path: Path) -> None:
    """Remove one file or symlink if that is possible."""
    with suppress(OSError):
        path.unlink()


def make_directory(path: Path) -> None:
    """Make a directory and its missing parents durably. Raises `OSError`, also if a file is in the way."""
    missing: list[Path] = []
    while not path.is_dir() and path not in missing:
        missing.append(path)
        path = path.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        sync_directory(new.parent)


class NotAFile(ValueError):
    """A name of ours leads to something that is no regular file of a sensible size."""


class Snapshot:
    """One generation of a directory, held by a handle, so that a replacement meanwhile is not seen.

    Where the system has no directory handles (Windows), names are looked up by path.
    """

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self._path = path
        self._descriptor = descriptor

    def read(self, name: str, *, follow: bool = True) -> bytes | None:
        """The bytes of a file; None if it is not there. Raises `NotAFile` and `OSError`."""
        flags = os.O_RDONLY | _NONBLOCK | _CLOEXEC | _BINARY | (0 if follow else _NOFOLLOW)
        try:
            descriptor = self._open(name, flags)
        except FileNotFoundError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotAFile(f"{name} is not a regular file")
            data = read_up_to(descriptor, READ_LIMIT + 1)
        finally:
            os.close(descriptor)
        if len(data) > READ_LIMIT:
            raise NotAFile(f"{name} has more than {READ_LIMIT} bytes")
        return data

    def size(self, name: str) -> int | None:
        """The size of a regular file without opening it; None if there is none."""
        there = self._stat(name)
        return None if there is None else there.st_size

    def modified(self, name: str) -> int:
        """When a regular file was written, in nanoseconds; 0 if there is none."""
        there = self._stat(name)
        return 0 if there is None else there.st_mtime_ns

    def remove(self, name: str) -> None:
        """Remove one file if that is possible."""
        with suppress(OSError):
            if self._descriptor is None:
                (self._path / name).unlink()
            else:
                os.unlink(name, dir_fd=self._descriptor)

    def current(self) -> bool:
        """Whether the path still leads to this generation."""
        if self._descriptor is None:
            return True
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def owner(self) -> int | None:
        """The owner's uid, where the system has one."""
        return None if self._descriptor is None else os.fstat(self._descriptor).st_uid

    def _stat(self, name: str) -> os.stat_result | None:
        try:
            by_path = self._descriptor is None
            there = (self._path / name).stat() if by_path else os.stat(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return None
        return there if stat.S_ISREG(there.st_mode) else None

    def _open(self, name: str, flags: int) -> int:
        if self._descriptor is None:
            return os.open(self._path / name, flags)
        return os.open(name, flags, dir_fd=self._descriptor)


@contextmanager
def snapshot(path: Path, *, follow: bool = True) -> Generator[Snapshot]:
    """Hold the directory at `path`. Raises `FileNotFoundError`, `NotADirectoryError` and other `OSError`s."""
    if not _BY_HANDLE:
        mode = (path.stat() if follow else path.lstat()).st_mode
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        yield Snapshot(path, None)
        return
    descriptor = os.open(path, os.O_RDONLY | _DIRECTORY | _CLOEXEC | (0 if follow else _NOFOLLOW))
    try:
        yield Snapshot(path, descriptor)
    finally:
        os.close(descriptor)


def read_up_to(descriptor: int, limit: int) -> bytes:
    """The bytes up to the end of the file, or the first `limit`."""
    parts: list[bytes] = []
    while limit > 0 and (part := os.read(descriptor, min(limit, 65536))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
