"""Calls to Google's APIs: who may be asked again, how long, and when an answer is doubtful.

A request that got no answer, or a 5xx, may have been carried out. What may be sent twice is sent again here; the caller
of anything else (`repeat=False`) looks first.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from ci_acme.dataclass import dataclass, field
from ci_acme.ports import Deadline
from ci_acme.wire import Reply, Request, Unreachable
from ci_acme_providers.gcp.faults import NoReply, Refusal
from ci_acme_providers.gcp.session import GoogleSession

_TRANSIENT: Final = frozenset({408, 500, 502, 503, 504})
_SECONDS: Final = 30.0
"""How long one exchange may take."""
_BASE: Final = 0.2
_MOST: Final = 8.0
_TRIES: Final = 60

Params = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Call:
    """One method of an API: `path` is below the service's base URL."""

    method: str
    path: str
    params: Params = field(default_factory=dict[str, str])
    body: Mapping[str, Any] | None = field(default=None, repr=False)


class Sender(Protocol):
    """Carries out one call, once, as the bearer of a token: the answer's JSON.

    Raises `Refusal` for an error document, and `ci_acme.wire.Unreachable`.
    """

    def __call__(self, call: Call, token: str, timeout: float) -> Any: ...


class Api:
    """One service, asked by one identity. Thread-safe."""

    def __init__(self, session: GoogleSession, sender: Sender) -> None:
        self.session = session
        self._send = sender

    def call(self, call: Call, *, deadline: Deadline, repeat: bool = True) -> Any:
        """The answer's document. A refusal is final; patience lasts until the deadline.

        With `repeat=False` only what was certainly not carried out is sent again. Raises `Refusal`, `NoReply` (both may
        be `doubtful`), `NoCredentials`, `SecretError`, `Interrupted`.
        """
        doubtful, refused = False, None
        for attempt in range(_TRIES):
            deadline.clock.check()
            token = self.session.bearer(deadline, refused=refused)
            pause = backoff(attempt)
            try:
                return self._send(call, token, max(0.1, min(_SECONDS, deadline.remaining())))
            except Unreachable as error:
                doubtful = True
                if not repeat or deadline.remaining() <= pause:
                    raise NoReply(str(error), doubtful=True) from None
            except Refusal as error:
                error.doubtful = doubtful = doubtful or error.code in _TRANSIENT
                if error.code == 401 and refused is None:
                    refused = token  # it ended early, or was revoked
                    continue
                patient = error.limited or (error.code in _TRANSIENT and repeat)
                if not patient or deadline.remaining() <= pause:
                    raise
            deadline.clock.sleep(pause)
        raise NoReply("too many tries", doubtful=doubtful)


def backoff(attempt: int) -> float:
    """Seconds before the next try: full jitter that doubles, so that writers that collided do not again."""
    return random.uniform(_BASE / 4, min(_MOST, _BASE * 2 ** min(attempt, 10)))  # noqa: S311 - spreads load


def rest(session: GoogleSession, base: Callable[[], str]) -> Api:
    """A service over plain REST; `base` is asked for its URL at the first call."""

    def send(call: Call, token: str, timeout: float) -> Any:
        query = f"?{urlencode(call.params)}" if call.params else ""
        headers = {"Accept": "application/json", "User-Agent": "ci-acme", "Authorization": f"Bearer {token}"}
        data = None
        if call.body is not None:
            data = json.dumps(call.body, separators=(",", ":")).encode()
            headers["Content-Type"] = "application/json"
        request = Request(call.method, f"{base()}/{call.path}{query}", headers, data)
        return document_of(session.wire.send(request, timeout=timeout))

    return Api(session, send)


def document_of(reply: Reply) -> Any:
    """The JSON of an answer. Raises `Refusal` for whatever is not 2xx."""
    try:
        document = json.loads(reply.body) if reply.body else {}
    except (ValueError, RecursionError):
        document = None
    if not reply.ok:
        raise Refusal(reply.status, document)
    if not isinstance(document, dict):
        raise Refusal(502, None)  # a proxy's page: as if the gateway had failed
    return document
