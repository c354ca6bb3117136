"""Access tokens: made when one is needed, shared by all that have the same identity, renewed before they end."""

from __future__ import annotations

import json
import random
import threading
from collections import OrderedDict
from typing import Any, Final
from urllib.parse import urlsplit

from ci_acme.dataclass import dataclass, field
from ci_acme.model.secret import harmless
from ci_acme.ports import Deadline, ProviderContext
from ci_acme.wire import Reply, Request, Unreachable, Wire
from ci_acme_providers.gcp import credentials
from ci_acme_providers.gcp.config import GoogleAccess
from ci_acme_providers.gcp.faults import NoCredentials, NoReply

_SECONDS: Final = 20.0
"""How long a token service may take for one answer."""
_TRIES: Final = 5
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
_MOST: Final = 8
_SHARED: Final[OrderedDict[tuple[Any, ...], Tokens]] = OrderedDict()
_GUARD: Final = threading.Lock()


def shared(access: GoogleAccess, context: ProviderContext) -> Tokens:
    """The tokens of this identity in this run: ten stores of one project exchange one identity token, not ten."""
    identity = (access.workload_identity_provider, access.audience, access.service_account, access.credentials)
    key = (*identity, id(context.environ), context.identity, context.secrets)
    with _GUARD:
        found = _SHARED.get(key)
        if found is None:
            found = _SHARED[key] = Tokens(access, context)
            if len(_SHARED) > _MOST:
                _SHARED.popitem(last=False)
        return found


class Tokens:
    """One identity. Thread-safe."""

    def __init__(self, access: GoogleAccess, context: ProviderContext) -> None:
        self._access = access
        self._context = context
        self._wire = Wire()
        self._lock = threading.Lock()
        self._made: credentials.Made | None = None

    def bearer(self, deadline: Deadline, *, refused: str | None = None) -> str:
        """A token that is good for minutes; not `refused`, which the service did not take.

        Raises `NoCredentials`, `NoReply`, `SecretError`, `Interrupted`.
        """
        with self._lock:
            found, _ = self._credentials()
            if refused is not None and found.token == refused:
                self._made = None  # with whatever it was made from, which may have been revoked as well
                found, _ = self._credentials()
            if not found.valid:
                self._refresh(found, deadline)
            token: str = found.token
            if token == refused:
                raise NoCredentials(
                    "Google Cloud does not accept the access token, and there is no other",
                    fix="renew the token in GOOGLE_OAUTH_ACCESS_TOKEN, or use other credentials",
                )
            return token

    def project(self) -> str | None:
        """The project that the credentials name. Raises `NoCredentials`, `SecretError`."""
        with self._lock:
            return self._credentials()[1]

    def _credentials(self) -> credentials.Made:
        if self._made is None:
            self._made = credentials.make(self._access, self._context, self._wire)
        return self._made

    def _refresh(self, found: Any, deadline: Deadline) -> None:
        from google.auth import exceptions

        transport = _Transport(self._wire, deadline)
        try:
            found.refresh(transport)
        except exceptions.TransportError:
            raise NoReply(f"no access token: {transport.trouble}") from None
        except (exceptions.GoogleAuthError, ValueError) as error:
            raise self._refused(transport, error) from None
        finally:
            self._wire.close()  # the next one is an hour away

    def _refused(self, transport: _Transport, error: Exception) -> NoCredentials:
        reason = transport.trouble or harmless(str(error.args[0]) if error.args else "")
        fix = "check the credentials that the environment names, and this machine's clock"
        account = self._access.service_account
        if account is not None and ":generateAccessToken" in transport.path:
            fix = f"grant roles/iam.workloadIdentityUser (or serviceAccountTokenCreator) on {account} to the job"
        elif self._access.workload_identity_provider is not None:
            audience = credentials.audience_of(self._access.workload_identity_provider, self._access.audience)
            fix = (
                "check the workload identity pool's provider: that it exists, its issuer, that it allows the audience "
                f"{audience}, and its attribute condition"
            )
        return NoCredentials(f"{transport.host or 'Google Cloud'} gives no access token: {reason}", fix=fix)


@dataclass(frozen=True, slots=True)
class _Response:
    """`google.auth.transport.Response`."""

    status: int
    headers: Any
    data: bytes = field(repr=False)


class _Transport:
    """`google.auth.transport.Request` over our connections: patient until the deadline, and interruptible."""

    def __init__(self, wire: Wire, deadline: Deadline) -> None:
        self._wire = wire
        self._deadline = deadline
        self.host = self.path = self.trouble = ""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Any = None,
        timeout: float | None = None,
        **_: Any,
    ) -> _Response:
        """Raises google-auth's `TransportError` when no answer comes, and `Interrupted`."""
        parts = urlsplit(url)
        self.host, self.path = parts.netloc, parts.path
        data = body.encode() if isinstance(body, str) else body
        reply = self._patiently(Request(method, url, dict(headers or {}), data), min(timeout or _SECONDS, _SECONDS))
        self.trouble = "" if reply.ok else _in_words(reply)
        return _Response(reply.status, reply.headers, reply.body)

    def _patiently(self, request: Request, seconds: float) -> Reply:
        from google.auth import exceptions

        clock = self._deadline.clock
        for attempt in range(_TRIES):
            clock.check()
            pause = random.uniform(0.1, 0.3 * 2**attempt)  # noqa: S311 - spreads load, guards nothing
            last = attempt == _TRIES - 1 or self._deadline.remaining() <= pause
            try:
                reply = self._wire.send(request, timeout=max(0.1, min(seconds, self._deadline.remaining())))
            except Unreachable as error:
                self.trouble = str(error)
                if last:
                    raise exceptions.TransportError(self.trouble) from None  # type: ignore[no-untyped-call]
            else:
                if reply.status not in _AGAIN or last:
                    return reply
            clock.sleep(pause)
        raise AssertionError("the last try returns or raises")


def _in_words(reply: Reply) -> str:
    """What a token service says of a refusal: the status, OAuth's error and its description."""
    try:
        document = json.loads(reply.body)
    except ValueError:
        return f"status {reply.status}"
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        return harmless(f"{error.get('status', reply.status)}: {error.get('message', '')}")
    if isinstance(error, str):
        return harmless(f"{error}: {document.get('error_description', '')}")
    return f"status {reply.status}"
