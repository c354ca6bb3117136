"""Everything that leaves a run: what it prints, writes, removes, logs, raises, and whom it starts with what."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ci_acme.errors import CiAcmeError

_WATCH: list[Watch] = []


class Watch:
    """Within `open`, notes in `seen` by place. Child processes are noted in `children`.

    Attributes:
        seen: what was told, by where it was.
        children: argument lists and environments of programs that were started.
        notable: the log records that a program shows which has set up no logging (warnings and worse).
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.seen: list[tuple[str, bytes]] = []
        self.children: list[tuple[Any, ...]] = []
        self._errors: list[BaseException] = []

    @contextmanager
    def open(self) -> Generator[Watch]:
        """Watch this process."""
        handler = _Handler(self)
        root = logging.getLogger()
        before, init = root.level, CiAcmeError.__init__
        errors = self._errors

        def noted(error: CiAcmeError, *arguments: Any, **more: Any) -> None:
            init(error, *arguments, **more)
            errors.append(error)

        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        CiAcmeError.__init__ = noted  # type: ignore[method-assign]
        _WATCH.append(self)
        try:
            yield self
        finally:
            _WATCH.remove(self)
            CiAcmeError.__init__ = init  # type: ignore[method-assign]
            root.setLevel(before)
            root.removeHandler(handler)
        self._tell_errors()
        self._tell_files()

    def tell(self, place: str, text: str | bytes) -> None:
        self.seen.append((place, text if isinstance(text, bytes) else text.encode(errors="surrogateescape")))

    def _tell_errors(self) -> None:
        """Each error, and what a traceback of it would print: its causes, and what was on the way."""
        for error in self._errors:
            assert isinstance(error, CiAcmeError)
            said = "".join(traceback.format_exception(error))
            self.tell(f"error {error.code}", f"{error!r}\n{error.as_dict()!r}\n{said}")
        self._errors.clear()

    def _tell_files(self) -> None:
        """Whatever is left, but for where keys belong."""
        for path in self.directory.rglob("*"):
            if path.is_file() and not is_place_of_keys(path):
                self.tell(f"file {path.name}", path.read_bytes())


def is_place_of_keys(path: Path) -> bool:
    """The account's key, and what the file store writes."""
    return "account.pem" in path.name or path.name == "tls-key.pem" or "certs" in path.parts


class _Handler(logging.Handler):
    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.DEBUG)
        self._watch = watch
        self._form = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        self._watch.tell(f"log {record.name} {record.levelname}", self._form.format(record))


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _WATCH:
        return
    watch = _WATCH[-1]
    if event in {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"}:
        if arguments[1] != ["uname", "-p"]:  # the SDK of Azure asks what machine this is
            watch.children.append(arguments)
        watch.tell(f"child {event}", repr(arguments))
    elif event == "os.remove":
        path = Path(os.fsdecode(arguments[0]))
        if watch.directory in path.parents and not is_place_of_keys(path) and path.is_file():
            watch.tell(f"removed {path.name}", path.read_bytes())


sys.addaudithook(_hook)
