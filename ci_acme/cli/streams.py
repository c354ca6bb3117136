"""stdout and stderr that no reader can break: a pipe that closes, a full disk or a terminal that is gone stops no run.

A run that ordered a certificate must store it, whether or not somebody still reads what it says. What stdout lost
decides about the exit status at the end, what stderr lost about nothing.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast, final

if TYPE_CHECKING:
    from types import TracebackType


class Steadfast:
    """A text stream whose writes never raise `OSError`. `lost` is the first one that it met; the rest is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or drop. Returns the number of characters that were given."""
        if self.lost is None:
            try:
                self._stream.write(text)
            except OSError as error:
                self.lost = error
        return len(text)

    def flush(self) -> None:
        """Flush, or note what was lost."""
        if self.lost is None:
            try:
                self._stream.flush()
            except OSError as error:
                self.lost = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@final
class Streams:
    """While this is open, `sys.stdout` and `sys.stderr` are steadfast, and take any text.

    A process may be started without them. Where stdout is no terminal it is UTF-8 whatever the locale is, as the files
    are that are made from it (YAML, JSON, HTML); on a terminal a character that it does not have is escaped.
    """

    def __enter__(self) -> Streams:
        self._before = (sys.stdout, sys.stderr)
        self._out = Steadfast(_usable(sys.stdout, utf8=True))
        self._err = Steadfast(_usable(sys.stderr, utf8=False))
        sys.stdout, sys.stderr = cast("TextIO", self._out), cast("TextIO", self._err)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.flush()
        lost = self._out.lost
        if lost is not None and not isinstance(lost, BrokenPipeError):
            self._err.write(f"error: stdout cannot be written, so that the result is cut: {lost.strerror or lost}\n")
        self._err.flush()
        for number, stream, before in ((1, self._out, self._before[0]), (2, self._err, self._before[1])):
            if stream.lost is not None and before in (sys.__stdout__, sys.__stderr__):
                _discard_the_rest(number)
        sys.stdout, sys.stderr = self._before

    def status(self, status: int) -> int:
        """The exit status of a command whose own is `status`: a result that could not be written is a failure.

        A reader that closed the pipe (`| head`) has what it wanted.
        """
        lost = self._out.lost
        if lost is None or isinstance(lost, BrokenPipeError):
            return status
        return status or 1


def _usable(stream: TextIO | None, *, utf8: bool) -> TextIO:
    if stream is None:  # started with it closed (`>&-`)
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - lives until the process ends
    if isinstance(stream, io.TextIOWrapper):  # and not what a test put there
        # Who says PYTHONIOENCODING wants exactly that.
        files = utf8 and not stream.isatty() and not os.environ.get("PYTHONIOENCODING")
        stream.reconfigure(errors="backslashreplace", encoding="utf-8" if files else None)
    return stream


def _discard_the_rest(number: int) -> None:
    """Let what Python still flushes when it ends go nowhere: it would complain, and change the exit status."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
