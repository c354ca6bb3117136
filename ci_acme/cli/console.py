"""stderr for people: a live line on a terminal, plain lines in CI, JSON lines for machines.

stdout belongs to the result alone. A wait that lasts shows on which server and for how long: on a terminal at once, in
plain lines as a heartbeat, because a silent CI job looks like a hung one.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TextIO

from ci_acme.cli.neutral import plain
from ci_acme.errors import CiAcmeError
from ci_acme.model.events import Event, Started, Step, Waiting, Warned
from ci_acme.model.secret import without_secrets

if TYPE_CHECKING:
    from ci_acme.cli.annotations import Annotator

LEVELS: Final = {"error": 0, "warning": 1, "info": 2, "debug": 3}
FIRST_SIGN: Final = 3.0
HEARTBEAT: Final = 10.0
"""Seconds after which a wait shows when stderr is not a terminal, and between two lines about the same wait."""

_COLORS: Final = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}


class Console:
    """Writes events and errors to stderr. Thread-safe; `__call__` is an `Observer`.

    `finished` is the level of "this certificate is done": debug where stdout tells the same to the same reader.
    `annotator` makes lines that a CI system shows at the config file, None where the CI system has no such thing.
    """

    def __init__(
        self,
        *,
        level: str = "info",
        form: str = "text",
        color: bool | None = None,
        finished: str = "info",
        stream: TextIO | None = None,
        annotator: Annotator | None = None,
    ) -> None:
        self._stream = stream or sys.stderr
        self.annotator = annotator if form == "text" else None
        self.on_secret = None if annotator is None else annotator.mask
        self._level = LEVELS[level]
        self._json = form == "json"
        self._finished = finished
        self._live = not self._json and self._stream.isatty()
        self._color = self._live if color is None else color and not self._json
        self._lock = threading.Lock()
        self._line = ""
        self._next: dict[tuple[str, str], float] = {}

    def __call__(self, event: Event) -> None:
        """Show an event, if the level lets it through."""
        if isinstance(event, Waiting):
            self._waiting(event)
        elif isinstance(event, Warned):
            self.warning(event.text, certificate=event.certificate)
        elif isinstance(event, Step):
            self._write("debug" if event.text.startswith("request ") else "info", event.certificate, event.text)
        elif isinstance(event, Started):
            self._write("info", event.certificate, f"{event.action}: {event.reason}")
        elif event.action not in {"failed", "refused"}:  # an error says more, and is shown with its fix
            self._write(self._finished, event.certificate, f"{event.action}: {event.reason}", color="green")

    def warning(self, text: str, certificate: str = "") -> None:
        """A warning, with the certificate that it is about."""
        self._write("warning", certificate, text, color="yellow", word="warning: ")

    def error(self, error: CiAcmeError, certificate: str = "") -> None:
        """An error and its fix."""
        self._write("error", certificate, error.message, color="red", word="error: ", code=error.code, fix=error.fix)

    def annotate(self, level: str, text: str, certificate: str = "") -> None:
        """Show a finding at the config file, where the CI system has such a thing; stdout has it for everybody."""
        if self.annotator is None:
            return
        with self._lock:
            self._wipe()
            self._stream.write(self.annotator(level, text, certificate) + "\n")
            self._stream.flush()

    def info(self, text: str) -> None:
        """A line without a certificate."""
        self._write("info", "", text)

    def close(self) -> None:
        """Wipe the live line."""
        with self._lock:
            self._wipe()

    def paint(self, text: str, color: str) -> str:
        """The text in a colour, if colours are on."""
        return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if self._color else text

    def _waiting(self, event: Waiting) -> None:
        text = f"waiting for {event.what} on {event.where}, {event.seconds:.0f} s"
        if self._live and self._level >= LEVELS["info"]:
            with self._lock:
                self._wipe()
                head = f"{event.certificate}: " if event.certificate else ""
                self._line = plain(head + text)[: _width(self._stream) - 1]  # a line that wraps cannot be wiped
                self._stream.write(self._line)
                self._stream.flush()
            return
        key = (event.certificate, event.what)
        with self._lock:
            if event.seconds < FIRST_SIGN:
                self._next.pop(key, None)  # a new wait for the same thing
            due = event.seconds >= self._next.get(key, FIRST_SIGN)
            if due:
                self._next[key] = event.seconds + HEARTBEAT
        if due:
            self._write("info", event.certificate, text)

    def _write(self, level: str, certificate: str, text: str, *, color: str = "", word: str = "", **more: Any) -> None:
        if LEVELS[level] > self._level:
            return
        text = without_secrets(text)
        if self._json:
            document = {"level": level, "time": _now(), "certificate": certificate or None, "message": text, **more}
            line = json.dumps({key: value for key, value in document.items() if value not in (None, "")})
            line = line.replace("##", "#\\u0023")  # no command for a CI system, see plain
        elif self.annotator is not None and level in {"error", "warning"}:
            line = self.annotator(level, f"{text}\nfix: {more['fix']}" if more.get("fix") else text, certificate)
        else:
            head = plain(f"{certificate}: ") if certificate else ""
            said = plain(word + text)
            line = head + (self.paint(said, color) if color else said)
            fix = more.get("fix")
            if fix:
                line += "\n" + plain(f"  fix: {fix}")
        with self._lock:
            self._wipe()
            self._stream.write(line + "\n")
            self._stream.flush()

    def _wipe(self) -> None:
        if self._line:
            self._stream.write("\r\x1b[K")
            self._line = ""


def _width(stream: TextIO) -> int:
    """Columns of the terminal, at most 111."""
    try:
        return min(os.get_terminal_size(stream.fileno()).columns or 80, 111)
    except (OSError, ValueError):
        return 80


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
