"""A source that could not be asked: for `monitor` that is a finding, and never the end of the run."""

from __future__ import annotations


class SourceDown(Exception):
    """What happened, and what to do; nothing secret in either."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
