"""From names to a verified certificate: the one flow through an order (RFC 8555 section 7.4)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Final

from ci_acme.ca.authorize import Authorizer, Pace, is_passing
from ci_acme.ca.challenges import record_name
from ci_acme.ca.cleaner import Cleaner
from ci_acme.ca.client import AcmeClient
from ci_acme.ca.expect import NotAsExpected, require, require_news
from ci_acme.ca.jws import b64
from ci_acme.ca.keys import PrivateKey, build_csr, refuse_account_key
from ci_acme.ca.messages import DNS, Order
from ci_acme.ca.problems import error_for
from ci_acme.ca.scope import Scope
from ci_acme.ca.verify import Chain, verify_chain
from ci_acme.dataclass import dataclass, field
from ci_acme.errors import (
    CaError,
    CaProtocolError,
    CaTimeout,
    CaUnreachable,
    CertificateRejected,
    ChallengeFailed,
    CiAcmeError,
    DeliveryError,
    DnsUnreachable,
    LeaseLost,
    OrderRefused,
    RateLimited,
    StateError,
)
from ci_acme.model.material import CertificateFacts
from ci_acme.model.spec import Expectation, RenewPolicy
from ci_acme.ports import ChallengeSolver

SECOND_ATTEMPT: Final = 5.0
"""Seconds between a challenge that failed for a passing reason and the second order."""
END_SLACK: Final = timedelta(hours=1)
"""How far from the time that was asked for the end of a certificate may be without a word."""
BEGIN_SLACK: Final = timedelta(minutes=1)
"""How much later than the time that was asked for a certificate may begin without a word."""
GONE_ON_WITH: Final = (CaUnreachable, CaTimeout, RateLimited, DeliveryError, StateError, LeaseLost, DnsUnreachable)
"""Errors that say nothing against an order: it stays, and a later run goes on with it."""


def ignore_order(order: str | Order) -> None:
    """The listener of those who do not keep orders."""


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What is wanted. `key` is the certificate's private key, `replaces` the CertID of its predecessor.

    `challenge` is the type that is answered: dns-01, dns-account-01 or dns-persist-01; none is if the CA validates
    names beforehand (`preauthorized`). `renew` is when it will be renewed: one that was asked to begin in the past must
    not be due at once.
    """

    names: tuple[str, ...]
    key: PrivateKey = field(repr=False)
    profile: str | None = None
    replaces: str | None = None
    preferred_chain: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    renew: RenewPolicy = field(default_factory=RenewPolicy)
    expect: Expectation = field(default_factory=Expectation)
    challenge: str = DNS
    preauthorized: bool = False


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
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Issued:
    """Order, prove control of the names, finalize, download and verify.

    `on_made` is called with the order's URL as soon as there is one. `on_order` is called once before it is finalized:
    what makes the order resumable must be durable when it returns. `before_finalize` is called right before each
    request to finalize; what it raises ends the flow. `on_given_up` is called with an order that is left pending for
    good. The solver's cleanup runs beside it and beside finalizing, and has ended when this returns or raises. A
    challenge that failed because the CA could not ask the DNS costs one more order, once. `around` is entered for each
    of the two; if it, or the CA, refuses the second by a rate limit, the first failure is raised.
    Raises `ChallengeFailed` and other `DnsError`s, `CaError`s, `RateLimited`, `AccountError`, `Interrupted`.
    """
    refuse_account_key(request.key, client.signer.jwk)
    flow = _Flow(client, request, scope, before_finalize)
    try:
        with around():
            return _attempt(flow, solver, on_order, on_made, on_given_up)
    except ChallengeFailed as error:
        # At Boulder and its like a failed challenge is final; what a look at the DNS alone caused may be gone by now.
        if not is_passing(error) or scope.deadline.remaining() < SECOND_ATTEMPT * 2:
            raise
        scope.warn(f"{error.message}; trying once more with a new order in {SECOND_ATTEMPT:.0f} s")
        failure = error
    scope.pause(client.clock, SECOND_ATTEMPT, "to order again", client.host)
    try:
        with around():
            return _attempt(flow, solver, on_order, on_made, on_given_up)
    except RateLimited:
        raise failure from None  # what is wrong is the DNS


def _attempt(
    flow: _Flow,
    solver: ChallengeSolver,
    on_order: Callable[[str], None],
    on_made: Callable[[str], None],
    on_given_up: Callable[[Order], None],
) -> Issued:
    """One order to its end."""
    client, request, scope = flow.client, flow.request, flow.scope
    cleaner = Cleaner(solver)
    with cleaner:
        _prepare(flow, solver)
        with _times_blamed(request):
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
        return flow.carry_out(order, _authorizer(flow, solver), cleaner, on_order, on_given_up)


