"""What can go wrong on purpose, and the log of what was asked. Both may be changed and read while the CA runs."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Final

from ci_acme.dataclass import dataclass

KINDS: Final = (
    "directory", "newNonce", "newAccount", "account", "orders", "keyChange", "newOrder", "order", "finalize",
    "authz", "challenge", "certificate", "revokeCert", "renewalInfo", "terms", "unknown",
)  # fmt: skip
"""The kinds of paths: what faults aim at and what the log counts."""

ANY: Final = "*"


class Action(Enum):
    """What happens to a request that a fault meets."""

    RATE_LIMIT = "429 rateLimited"
    UNAVAILABLE = "503"
    CUT_BEFORE = "connection closed, nothing done"
    CUT_AFTER = "done, and the connection closed without an answer"
    SLOW = "answered late"
    HANG = "never answered"


class Flaw(Enum):
    """What is wrong with the next certificates."""

    OTHER_KEY = "certifies another key"
    OTHER_NAMES = "certifies another name"
    EXPIRED = "expired yesterday"
    GARBAGE_CHAIN = "the second PEM block is no certificate"
    FOREIGN_CHAIN = "the second certificate did not sign the first"
    EXTRA_BLOCK = "a PEM block that is no certificate follows (RFC 8555 section 11.4)"


@dataclass
class Fault:
    """One planned misfortune: `left` more times (None: always) on paths of `kind`."""

    action: Action
    kind: str
    left: int | None
    seconds: float = 0.0
    retry_after: int | str | None = None


class Faults:
    """The sandbox CA's misbehaviour; everything is off at first.

    Attributes:
        bad_nonce_percent: share of signed requests that are answered with ``badNonce`` (0 to 100).
        processing_seconds: how long an order stays ``processing`` after finalize.
        polling_retry_after: Retry-After for authorizations and orders under way; None: only while ``processing``.
        authorizations_valid: orders are born ``ready``.
        validation_seconds: how long the CA waits before it looks at the DNS.
        pending_errors: the next so many validations leave the challenge ``pending`` with an error, as smallstep does;
            answering the challenge again validates it.
        flaw: what is wrong with certificates.
        refuse_profiles: every requested profile is answered with ``invalidProfile``.
        terms_changed: newOrder is answered with ``userActionRequired``.
        key_change_status: keyChange is in the directory and answered with this status, as CAs do that do not have it.
        hidden: members that the directory does not have.
        bindings_once: an external account binding is good for one account.
        renewal_window: overrides what renewalInfo suggests.
        renewal_explanation: an explanationURL in renewalInfo.
        renewal_retry_after: its Retry-After in seconds; None leaves it out.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.bad_nonce_percent = 0.0
        self.processing_seconds = 0.0
        self.polling_retry_after: int | None = None
        self.authorizations_valid = False
        self.validation_seconds = 0.0
        self.pending_errors = 0
        self.flaw: Flaw | None = None
        self.refuse_profiles = False
        self.terms_changed = False
        self.key_change_status: int | None = None
        self.hidden: frozenset[str] = frozenset()
        self.bindings_once = False
        self.renewal_window: tuple[datetime, datetime] | None = None
        self.renewal_explanation: str | None = None
        self.renewal_retry_after: int | None = 21600
        self._random = random.Random(seed)  # noqa: S311 - a repeatable sequence is the point
        self._planned: list[Fault] = []
        self._lock = threading.Lock()

    def rate_limit(self, kind: str = ANY, *, times: int | None = 1, retry_after: int | str | None = 1) -> Fault:
        """429 ``rateLimited`` with Retry-After: seconds, or an HTTP date as text."""
        return self._plan(Fault(Action.RATE_LIMIT, kind, times, retry_after=retry_after))

    def unavailable(self, kind: str = ANY, *, times: int | None = 1, retry_after: int | str | None = None) -> Fault:
        """503 in HTML without a nonce, as a load balancer says it."""
        return self._plan(Fault(Action.UNAVAILABLE, kind, times, retry_after=retry_after))

    def cut_before(self, kind: str = ANY, *, times: int | None = 1) -> Fault:
        """Close the connection instead of doing anything."""
        return self._plan(Fault(Action.CUT_BEFORE, kind, times))

    def cut_after(self, kind: str = ANY, *, times: int | None = 1) -> Fault:
        """Do it, and close the connection instead of answering."""
        return self._plan(Fault(Action.CUT_AFTER, kind, times))

    def slow(self, kind: str = ANY, *, seconds: float, times: int | None = None) -> Fault:
        """Answer late."""
        return self._plan(Fault(Action.SLOW, kind, times, seconds=seconds))

    def hang(self, kind: str = ANY, *, times: int | None = 1) -> Fault:
        """Hold the connection open and never answer."""
        return self._plan(Fault(Action.HANG, kind, times))

    def clear(self) -> None:
        """Forget the planned faults; the attributes stay."""
        with self._lock:
            self._planned.clear()

    def take(self, kind: str) -> list[Fault]:
        """The faults that this request meets: the slow ones, and the first of the others. Used up by this."""
        met: list[Fault] = []
        with self._lock:
            for fault in self._planned:
                decided = any(other.action is not Action.SLOW for other in met)
                if fault.kind not in (kind, ANY) or fault.left == 0 or (decided and fault.action is not Action.SLOW):
                    continue
                met.append(fault)
                if fault.left is not None:
                    fault.left -= 1
        return met

    def spoils_nonce(self) -> bool:
        """Draw whether this request's nonce is called bad."""
        with self._lock:
            return self._random.uniform(0, 100) < self.bad_nonce_percent

    def takes_pending_error(self) -> bool:
        """Whether this validation shall fail softly. Used up by this."""
        with self._lock:
            self.pending_errors, hit = max(0, self.pending_errors - 1), self.pending_errors > 0
            return hit

    def _plan(self, fault: Fault) -> Fault:
        if fault.kind not in (*KINDS, ANY):
            raise ValueError(f"{fault.kind!r} is no kind of path: {', '.join(KINDS)}")
        with self._lock:
            self._planned.append(fault)
        return fault


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request; `status` is 0 when the client got no answer."""

    method: str
    kind: str
    status: int


class RequestLog:
    """Every request to the CA, oldest first."""

    def __init__(self) -> None:
        self._entries: list[LoggedRequest] = []
        self._lock = threading.Lock()

    def note(self, method: str, kind: str, status: int) -> None:
        """Append one."""
        with self._lock:
            self._entries.append(LoggedRequest(method, kind, status))

    @property
    def entries(self) -> list[LoggedRequest]:
        """A copy of the log."""
        with self._lock:
            return list(self._entries)

    def counts(self, statuses: Iterable[int] | None = None) -> Counter[str]:
        """How many requests of each kind; only those with one of `statuses`, if given."""
        wanted = None if statuses is None else set(statuses)
        return Counter(entry.kind for entry in self.entries if wanted is None or entry.status in wanted)

    def clear(self) -> None:
        """Start counting anew."""
        with self._lock:
            self._entries.clear()
