"""Who may work on something that only one may work on: the decisions, without a clock, a disk or a process table.

A lease is held until its holder lets go, or until it expires because nobody renews it. Each holder has a larger fencing
token than all before it. A holder that cannot be sure of its lease any more stops before it changes anything.
"""

from __future__ import annotations

from enum import Enum

from ci_acme.dataclass import dataclass, replace


class Presence(Enum):
    """What is known of the process that holds a lease."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"
    """It runs elsewhere, or this system cannot tell."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it is written down. `owner` is None if nobody holds it; then only `fence` means something.

    `since` and `expires` are seconds on the clock that all who share the lease go by, `ttl` is in seconds.
    """

    fence: int
    owner: str | None = None
    since: float = 0.0
    expires: float = 0.0
    ttl: float = 0.0

    def renewed(self, now: float) -> Lease:
        """The same, for another `ttl`."""
        return replace(self, expires=now + self.ttl)

    def released(self) -> Lease:
        """Nobody's; the next fencing token will be larger."""
        return Lease(self.fence)


def is_free(lease: Lease | None, *, now: float, unchanged_for: float, presence: Presence) -> bool:
    """Whether the lease may be taken.

    `now` is the shared clock. `unchanged_for` says for how many seconds, on the observer's own clock that never jumps,
    no renewal was seen. A shared clock that jumps takes no lease from a process that is there, and one that went back
    does not keep the lease of a process that is not.
    """
    if lease is None or lease.owner is None or presence is Presence.GONE:
        return True
    silent = unchanged_for >= lease.ttl
    return silent or (presence is Presence.UNKNOWN and now >= lease.expires)


def taken(lease: Lease | None, owner: str, *, now: float, ttl: float) -> Lease:
    """The lease of the next holder."""
    return Lease((lease.fence if lease else 0) + 1, owner, since=now, expires=now + ttl, ttl=ttl)


def is_held_by(lease: Lease | None, owner: str, fence: int) -> bool:
    """Whether this holder still has it, expired or not: as long as nobody took it, it is not lost."""
    return lease is not None and lease.owner == owner and lease.fence == fence
