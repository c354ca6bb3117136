"""Everything that happens in a run and that somebody may want to see. The library is silent; observers print."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ci_acme.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    """Work on a certificate begins; `reason` says why it is issued, renewed or delivered."""

    certificate: str
    action: str
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """Something was done, in words for people: `published 2 TXT values in example.com (127.0.0.1:53)`."""

    certificate: str
    text: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something is being waited for, on a server. Sent again with a growing `seconds` while the wait lasts."""

    certificate: str
    what: str
    where: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Warned:
    """Not an error, and somebody should know: a dead name server, a CA that lost a nonce, a slow store."""

    certificate: str
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Work on a certificate ended with one of the contract's actions."""

    certificate: str
    action: str
    reason: str


Event: TypeAlias = Started | Step | Waiting | Warned | Finished
Observer: TypeAlias = Callable[[Event], None]
"""Called from any thread; must be quick and must not raise."""


def ignore(event: Event) -> None:
    """The observer of those who do not look."""
