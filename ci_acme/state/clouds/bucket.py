"""A bucket: named objects that are written and removed under conditions, with patience for throttling and lost replies.

What differs between the clouds is a `Cloud`: how a request is written down and signed, and how an answer is read.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, Protocol

from ci_acme.dataclass import dataclass
from ci_acme.errors import Interrupted, StateError, StateUnavailable
from ci_acme.ports import Clock, Deadline
from ci_acme.wire import Reply, Request, Unreachable, Wire

PATIENCE: Final = 30.0
"""Seconds that one operation may take with all its tries while the service fails or does not answer."""
CROWDED: Final = 120.0
"""Seconds that it may take while the service says that there are too many requests, and for changes that meet others:
Google Cloud Storage takes about one write of one object a second."""
_STOPPING: Final = 3.0
"""Seconds that are left for it once the run was told to stop."""
_REQUEST_TIMEOUT: Final = 15.0
_TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504})
_CARRIED_OUT: Final = frozenset({500, 502, 504})
"""Those of which the request may have been carried out; 408, 429 and 503 say that it was not."""
_FIRST: Final = 0.05
_LONGEST: Final = 4.0


class Refused(Exception):
    """The condition of a write or removal did not hold.

    `lost`: an earlier try of it got no reply, so that it may have been carried out and be why it does not hold now.
    """

    def __init__(self, name: str, *, lost: bool = False) -> None:
        super().__init__(name)
        self.lost = lost


class Absent:
    """The condition that no object has the name."""


ABSENT: Final = Absent()

Condition = str | Absent | None
"""The tag that the object must have, or that there is none; None for no condition."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object, and the tag (ETag or generation) that names this write of it."""

    body: bytes
    tag: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing says of an object."""

    name: str
    size: int


class Cloud(Protocol):
    """The dialect of one object storage service, for one bucket. Thread-safe."""

    where: str
    """What messages call it: `s3://bucket`."""
    needs: str
    """The permissions that the credentials need, for the fix of a refusal."""

    def get(self, name: str) -> Request: ...

    def put(self, name: str, body: bytes, condition: Condition) -> Request: ...

    def delete(self, name: str, tag: str | None) -> Request: ...

    def listing(self, prefix: str, page: str | None) -> Request: ...

    def signed(self, request: Request) -> Request:
        """The request with credentials. Raises `StateError` if there are none, `Unreachable`."""
        ...

    def learn(self, reply: Reply) -> bool:
        """Whether a refusal taught something that helps the next try: a region, the time, that a token has expired."""
        ...

    def code(self, reply: Reply) -> str:
        """The service's word for an error: `NoSuchBucket`."""
        ...

    def tag(self, reply: Reply) -> str:
        """The tag in the reply to a get or put."""
        ...

    def is_tag(self, text: str) -> bool:
        """Whether it has the form of a tag of this service."""
        ...

    def listed(self, reply: Reply) -> tuple[Sequence[Listed], str | None]:
        """The objects of a page, and what asks for the next one."""
        ...


class Backoff:
    """Full jitter inside one deadline, on a clock that goes on for a little while after the run was told to stop."""

    def __init__(self, clock: Clock, *, seconds: float, longest: float = _LONGEST) -> None:
        self.deadline = Deadline(clock, seconds)
        self._clock = clock
        self._pause = _FIRST
        self._longest = longest

    def wait(self) -> bool:
        """Wait before another try; False if there is no time for one."""
        if self.deadline.expired:
            return False
        pause = min(random.uniform(0, self._pause), self.deadline.remaining())  # noqa: S311 - no secret
        self._pause = min(2 * self._pause, self._longest)
        try:
            self._clock.sleep(pause)
        except Interrupted:
            self._clock = self._clock.shielded()
            self.deadline = self.deadline.within(_STOPPING)
            self._clock.sleep(min(pause, _STOPPING))
        return True


