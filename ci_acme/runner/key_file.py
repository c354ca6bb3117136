"""The file of an account key: made, and replaced, so that at no moment the only working key is not on disk.

Beside `account.pem` there may be `account.pem.new`: the key of a rotation that has not ended. Both are whole whenever
they are there, and durable before the CA hears of them.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ci_acme.config.secrets import read_secret
from ci_acme.errors import AccountError, LeaseHeld
from ci_acme.model.secret import Secret

SCHEME: Final = "file:"
_NO_DIRECTORY_FSYNC: Final = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP)
"""Network file systems that cannot; they order names themselves."""
_BLANK: Final = 4096
"""Bytes of a file that are looked at for any content."""


class KeyFile:
    """The file that the reference `file:PATH` names; where PATH is a symlink, the file that it leads to."""

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self.path = Path(os.path.realpath(Path(reference.removeprefix(SCHEME)).expanduser()))
        self.next = self.path.with_name(f"{self.path.name}.new")

    @staticmethod
    def of(reference: str) -> KeyFile | None:
        """The file of a reference, None for one that is not `file:`."""
        return KeyFile(reference) if reference.startswith(SCHEME) else None

    @property
    def missing(self) -> bool:
        """Whether there is no key: no file, or one without content, as `touch` and secret mounts make it."""
        try:
            if not self.path.is_file():
                return not os.path.lexists(self.path)
            with self.path.open("rb") as file:
                return not file.read(_BLANK).strip()
        except OSError:
            return False  # whoever reads the key says what is wrong

    def create(self, pem: Secret) -> bool:
        """Write a key that is not there yet; False if another run was first. Raises `AccountError`."""
        made = self._write(self.path, pem, 0o600) or self._fill(pem)
        self.tidy()
        return made

    def _fill(self, pem: Secret) -> bool:
        """The same where a file without content is."""
        with _explained(self.path), self.path.open("rb") as there:
            _lock(there.fileno())
            if not self.missing or not os.path.samestat(os.fstat(there.fileno()), self.path.stat()):
                return False
            whole = self.path.with_name(f"{_hidden(self.path)}whole")
            whole.unlink(missing_ok=True)
            self._write(whole, pem, 0o600)
            whole.replace(self.path)
            _sync(self.path.parent)
        return True

    def tidy(self) -> None:
        """Where there is a key: remove what runs that were killed in `create` left, unused keys or second names of it.

        Another run may be making one right now: it finds out that this one was first.
        """
        for rest in _rests(self.path):
            with suppress(OSError):
                rest.unlink()

    def stage(self, pem: Secret) -> None:
        """Write the next key beside the one in use, if there is none yet. Raises `AccountError`."""
        with _explained(self.next):
            mode = stat.S_IMODE(self.path.stat().st_mode)
        for rest in _rests(self.next):  # of runs that were killed; this one is alone
            rest.unlink(missing_ok=True)
        self._write(self.next, pem, mode)

    def staged(self) -> Secret | None:
        """The next key of a rotation that has not ended. Raises `SecretError` if it cannot be read."""
        return read_secret(f"{SCHEME}{self.next}") if os.path.lexists(self.next) else None

    def promote(self) -> None:
        """Put the next key in the place of the one that was in use. Raises `AccountError`, which says where it is."""
        try:
            self.next.replace(self.path)
            with suppress(OSError):
                _sync(self.path.parent)  # if it is not: both names hold keys, and the next run moves it again
        except FileNotFoundError:
            return  # a run beside this one did
        except OSError as error:
            raise AccountError(
                f"the CA has taken the key in {self.next}, and it cannot be moved to {self.path}: {error.strerror}",
                fix=f"make {self.path} writable and run ci-acme account rotate-key again; keep {self.next}",
            ) from None

    def discard(self) -> None:
        """Remove a next key that the CA has not taken."""
        with _explained(self.next):
            self.next.unlink(missing_ok=True)
            _sync(self.path.parent)

    @contextmanager
    def only_one(self) -> Generator[None, None, None]:
        """Rotate alone. Raises `LeaseHeld` if another process does; where files cannot be locked there is no guard."""
        try:
            from fcntl import LOCK_EX, LOCK_NB, flock
        except ImportError:  # Windows
            yield
            return
        with _explained(self.path):
            descriptor = os.open(self.path, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without locks
                try:
                    flock(descriptor, LOCK_EX | LOCK_NB)
                except BlockingIOError:
                    raise self._held() from None
            if not os.path.samestat(os.fstat(descriptor), self.path.stat()):
                raise self._held()  # it has just put another file there
            yield
        finally:
            os.close(descriptor)

    def _held(self) -> LeaseHeld:
        return LeaseHeld(
            f"another process rotates the account key in {self.path}", fix="wait until it has ended, then look again"
        )

    def _write(self, path: Path, pem: Secret, mode: int) -> bool:
        """Whole, durable, and never over something that is there."""
        temporary = path.with_name(f"{_hidden(path)}{os.getpid()}-{threading.get_ident()}")
        try:
            with _explained(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.unlink(missing_ok=True)
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    with os.fdopen(descriptor, "wb") as file:
                        file.write(pem.reveal())
                        file.flush()
                        temporary.chmod(mode)
                        os.fsync(file.fileno())
                    os.link(temporary, path)
                except FileExistsError:
                    return False
                except FileNotFoundError:
                    if path.exists():  # another run was first, and has tidied up
                        return False
                    raise
                _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
        return True


@contextmanager
def _explained(path: Path) -> Generator[None, None, None]:
    """What the system says, as the error of a user."""
    try:
        yield
    except OSError as error:
        raise AccountError(
            f"the account key cannot be written to {path}: {error.strerror}",
            fix="make the directory writable, or set account_key to a key that exists",
        ) from None


def _lock(descriptor: int) -> None:
    """Alone until the file is closed, where files can be locked."""
    try:
        from fcntl import LOCK_EX, flock
    except ImportError:  # Windows
        return
    with suppress(OSError):
        flock(descriptor, LOCK_EX)


def _hidden(path: Path) -> str:
    """How the names of temporary files for `path` begin."""
    return f".{path.name}.part-"


def _rests(path: Path) -> list[Path]:
    """The temporary files for `path` that there are."""
    try:
        return [entry for entry in path.parent.iterdir() if entry.name.startswith(_hidden(path))]
    except OSError:
        return []


def _sync(directory: Path) -> None:
    """Make names in a directory durable, where the system can."""
    flag = getattr(os, "O_DIRECTORY", None)
    if flag is None:
        return
    descriptor = os.open(directory, os.O_RDONLY | flag)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_FSYNC:
            raise
    finally:
        os.close(descriptor)
