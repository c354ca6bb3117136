"""What a program printed, for an error message: its last lines, with nothing in them that it was told in confidence."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ci_acme.programs import Finished

_LINES: Final = 20
_WIDTH: Final = 300
_SHORTEST: Final = 4
"""Shorter values are words like `eu`, and are not hidden."""
_CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def last_lines(finished: Finished, secrets: Iterable[str]) -> list[str]:
    """The last lines that are not blank; `secrets`, and each line of one that has several, are masked."""
    text = finished.output.decode("utf-8", errors="replace")
    if finished.size > len(finished.output):
        text = text.partition("\n")[2]  # the first line is cut, and a secret in it could be
    for secret in sorted(_pieces(secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    lines = (_CONTROL.sub("", line).strip() for line in text.replace("\r", "\n").split("\n"))
    return [line[:_WIDTH] for line in lines if line][-_LINES:]


def _pieces(secrets: Iterable[str]) -> set[str]:
    return {
        piece
        for secret in secrets
        for piece in (secret, secret.strip(), *(line.strip() for line in secret.splitlines()))
        if len(piece) >= _SHORTEST
    }