class Bucket:
    """The objects of one bucket, whole and under conditions. Thread-safe. Raises `StateError` for what cannot be done.

    `put` and `delete` are repeated when their reply is lost, so `Refused` may mean that the first try did it: whoever
    needs to know writes something unique and looks.
    """

    def __init__(self, cloud: Cloud, wire: Wire, *, clock: Clock) -> None:
        self._cloud = cloud
        self._wire = wire
        self._clock = clock

    @property
    def where(self) -> str:
        """`s3://bucket`."""
        return self._cloud.where

    def get(self, name: str) -> Found | None:
        """The object; None if there is none."""
        reply = self._ask(self._cloud.get(name))
        if reply.status == 404 and not self._is_no_bucket(reply):
            return None
        self._require(reply, f"read {name}")
        return Found(reply.body, self._cloud.tag(reply))

    def put(self, name: str, body: bytes, condition: Condition) -> str:
        """Write the object if the condition holds, and return its new tag. Raises `Refused`."""
        if isinstance(condition, str) and not self._cloud.is_tag(condition):
            raise Refused(name)
        reply, lost = self._ask_patiently(self._cloud.put(name, body, condition))
        if self._is_refused(reply, condition):
            raise Refused(name, lost=lost)
        self._require(reply, f"write {name}")
        return self._cloud.tag(reply)

    def delete(self, name: str, tag: str | None) -> None:
        """Remove the object if it has the tag. Raises `Refused` if it has another or there is none.

        Without a tag nothing there is a success, and so is nothing there after a try whose reply was lost.
        """
        if tag is not None and not self._cloud.is_tag(tag):
            raise Refused(name)
        reply, lost = self._ask_patiently(self._cloud.delete(name, tag))
        if reply.status == 404 and not self._is_no_bucket(reply) and (tag is None or lost):
            return
        if self._is_refused(reply, tag):
            raise Refused(name, lost=lost)
        self._require(reply, f"delete {name}")

    def list(self, prefix: str) -> Sequence[Listed]:
        """All objects whose names begin with `prefix`, in no order."""
        found: list[Listed] = []
        page: str | None = None
        while True:
            reply = self._ask(self._cloud.listing(prefix, page))
            self._require(reply, "list objects")
            objects, following = self._cloud.listed(reply)
            found += objects
            if following is None or following == page:
                return found
            page = following

    def time(self, name: str) -> float:
        """Seconds since the epoch on the service's clock, to the second; asks for the object `name`, there or not."""
        from email.utils import parsedate_to_datetime

        reply = self._ask(self._cloud.get(name))
        if reply.status != 404 or self._is_no_bucket(reply):
            self._require(reply, f"read {name}")
        try:
            return parsedate_to_datetime(reply.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            raise StateError(f"{self.where} does not say what time it is", fix="use another state") from None

    def close(self) -> None:
        """Let go of connections."""
        self._wire.close()

    # --- answers -----------------------------------------------------------------------------------------------------

    def _ask(self, request: Request) -> Reply:
        return self._ask_patiently(request)[0]

    def _ask_patiently(self, request: Request) -> tuple[Reply, bool]:
        """The first reply that is the service's word, and whether a try before it may have been carried out."""
        backoff, outage = Backoff(self._clock, seconds=CROWDED), Deadline(self._clock, PATIENCE)
        lessons, lost, crowded = 3, False, False
        while True:
            try:
                signed = self._cloud.signed(request)
            except Unreachable as error:
                reason = str(error)
            else:
                reply, reason = self._try(signed, backoff)
                if reply is not None and lessons and reply.status in _TEACHING and self._cloud.learn(reply):
                    lessons -= 1
                    continue
                if reply is not None and not reason:
                    return reply, lost
                lost = lost or reply is None or reply.status in _CARRIED_OUT
                crowded = reply is not None and (reply.status == 429 or self._cloud.code(reply) in _CROWDED_CODES)
            if (outage.expired and not crowded) or not backoff.wait():
                raise StateUnavailable(
                    f"the state in {self.where} cannot be used: {reason}",
                    fix="check the network and the service's status page; run again",
                )

    def _try(self, request: Request, backoff: Backoff) -> tuple[Reply | None, str]:
        """What came back, if anything, and why it is worth another try, empty if it is not."""
        try:
            reply = self._wire.send(request, timeout=min(_REQUEST_TIMEOUT, max(1.0, backoff.deadline.remaining())))
        except Unreachable as error:
            return None, str(error)
        code = self._cloud.code(reply)
        if reply.status in _TRANSIENT or code in _TRANSIENT_CODES:
            return reply, f"it answered {reply.status} {code}".rstrip()
        return reply, ""

    def _is_no_bucket(self, reply: Reply) -> bool:
        return self._cloud.code(reply) in _NO_BUCKET

    def _is_refused(self, reply: Reply, condition: Condition) -> bool:
        exists = condition is ABSENT and reply.status == 409 and self._cloud.code(reply) in _EXISTS
        gone = isinstance(condition, str) and reply.status == 404 and not self._is_no_bucket(reply)
        return reply.status == 412 or exists or gone

    def _require(self, reply: Reply, what: str) -> None:
        if reply.ok:
            return
        code = self._cloud.code(reply)
        details = {"status": reply.status, "code": code}
        if self._is_no_bucket(reply):
            raise StateError(
                f"the state in {self.where} cannot be used: there is no such bucket or container",
                fix="create it, or correct state in the config",
                details=details,
            )
        if reply.status in {401, 403}:
            raise StateError(
                f"{self.where} refuses to {what}: {reply.status} {code}".rstrip(),
                fix=f"let these credentials {self._cloud.needs}",
                details=details,
            )
        raise StateError(
            f"{self.where} answered {reply.status} {code}".rstrip() + f" to: {what}",
            fix="check the bucket's settings (a retention lock, encryption by a key) and the endpoint",
            details=details,
        )


_CROWDED_CODES: Final = frozenset({"SlowDown", "ServerBusy", "ConditionalRequestConflict", "OperationAborted"})
_TRANSIENT_CODES: Final = frozenset({"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown"})
"""S3: two writes of one object at the same time, and its throttling."""
_TEACHING: Final = frozenset({301, 307, 400, 401, 403})
_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})
_EXISTS: Final = frozenset({"BlobAlreadyExists"})