@contextmanager
def _times_blamed(request: OrderRequest) -> Generator[None]:
    """A CA may refuse the times that were asked for without a word of them, also as an error of its own (smallstep)."""
    try:
        yield
    except (CaUnreachable, OrderRefused) as error:
        times = (("lifetime", request.not_after), ("not_before", request.not_before))
        keys = " and ".join(key for key, asked in times if asked is not None)
        if not keys or "problem" not in error.details:
            raise
        fix = f"{error.fix}; it may not give the {keys} that was asked for: shorten or remove it"
        raise type(error)(error.message, fix=fix, details=error.details) from None


def _prepare(flow: _Flow, solver: ChallengeSolver) -> None:
    request = flow.request
    account = flow.client.account_url(flow.scope) if request.challenge != DNS else ""
    solver.prepare(sorted({record_name(request.challenge, name, account) for name in request.names}))


def _authorizer(flow: _Flow, solver: ChallengeSolver) -> Authorizer:
    request = flow.request
    return Authorizer(flow.client, solver, flow.scope, kind=request.challenge, preauthorized=request.preauthorized)


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
    key, or still pending where there is no solver. Raises what `obtain` raises while the CA is out of reach and when a
    name of a pending order cannot be proven, and `NotAsExpected` for a certificate that `expect` refuses: a new order
    would give such a one again.
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
        cleaner = Cleaner(solver)
        with cleaner:
            _prepare(flow, solver)
            authorizer = _authorizer(flow, solver)
            return flow.carry_out(order, authorizer, cleaner, on_order, on_given_up)
    except NotAsExpected:
        raise
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
    require(request.expect, chain, url=order_url)
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
        cleaner: Cleaner,
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
            self.dns_seconds += authorizer.dns_seconds
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
                with _times_blamed(self.request):
                    order = self.client.finalize(self.scope, order, csr)
                if order.status in {"valid", "invalid"}:
                    continue
            pace.wait(self.scope, order.retry_after, "the certificate")
            order = self.client.order(self.scope, order.url, known=order)
        chain = self._download(order)
        self.scope.step(f"{self.client.host} issued a certificate until {chain.facts.not_after:%Y-%m-%d %H:%M} UTC")
        self._compare_times(chain)
        return Issued(
            order_url=order.url,
            certificate_pem=chain.leaf,
            chain_pem=chain.rest,
            facts=chain.facts,
            requests=self.scope.requests.by_kind(),
            seconds=self.client.clock.monotonic() - self._begun,
            dns_seconds=self.dns_seconds,
        )

    def _compare_times(self, chain: Chain) -> None:
        """Tell of times that are not those that were asked for."""
        begin, end = self.request.not_before, self.request.not_after
        said = []
        if begin is not None and chain.facts.not_before - begin > BEGIN_SLACK:
            said.append(f"from {begin:%Y-%m-%d %H:%M} UTC on; it begins {chain.facts.not_before:%Y-%m-%d %H:%M}")
        if end is not None and abs(chain.facts.not_after - end) > END_SLACK:
            said.append(f"until {end:%Y-%m-%d %H:%M} UTC")
        for text in said:
            self.scope.warn(f"{self.client.host} was asked for a certificate {text}")

    def _refused(self, order: Order) -> CiAcmeError:
        what = "issue the certificate"
        if order.error is not None:
            return error_for(order.error, what=what, where=self.client.host)
        return OrderRefused(f"{self.client.host} refused to {what}: the order is {order.status}", fix="run again")

    def _download(self, order: Order) -> Chain:
        if order.certificate is None:
            raise CaProtocolError(f"the order {order.url} is valid and has no certificate", fix="ask the CA's operator")
        preferred, expected = self.request.preferred_chain, self.request.expect.chain
        best: Chain | None = None
        for chain in self._chains(order.certificate):
            fits = expected is None or chain.matches(expected)
            if fits and (preferred is None or chain.matches(preferred)):
                self._require(chain, order.certificate)
                return chain
            if best is None or (fits and expected is not None and not best.matches(expected)):
                best = chain
        assert best is not None
        self._require(best, order.certificate)
        self.scope.warn(f"{self.client.host} offers no chain with {preferred!r}; another chain is used")
        return best

    def _require(self, chain: Chain, url: str) -> None:
        require(self.request.expect, chain, url=url)
        if self.request.not_before is not None:
            require_news(chain, self.request.renew, self.client.clock.now(), url=url)

    def _chains(self, url: str) -> Iterator[Chain]:
        """The default chain, then the alternates, each downloaded when it is asked for."""
        first, alternates = self._chain(url)
        yield first
        for alternate in alternates:
            yield self._chain(alternate)[0]

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


def _count(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} names"
