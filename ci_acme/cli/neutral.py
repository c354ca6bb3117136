"""Text that others wrote (a CA, a name server, a store), so that no CI system takes it for a command in the job's log.

GitHub reads `::name …::` at the begin of a line and `##[name …]` anywhere in it (actions/runner, ActionCommand.cs):
`##[stop-commands]x` in a message would let the masks after it be printed, `##[set-output name=…]` forge an output.
Azure Pipelines reads `##vso[…]`, TeamCity `##teamcity[…]`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TextIO

_AT_BEGIN: Final = re.compile(r"(\A|[\r\n])(\s*):(?=:)")
_ANYWHERE: Final = re.compile(r"#(?=#(vso|teamcity)?\[)", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_READERS: Final = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION")


def reads_commands(environ: Mapping[str, str]) -> bool:
    """Whether the log of this process may be read by something that obeys it."""
    return any(environ.get(name) for name in _READERS)


def neutral(text: str) -> str:
    """The text with a space in what would be a command. Lines stay lines."""
    return _AT_BEGIN.sub(r"\1\2: ", _ANYWHERE.sub("# ", text))


def plain(text: str) -> str:
    """The same, without characters that move a terminal's cursor or turn the direction of writing."""
    return neutral(_CONTROL.sub(" ", text))


class NeutralStream:
    """stdout of a job: what is printed is never a command. A JSON document stays the same document."""

    def __init__(self, stream: TextIO, *, json: bool) -> None:
        self._stream = stream
        self._json = json
        self._begins = True

    def write(self, text: str) -> int:
        """Write text; a line may come in parts. Returns the number of characters that were given."""
        if text:
            # In JSON, ## stands in strings alone, and no line begins with a colon.
            safe = _ANYWHERE.sub(r"\\u0023", text) if self._json else self._neutral(text)
            self._begins = text[-1] in "\r\n"
            self._stream.write(safe)
        return len(text)

    def _neutral(self, text: str) -> str:
        return neutral(text) if self._begins else neutral(f"x{text}")[1:]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
