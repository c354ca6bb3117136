"""One CA and one account of a run: the requests of RFC 8555, each as a method."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ci_acme.ca.account import BINDING_FIX, KEY_FIX, Account, ExternalAccount, registration
from ci_acme.ca.http import Http, split_url
from ci_acme.ca.jws import dns01_value, thumbprint
from ci_acme.ca.limiter import TokenBucket
from ci_acme.ca.messages import AcmeChallenge, Authorization, Directory, Order
from ci_acme.ca.new_order import Wish, place
from ci_acme.ca.parallel import parallel, width_for
from ci_acme.ca.problems import SHOW_DIRECTORY, problem_kind
from ci_acme.ca.renewal import RenewalReply, fetch_renewal_info, renewal_info_url
from ci_acme.ca.scope import Scope
from ci_acme.ca.signed import AcmeTransport
from ci_acme.ca.transport import Reply, Transport
from ci_acme.dataclass import dataclass
from ci_acme.errors import (
    AccountError,
    CaProtocolError,
    CaUnreachable,
    CiAcmeError,
    ConfigError,
    OrderRefused,
    RateLimited,
)
from ci_acme.ports import Clock, Signer

MAX_ALTERNATES: Final = 10
PEM: Final = "application/pem-certificate-chain"


@dataclass(frozen=True, slots=True)
class CertificateDownload:
    """A chain as the CA sent it, and where the others are."""

    url: str
    pem: bytes
    alternates: tuple[str, ...]


class AcmeClient:
    """Requests to one CA by one account. Thread-safe; make one for each authority of a run.

    The directory is read once, when it is needed. Before the first order call `use_account`, `find_account` or
    `register`. Every method takes the `Scope` that it works for and raises errors of `ci_acme.errors` only.
    """

    def __init__(
        self, directory_url: str, signer: Signer, *, http: Http, clock: Clock, bucket: TokenBucket | None = None
    ) -> None:
        try:
            split_url(directory_url)
        except CaProtocolError as error:
            raise ConfigError(error.message, fix=error.fix) from None
        self.directory_url = directory_url
        self.signer = signer
        self.clock = clock
        self._bucket = bucket
        self.transport = Transport(http, clock, bucket=bucket)
        self._thumbprint = thumbprint(signer.jwk)
        self._lock = threading.RLock()
        self._directory: Directory | None = None
        self._signed: AcmeTransport | None = None
        self._account: str | None = None
        self._recover: Callable[[Scope, str], str] | None = None
        self._clock_error: float | None = None

    # --- the CA ---

    def directory(self, scope: Scope) -> Directory:
        """The CA's directory, from its first reading on without a request."""
        return self._open(scope)[0]

    def clock_error(self, scope: Scope) -> float | None:
        """Seconds by which this machine's clock is ahead of the CA's; None if the CA does not say (RFC 9110 6.6.1)."""
        self._open(scope)
        return self._clock_error

    def over(self, http: Http, clock: Clock) -> AcmeClient:
        """The same account over other connections and another clock; costs no request before its first use."""
        other = AcmeClient(self.directory_url, self.signer, http=http, clock=clock, bucket=self._bucket)
        other._account = self._account
        if self._directory is not None:
            other.begin(self._directory)
        return other

    @property
    def host(self) -> str:
        """Host and port of the directory, for messages."""
        return split_url(self.directory_url).netloc

    @property
    def latency(self) -> float | None:
        """Seconds that a signed request takes at least, None before the first."""
        return self._signed.latency if self._signed else None

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """The results of a request for each item, several at a time."""
        return parallel(function, items, width=width_for(self.latency))

    # --- the account ---

    @property
    def account(self) -> str | None:
        """The account's URL, None before it is known."""
        return self._account

    def use_account(self, url: str) -> None:
        """Go on with an account that is known from an earlier run; costs no request."""
        self._account = url

    def on_lost_account(self, recover: Callable[[Scope, str], str]) -> None:
        """What makes another account when the CA knows neither the one in use nor any other of the key.

        It is given the lost URL and returns the new one, or raises. Without it that is an `AccountError`.
        """
        self._recover = recover

    def account_url(self, scope: Scope) -> str:
        """The account's URL; a request if it is not known. Raises `AccountError` if the key has none."""
        return self._account or self._existing_account(scope, None)

    def find_account(self, scope: Scope) -> str | None:
        """The URL of the account that the key has at this CA, None if it has none (RFC 8555 section 7.3.1)."""
        try:
            return self._new_account(scope, {"onlyReturnExisting": True}, "find the account")
        except AccountError as error:
            if problem_kind(error) == "accountDoesNotExist":
                return None
            raise

    def register(
        self,
        scope: Scope,
        *,
        contact: Sequence[str] = (),
        terms_agreed: bool = False,
        external: ExternalAccount | None = None,
    ) -> str:
        """Create the account, or return the one that the key has; returns its URL.

        `contact` holds e-mail addresses. Nothing is sent if the terms are not agreed to or an external account is
        required and missing: raises `AccountError`.
        """
        payload = registration(
            self.directory(scope), self.signer.jwk, contact=contact, terms_agreed=terms_agreed, external=external
        )
        return self._new_account(scope, payload, "register the account")

    def show_account(self, scope: Scope) -> Account | None:
        """The account that the key has, whatever its status; None if it has none.

        newAccount shows it (section 7.3.1), also at CAs that do not answer requests to the account's own URL. Raises
        `AccountError` for one that the CA does not show; most do not show a deactivated one.
        """
        try:
            return self._find_or_make(scope, {"onlyReturnExisting": True}, "show the account")
        except AccountError as error:
            if problem_kind(error) == "accountDoesNotExist":
                return None
            raise

    def signed(self, scope: Scope) -> AcmeTransport:
        """Requests signed by the key of this client, whoever sends them."""
        return self._open(scope)[1]

    def request(
        self,
        scope: Scope,
        url: str,
        payload: Mapping[str, Any] | None,
        *,
        kind: str,
        what: str,
    ) -> Reply:
        """A request by the account, for what is not about orders. Raises what the others raise."""
        return self._post(scope, url, payload, kind=kind, what=what)

    def look(self, scope: Scope, url: str, *, kind: str, what: str) -> Reply:
        """A POST-as-GET (RFC 8555 section 6.3)."""
        return self._post(scope, url, None, kind=kind, what=what)

    # --- orders ---

    def new_order(
        self,
        scope: Scope,
        names: Sequence[str],
        *,
        profile: str | None = None,
        replaces: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Order:
        """Order a certificate for exactly `names`.

        `replaces` is the CertID of a predecessor; it is left out where the CA has no renewal information, and a CA
        that refuses it is asked once more without it. Raises `OrderRefused` for a profile that is not offered.
        """
        directory = self.directory(scope)
        wish = Wish(tuple(names), profile, replaces, not_before, not_after)

        def send(payload: Mapping[str, Any], final: Callable[[Reply], bool]) -> Reply:
            return self._post(scope, directory.new_order, payload, kind="order", what="make the order", final=final)

        reply = place(send, wish, directory, self.host, scope.warn)
        if reply.location is None:
            raise CaProtocolError(f"{reply.host} made an order without a Location", fix="ask the CA's operator")
        return _expect_names(Order.from_reply(reply, reply.location), frozenset(names))

    def order(self, scope: Scope, url: str, *, known: Order | None = None) -> Order:
        """The order as it is now. `known` is an earlier view: its names and authorizations must not have changed."""
        order = Order.from_reply(self.look(scope, url, kind="order", what="show the order"), url)
        if known is not None:
            _expect_names(order, known.names)
            if set(order.authorizations) != set(known.authorizations):
                raise CaProtocolError(f"the authorizations of {url} have changed", fix="run again")
        return order

    def authorizations(self, scope: Scope, urls: Sequence[str]) -> list[Authorization]:
        """The authorizations at `urls`, several at a time."""

        def fetch(url: str) -> Authorization:
            return Authorization.from_reply(self.look(scope, url, kind="authorization", what="show an authorization"))

        return self.map(fetch, urls)

    def answer(self, scope: Scope, authorization: Authorization, challenge: AcmeChallenge) -> None:
        """Tell the CA to validate a challenge.

        An answer whose reply was lost is sent twice, and refused the second time: then the authorization tells.
        """
        try:
            self._post(scope, challenge.url, {}, kind="challenge", what=f"validate {authorization.identifier}")
        except (CaUnreachable, RateLimited, AccountError):
            raise
        except CiAcmeError:
            now = self.authorizations(scope, [authorization.url])[0]
            current = now.challenge(challenge.type)
            if now.status == "pending" and current is not None and current.status == "pending":
                raise

    def deactivate(self, scope: Scope, url: str) -> None:
        """Give up a pending authorization (RFC 8555 section 7.5.2). Its order becomes invalid."""
        self._post(scope, url, {"status": "deactivated"}, kind="authorization", what="deactivate an authorization")

    def txt_value(self, challenge: AcmeChallenge) -> str:
        """What the TXT record for a dns-01 challenge must hold."""
        return dns01_value(challenge.token, self._thumbprint)

    def finalize(self, scope: Scope, order: Order, csr: str) -> Order:
        """Hand in the request (base64url DER) for a ready order. `orderNotReady` is no error: the order is shown."""
        try:
            reply = self._post(scope, order.finalize, {"csr": csr}, kind="finalize", what="issue the certificate")
        except OrderRefused as error:
            if problem_kind(error) != "orderNotReady":
                raise
            return self.order(scope, order.url, known=order)
        return _expect_names(Order.from_reply(reply, order.url), order.names)

    def certificate(self, scope: Scope, url: str) -> CertificateDownload:
        """A certificate chain, unverified."""
        reply = self._post(scope, url, None, kind="certificate", what="hand out the certificate", accept=PEM)
        return CertificateDownload(url, reply.response.body, tuple(reply.links("alternate")[:MAX_ALTERNATES]))

    def renewal_info(self, scope: Scope, ari_id: str) -> tuple[str, RenewalReply] | None:
        """Where the renewal information of a certificate is and what it says; None if the CA has none at all."""
        base = self.directory(scope).renewal_info
        if base is None:
            return None
        url = renewal_info_url(base, ari_id)
        return url, fetch_renewal_info(self.transport, url, scope=scope)

    # --- inside ---

    def _open(self, scope: Scope) -> tuple[Directory, AcmeTransport]:
        with self._lock:
            if self._directory is None or self._signed is None:
                reply = self.transport.get(self.directory_url, kind="directory", what=SHOW_DIRECTORY, scope=scope)
                date = reply.date
                self._clock_error = None if date is None else (self.clock.now() - date).total_seconds()
                return self.begin(Directory.from_reply(reply))
            return self._directory, self._signed

    def begin(self, directory: Directory) -> tuple[Directory, AcmeTransport]:
        """Go on with a directory that was just read; costs no request."""
        self._directory = directory
        self._signed = AcmeTransport(self.transport, self.signer, directory.new_nonce)
        return directory, self._signed

    def _new_account(self, scope: Scope, payload: Mapping[str, Any], what: str) -> str:
        with self._lock:  # two certificates of a run do not look for the account twice
            account = self._find_or_make(scope, payload, what)
            if account.status != "valid":
                raise AccountError(f"the account {account.url} is {account.status!r}", fix="use another account key")
            self._account = account.url
            return account.url

    def _find_or_make(self, scope: Scope, payload: Mapping[str, Any], what: str) -> Account:
        with self._lock:
            directory, signed = self._open(scope)
            try:
                reply = signed.post(directory.new_account, payload, kind="account", what=what, scope=scope, kid=None)
            except OrderRefused as error:
                # Here `unauthorized` and `malformed` are about the key or its binding, not about names.
                fix = BINDING_FIX if "externalAccountBinding" in payload else KEY_FIX
                raise AccountError(error.message, fix=fix, details=error.details) from None
            if reply.location is None:
                raise CaProtocolError(f"{reply.host} named no account URL", fix="ask the CA's operator")
            return Account.from_json(reply.json(), reply.location)

    def _post(
        self,
        scope: Scope,
        url: str,
        payload: Mapping[str, Any] | None,
        *,
        kind: str,
        what: str,
        accept: str | None = None,
        final: Callable[[Reply], bool] = lambda reply: False,
    ) -> Reply:
        """By the account. A CA that does not know a remembered account URL is asked once for the key's account."""
        _, signed = self._open(scope)
        kid = self.account_url(scope)
        try:
            return signed.post(url, payload, kind=kind, what=what, scope=scope, kid=kid, accept=accept, final=final)
        except AccountError as error:
            if problem_kind(error) != "accountDoesNotExist":
                raise
        kid = self._existing_account(scope, kid)
        return signed.post(url, payload, kind=kind, what=what, scope=scope, kid=kid, accept=accept, final=final)

    def _existing_account(self, scope: Scope, wrong: str | None) -> str:
        with self._lock:
            if self._account is not None and self._account != wrong:
                return self._account  # another thread has found it meanwhile
            found = self.find_account(scope)
            if found is None and wrong is not None and self._recover is not None:
                return self._recover(scope, wrong)
        if found is None or found == wrong:
            raise AccountError(
                f"the account key has no account at {self.host}",
                fix="register it: ci-acme account register, or --allow-new-account",
            )
        return found


def _expect_names(order: Order, names: frozenset[str]) -> Order:
    if order.names != names:
        differing = ", ".join(sorted(order.names ^ names)[:5])
        raise CaProtocolError(
            f"the order {order.url} is for other names than asked for ({differing})", fix="ask the CA's operator"
        )
    return order
