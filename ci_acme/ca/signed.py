"""Signed requests (RFC 8555 sections 6.2 to 6.5)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from ci_acme.ca.jws import sign
from ci_acme.ca.nonces import NoncePool, valid_nonce
from ci_acme.ca.scope import Scope
from ci_acme.ca.transport import ATTEMPTS, Reply, Transport
from ci_acme.errors import CaProtocolError
from ci_acme.ports import Signer

NONCE_TRIES: Final = 40
"""A server that rejects half of all nonces still takes each of 200 requests with a chance of 1 - 2e-10."""
QUICK_TRIES: Final = 16
"""Without a pause; a server that rejects so many at once may be in trouble."""


class _NoNonceError(Exception):
    """The CA answered the request for a nonce with an error; it stands for the answer to the request itself."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


class AcmeTransport:
    """Signs each request with a fresh nonce and sends it. Thread-safe.

    `new_nonce` is the directory's URL for nonces.
    """

    def __init__(self, transport: Transport, signer: Signer, new_nonce: str) -> None:
        self.plain = transport
        self.signer = signer
        self._new_nonce = new_nonce
        self._nonces = NoncePool(transport.clock)
        self._lock = threading.Lock()
        self._fastest: float | None = None

    @property
    def latency(self) -> float | None:
        """Seconds that a signed request takes at least: the fastest so far, None before the first."""
        return self._fastest

    def post(
        self,
        url: str,
        payload: Mapping[str, Any] | None,
        *,
        kind: str,
        what: str,
        scope: Scope,
        kid: str | None,
        accept: str | None = None,
        final: Callable[[Reply], bool] = lambda reply: False,
        attempts: int = ATTEMPTS,
    ) -> Reply:
        """A signed request, by the bare key if `kid` is None; `payload` None is POST-as-GET. Only a 2xx returns.

        It is sent again, newly signed, after a rejected nonce, a lost connection and a temporary failure. That is safe
        for each request of ACME although the first one may have been carried out: newAccount returns the account that
        the key has by then (section 7.3); newOrder at worst leaves an unused order to expire, and many CAs return the
        same one; an answered challenge and a finalized order refuse the second time (`malformed`, `orderNotReady`),
        which their callers look into; a POST-as-GET changes nothing.
        """

        def send() -> Reply:
            return self._post_once(url, payload, kind=kind, what=what, scope=scope, kid=kid, accept=accept)

        reply = self.plain.persist(send, what=what, scope=scope, attempts=attempts, final=final)
        return self.plain.check(reply, what)

    def _post_once(
        self,
        url: str,
        payload: Mapping[str, Any] | None,
        *,
        kind: str,
        what: str,
        scope: Scope,
        kid: str | None,
        accept: str | None,
    ) -> Reply:
        """Until the nonce is accepted. The nonce of a rejecting reply is the one to go on with (section 6.5 MUST)."""
        clock = self.plain.clock
        try:
            nonce: str | None = self._nonces.take(lambda: self._fetch_nonce(scope), scope.deadline)
        except _NoNonceError as error:
            return error.reply
        try:
            for attempt in range(NONCE_TRIES):
                if nonce is None:
                    nonce = self._fetch_nonce(scope)
                body = sign(self.signer, url=url, nonce=nonce, payload=payload, kid=kid)
                nonce = None
                begun = clock.monotonic()
                reply = self.plain.once("POST", url, kind=kind, scope=scope, body=body, accept=accept)
                nonce = valid_nonce(reply.response.headers.get("Replay-Nonce"))
                if reply.ok or reply.problem().kind != "badNonce":
                    self._measure(clock.monotonic() - begun)
                    return reply
                if attempt >= QUICK_TRIES:
                    scope.pause(clock, 0.05 * (attempt - QUICK_TRIES + 1), f"another try to {what}", reply.host)
        except _NoNonceError as error:
            return error.reply
        finally:
            self._nonces.give_back(nonce)
        raise CaProtocolError(
            f"the CA rejected {NONCE_TRIES} nonces in a row, each of which it had just given", fix="run again later"
        )

    def _fetch_nonce(self, scope: Scope) -> str:
        """One request: what fails here is repeated with the request that needs the nonce."""
        reply = self.plain.once("HEAD", self._new_nonce, kind="nonce", scope=scope)
        if not reply.ok:
            raise _NoNonceError(reply)
        nonce = valid_nonce(reply.response.headers.get("Replay-Nonce"))
        if nonce is None:
            raise CaProtocolError(
                f"{self._new_nonce} gave no valid nonce (RFC 8555 section 7.2)", fix="ask the CA's operator"
            )
        return nonce

    def _measure(self, seconds: float) -> None:
        with self._lock:
            if self._fastest is None or seconds < self._fastest:
                self._fastest = seconds
