"""From names to a verified certificate: the one flow through an order (RFC 8555 section 7.4)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from ci_acme.ca.authorize import Authorizer, Pace
from ci_acme.ca.client import AcmeClient
from ci_acme.ca.jws import b64
from ci_acme.ca.keys import PrivateKey, build_csr, refuse_account_key
from ci_acme.ca.messages import Order
from ci_acme.ca.problems import error_for
from ci_acme.ca.scope import Scope
from ci_acme.ca.verify import Chain, verify_chain
from ci_acme.errors import (
    CaError,
    CaProtocolError,
    CaTimeout,
    CaUnreachable,
    CertificateRejected,
    ChallengeFailed,
    CiAcmeError,
    DeliveryError,
    LeaseLost,
    OrderRefused,
    RateLimited,
    StateError,
)
from ci_acme.model.material import CertificateFacts
from ci_acme.ports import ChallengeSolver

GONE_ON_WITH: Final = (CaUnreachable, CaTimeout, RateLimited, DeliveryError, StateError, LeaseLost)
"""Errors that say nothing against an order: it stays, and a later run goes on with it."""


def ignore_order(order: str | Order) -> None:
    """The listener of those who do not keep orders."""


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What is wanted. `key` is the certificate's private key, `replaces` the CertID of its predecessor."""

    names: tuple[str, ...]
    key: PrivateKey = field(repr=False)
    profile: str | None = None
    replaces: str | None = None
    preferred_chain: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A verified certificate, PEM: the leaf alone, and the rest of its chain.

    `requests` counts what it cost at the CA by kind; `dns_seconds` is the time for publishing and waiting for DNS,
    `seconds` the time of it all.
    """

    order_url: str
    certificate_pem: bytes
    chain_pem: bytes
    facts: CertificateFacts
    requests: Mapping[str, int]
    seconds: float
    dns_seconds: float


def obtain(
    client: AcmeClient,
    request: OrderRequest,
    solver: ChallengeSolver,
    *,
    scope: Scope,
    on_order: Callable[[str], None],
    before_finalize: Callable[[], None] = lambda: None,
    on_made: Callable[[str], None] = ignore_order,
    on_given_up: Callable[[Order], None] = ignore_order,
) -> Issued:
    """Order, prove control of the names, finalize, download and verify.

    `on_made` is called with the order's URL as soon as there is one. `on_order` is called once before it is finalized:
    what makes the order resumable must be durable when it returns. `before_finalize` is called right before each
    request to finalize; what it raises ends the flow. `on_given_up` is called with an order that is left pending for
    good. The solver's cleanup runs beside it and beside finalizing, and has ended when this returns or raises.
    Raises `ChallengeFailed` and other `DnsError`s, `CaError`s, `RateLimited`, `AccountError`, `Interrupted`.
    """
    refuse_account_key(request.key, client.signer.jwk)
    flow = _Flow(client, request, scope, before_finalize)
    cleaner = _Cleaner(solver)
    with cleaner:
        solver.prepare(request.names)
        order = client.new_order(
            scope,
            request.names,
            profile=request.profile,
            replaces=request.replaces,
            not_before=request.not_before,
            not_after=request.not_after,
        )
        on_made(order.url)
        scope.step(f"ordered {_count(request.names)} at {client.host}")
        return flow.carry_out(order, Authorizer(client, solver, scope), cleaner, on_order, on_given_up)


def resume(
    client: AcmeClient,
    order_url: str,
    request: OrderRequest,
    *,
    scope: Scope,
    before_finalize: Callable[[], None] = lambda: None,
    solver: ChallengeSolver | None = None,
    on_order: Callable[[str], None] = ignore_order,
    on_given_up: Callable[[Order], None] = ignore_order,
) -> Issued | None:
    """Go on with an order of an earlier run for the same names; once it was finalized, also with the same key.

    None if it cannot be used: unknown to the CA or not ours, invalid, for other names, with a certificate for another
    key, or still pending where there is no solver. Raises what `obtain` raises while the CA is out of reach, and when
    a name of a pending order cannot be proven.
    """
    try:
        order = client.order(scope, order_url)
    except (CaUnreachable, CaTimeout):
        raise
    except CaError as error:
        scope.warn(f"the order of an earlier run cannot be used: {error.message}")
        return None
    usable = {"pending", "ready", "processing", "valid"} if solver else {"ready", "processing", "valid"}
    if order.status not in usable or order.names != frozenset(request.names):
        return None
    flow = _Flow(client, request, scope, before_finalize)
    authorizer: Authorizer | None = None
    try:
        if solver is None or order.status != "pending":
            if order.status == "ready":
                on_order(order.url)
            return flow.finish(order)
        cleaner = _Cleaner(solver)
        with cleaner:
            solver.prepare(request.names)
            authorizer = Authorizer(client, solver, scope)
            return flow.carry_out(order, authorizer, cleaner, on_order, on_given_up)
    except (OrderRefused, ChallengeFailed, CertificateRejected, CaProtocolError) as error:
        if authorizer is not None and authorizer.answered:
            raise  # a new order would come to the same end
        scope.warn(f"the order of an earlier run cannot be used: {error.message}")
        return None


def accept(pem: bytes, request: OrderRequest, *, order_url: str, now: datetime) -> Issued:
    """A chain that an earlier run downloaded and could not store, verified again. No request is made.

    Raises `CertificateRejected`.
    """
    chain = verify_chain(pem, key=request.key.public_key(), names=request.names, now=now, url=order_url)
    return Issued(order_url, chain.leaf, chain.rest, chain.facts, requests={}, seconds=0.0, dns_seconds=0.0)


class _Flow:
    """From an order to a verified chain."""

    def __init__(
        self, client: AcmeClient, request: OrderRequest, scope: Scope, before_finalize: Callable[[], None]
    ) -> None:
        self._before_finalize = before_finalize
        self.client = client
        self.request = request
        self.scope = scope
        self.dns_seconds = 0.0
        self._begun = client.clock.monotonic()

    def carry_out(
        self,
        order: Order,
        authorizer: Authorizer,
        cleaner: _Cleaner,
        on_order: Callable[[str], None],
        on_given_up: Callable[[Order], None],
    ) -> Issued:
        """Prove the names and finish. An order that a later run may go on with is not given up."""
        if order.status == "pending":
            try:
                authorizer.prove(order)
                on_order(order.url)
                ready = authorizer.wait(order)
            except GONE_ON_WITH:
                raise
            except CiAcmeError:
                cleaner.start()
                on_given_up(order)
                raise
            self.dns_seconds = authorizer.dns_seconds
            cleaner.start()
            return self.finish(ready)
        on_order(order.url)
        return self.finish(order)

    def finish(self, order: Order) -> Issued:
        """Finalize, wait, download, verify."""
        csr: str | None = None
        pace = Pace(self.client)
        while order.status != "valid":
            if order.status in {"invalid", "pending"}:
                raise self._refused(order)
            if order.status == "ready":
                csr = csr or b64(build_csr(self.request.key, self.request.names))
                self._before_finalize()
                order = self.client.finalize(self.scope, order, csr)
                if order.status in {"valid", "invalid"}:
                    continue
            pace.wait(self.scope, order.retry_after, "the certificate")
            order = self.client.order(self.scope, order.url, known=order)
        chain = self._download(order)
        self.scope.step(f"{self.client.host} issued a certificate until {chain.facts.not_after:%Y-%m-%d %H:%M} UTC")
        return Issued(
            order_url=order.url,
            certificate_pem=chain.leaf,
            chain_pem=chain.rest,
            facts=chain.facts,
            requests=self.scope.requests.by_kind(),
            seconds=self.client.clock.monotonic() - self._begun,
            dns_seconds=self.dns_seconds,
        )

    def _refused(self, order: Order) -> CiAcmeError:
        what = "issue the certificate"
        if order.error is not None:
            return error_for(order.error, what=what, where=self.client.host)
        return OrderRefused(f"{self.client.host} refused to {what}: the order is {order.status}", fix="run again")

    def _download(self, order: Order) -> Chain:
        if order.certificate is None:
            raise CaProtocolError(f"the order {order.url} is valid and has no certificate", fix="ask the CA's operator")
        first, alternates = self._chain(order.certificate)
        preferred = self.request.preferred_chain
        if preferred is None or first.matches(preferred):
            return first
        for url in alternates:
            chain, _ = self._chain(url)
            if chain.matches(preferred):
                return chain
        self.scope.warn(f"{self.client.host} offers no chain with {preferred!r}; its default chain is used")
        return first

    def _chain(self, url: str) -> tuple[Chain, tuple[str, ...]]:
        download = self.client.certificate(self.scope, url)
        chain = verify_chain(
            download.pem,
            key=self.request.key.public_key(),
            names=self.request.names,
            now=self.client.clock.now(),
            url=url,
        )
        return chain, download.alternates


class _Cleaner(AbstractContextManager[None]):
    """Runs the solver's cleanup exactly once: in a thread beside other work, or when the block ends."""

    def __init__(self, solver: ChallengeSolver) -> None:
        self._thread = threading.Thread(target=solver.cleanup, name="cleanup")
        self._started = False

    def start(self) -> None:
        """Begin now, unless it has begun."""
        if not self._started:
            self._started = True
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Return when the cleanup has ended."""
        self.start()
        self._thread.join()


def _count(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} names"
