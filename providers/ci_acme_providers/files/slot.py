"""A directory that is replaced as one, and the temporary names beside it.

`PATH` is what readers use. Beside it, for one replacement with the random X:

    PREFIXnew-X   the generation in preparation; after an exchange, the old generation
    PREFIXold-X   the old generation, where names cannot be exchanged
    PREFIXbad-X   a generation that did not verify

Whatever instant a process dies at, `PATH` has a whole generation, or `recover` gives it back.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from pathlib import Path

from ci_acme.dataclass import dataclass
from ci_acme_providers.files.disk import remove_quietly
from ci_acme_providers.files.exchange import exchange


@dataclass(frozen=True, slots=True)
class Slot:
    """`path` is replaced as one; `prefix` begins its temporary names in the same directory.

    `ours` are the names in the directory that we write; any other file belongs to a user and is never lost. None if
    the whole directory is ours.
    """

    path: Path
    prefix: str
    ours: frozenset[str] | None

    def temporary(self, kind: str = "new") -> Path:
        """A name that nobody has guessed."""
        return self.path.with_name(f"{self.prefix}{kind}-{os.urandom(8).hex()}")

    def prepare(self) -> Path:
        """A new, private directory for the next generation."""
        path = self.temporary()
        path.mkdir(mode=0o700)  # exclusive: a symlink planted under the name is an error
        path.chmod(0o700)  # whatever the umask took
        return path

    def install(self, new: Path) -> Path | None:
        """Put `new` in place; returns where the old generation is now, None if there was none.

        On failure the old generation is in place again.
        """
        if not os.path.lexists(self.path):
            new.rename(self.path)
            return None
        if exchange(new, self.path):
            return new
        aside = self._partner(new, "old")
        self.path.rename(aside)
        try:
            new.rename(self.path)
        except BaseException:
            aside.rename(self.path)
            raise
        return aside

    def restore(self, old: Path | None) -> Path:
        """Undo `install`; returns where the generation that did not verify is now."""
        bad = self.temporary("bad")
        if old is None:
            self.path.rename(bad)
            return bad
        if exchange(old, self.path):
            return old
        self.path.rename(bad)
        old.rename(self.path)
        return bad

    def interrupted(self) -> bool:
        """Whether a process died between the two renames of a replacement (or is there just now)."""
        return not os.path.lexists(self.path) and any(self._of_kind("old"))

    def recover(self) -> None:
        """Finish or undo an interrupted replacement. Only for whoever holds the lock."""
        if os.path.lexists(self.path):
            return
        for aside in self._of_kind("old"):
            new = self._partner(aside, "new")  # complete: the old one stepped aside only then
            (new if new.exists() else aside).rename(self.path)
            return

    def leftovers(self) -> list[Path]:
        """Everything that bears one of our temporary names."""
        return [path for kind in ("new", "old", "bad") for path in self._of_kind(kind)]

    def discard(self, generation: Path) -> None:
        """Remove a generation that is not in use, as far as possible; never raises and follows no symlink.

        A user's file moves to `path`, unless it is there already (as the hard link that the next generation was
        given). What cannot be moved stays, in the directory that it is in.
        """
        if generation.is_symlink() or not generation.is_dir():
            remove_quietly(generation)
            return
        entries: list[Path] = []
        with suppress(OSError):
            entries = list(generation.iterdir())
        for entry in entries:
            if self.ours is None or entry.name in self.ours or os.path.lexists(self.path / entry.name):
                remove_quietly(entry)
            else:
                with suppress(OSError):
                    entry.rename(self.path / entry.name)
        with suppress(OSError):
            generation.rmdir()

    def check_is_directory(self) -> None:
        """Raise `NotADirectoryError` if something else is in place."""
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path))

    def rehearse(self, occupied: Path) -> None:
        """Raise the `OSError` with which `install` would fail, without changing anything.

        A directory cannot be renamed onto one that has entries (POSIX); the system says so only after everything else
        was in order: permissions, a sticky parent, mount points, layers of an overlay.
        """
        if not os.path.lexists(self.path):
            return
        if not os.access(self.path, os.W_OK | os.X_OK):  # the old generation could not be emptied
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.path))
        try:
            self.path.rename(occupied)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                return
            raise
        occupied.rename(self.path)  # a file system of its own kind; nothing is lost

    def _of_kind(self, kind: str) -> list[Path]:
        pattern = re.compile(rf"{re.escape(self.prefix)}{kind}-[0-9a-f]{{16}}\Z")
        try:
            return sorted(path for path in self.path.parent.iterdir() if pattern.match(path.name))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _partner(self, path: Path, kind: str) -> Path:
        return path.with_name(f"{self.prefix}{kind}-{path.name[-16:]}")
