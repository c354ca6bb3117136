"""From an HTTP request to its answer: routing, faults, JWS verification, nonces, and the log."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from threading import Event
from typing import Any, Final

from ci_acme.sandbox import accounts, certificates, orders
from ci_acme.sandbox.core import Core, SignedRequest, json_reply, problem_reply
from ci_acme.sandbox.faults import Action, Fault, RequestLog
from ci_acme.sandbox.http import Reply, Request
from ci_acme.sandbox.jose import Jwk, Jws
from ci_acme.sandbox.problems import Problem
from ci_acme.sandbox.records import Account

WEBSITE: Final = "https://ci-acme-sandbox.invalid/not-trusted"
TERMS: Final = "This CA is the ci-acme sandbox. It runs on this machine only, and nobody trusts its certificates.\n"

_ID: Final = "[A-Za-z0-9_.-]*"
_PATHS: Final = tuple(
    (re.compile(pattern.replace("ID", _ID) + r"\Z"), kind)
    for pattern, kind in (
        ("/directory", "directory"),
        ("/new-nonce", "newNonce"),
        ("/new-account", "newAccount"),
        ("/account/ID", "account"),
        ("/account/ID/orders", "orders"),
        ("/key-change", "keyChange"),
        ("/new-order", "newOrder"),
        ("/order/ID", "order"),
        ("/order/ID/finalize", "finalize"),
        ("/authz/ID", "authz"),
        ("/challenge/ID", "challenge"),
        ("/certificate/ID(/ID)?", "certificate"),
        ("/revoke", "revokeCert"),
        ("/renewal-info/ID", "renewalInfo"),
        ("/terms", "terms"),
    )
)
_UNSIGNED: Final = ("directory", "newNonce", "renewalInfo", "terms")
_FIXED: Final[dict[str, Callable[[Core, SignedRequest], Reply]]] = {
    "newAccount": accounts.new_account,
    "keyChange": accounts.key_change,
    "newOrder": orders.new_order,
    "revokeCert": certificates.revoke,
}
_OBJECTS: Final[dict[str, Callable[[Core, SignedRequest, str], Reply]]] = {
    "account": accounts.account,
    "orders": accounts.orders,
    "order": orders.order,
    "finalize": orders.finalize,
    "authz": orders.authorization,
    "challenge": orders.challenge,
    "certificate": certificates.certificate,
}


def kind_of(path: str) -> str:
    """The kind of a path, for faults and the log."""
    return next((kind for pattern, kind in _PATHS if pattern.match(path)), "unknown")


def _require_user_agent(request: Request) -> None:
    if not request.headers.get("user-agent"):
        raise Problem("malformed", "a User-Agent is required (RFC 8555 section 6.1)")


class Service:
    """Answers requests; safe to call from many threads."""

    def __init__(self, core: Core, log: RequestLog, closing: Event) -> None:
        self._core = core
        self._log = log
        self._closing = closing
        self.crashes: list[str] = []

    def handle(self, request: Request) -> Reply | None:
        """The answer; None closes the connection without one."""
        kind = kind_of(request.path)
        faults = self._core.faults.take(kind)
        reply = self._before(faults) if faults else None
        if reply is None and not any(fault.action in (Action.CUT_BEFORE, Action.HANG) for fault in faults):
            reply = self._answer(request, kind)
            if any(fault.action is Action.CUT_AFTER for fault in faults):
                reply = None
        self._log.note(request.method, kind, 0 if reply is None else reply.status)
        return reply

    def guard(self, work: Callable[[], None]) -> None:
        """Run what has no caller to raise to; a defect lands in `crashes`."""
        try:
            work()
        except Exception:  # reported to the test
            self.crashes.append(traceback.format_exc())

    def _before(self, faults: list[Fault]) -> Reply | None:
        """What faults do before the request is looked at; an answer if they give one."""
        for fault in faults:
            if fault.action is Action.SLOW:
                self._closing.wait(fault.seconds)
            elif fault.action is Action.HANG:
                self._closing.wait()
        decided = next((fault for fault in faults if fault.action is not Action.SLOW), None)
        if decided is None:
            return None
        headers = {} if decided.retry_after is None else {"Retry-After": str(decided.retry_after)}
        if decided.action is Action.UNAVAILABLE:
            return Reply(
                503, b"<html><h1>503 Service Unavailable</h1></html>", {**headers, "Content-Type": "text/html"}
            )
        if decided.action is Action.RATE_LIMIT:
            headers["Replay-Nonce"] = self._core.records.new_nonce()
            return problem_reply(Problem("rateLimited", "too many requests of this kind", headers=headers))
        return None

    def _answer(self, request: Request, kind: str) -> Reply:
        try:
            _require_user_agent(request)
            reply = self._unsigned(request, kind) if kind in _UNSIGNED else self._signed(request, kind)
        except Problem as problem:
            reply = problem_reply(problem)
            if problem.kind == "userActionRequired":
                reply.links.append(f'<{self._core.url("terms")}>;rel="terms-of-service"')
        except Exception as error:
            self.crashes.append(traceback.format_exc())
            reply = problem_reply(Problem("serverInternal", f"{type(error).__name__}: {error}"))
        if request.method == "POST" or kind == "newNonce":
            reply.headers["Replay-Nonce"] = self._core.records.new_nonce()
        if kind != "directory":
            reply.links.append(f'<{self._core.url("directory")}>;rel="index"')
        reply.headers["Cache-Control"] = "no-store"
        return reply

    def _unsigned(self, request: Request, kind: str) -> Reply:
        if request.method not in ("GET", "HEAD"):
            raise Problem("malformed", f"{kind} is read with GET", status=405, headers={"Allow": "GET, HEAD"})
        if kind == "newNonce":
            return Reply(200 if request.method == "HEAD" else 204)
        if kind == "terms":
            return Reply(200, TERMS.encode(), {"Content-Type": "text/plain"})
        if kind == "renewalInfo":
            with self._core.records.lock:
                return certificates.renewal_info(self._core, request.path.removeprefix("/renewal-info/"))
        return json_reply(200, self._directory())

    def _directory(self) -> dict[str, Any]:
        core = self._core
        lives = {name: f"valid for {life.total_seconds() / 3600:g} hours" for name, life in core.validity.items()}
        members = {
            "newNonce": core.url("new-nonce"),
            "newAccount": core.url("new-account"),
            "newOrder": core.url("new-order"),
            "revokeCert": core.url("revoke"),
            "keyChange": core.url("key-change"),
            "renewalInfo": core.url("renewal-info"),
            "meta": {
                "termsOfService": core.url("terms"),
                "website": WEBSITE,
                "caaIdentities": ["ci-acme-sandbox.invalid"],
                "externalAccountRequired": core.external_account_required,
                "profiles": lives,
            },
        }
        return {name: value for name, value in members.items() if name not in core.faults.hidden}

    def _signed(self, request: Request, kind: str) -> Reply:
        if kind == "unknown":
            raise Problem("malformed", f"there is no {request.path} here", status=404)
        if request.method != "POST":
            raise Problem("malformed", f"{kind} takes POST only", status=405, headers={"Allow": "POST"})
        if request.headers.get("content-type") != "application/jose+json":
            raise Problem("malformed", "the content type is not application/jose+json", status=415)
        signed = self._verify(request, kind)
        with self._core.records.lock:
            if kind in _FIXED:
                return _FIXED[kind](self._core, signed)
            return _OBJECTS[kind](self._core, signed, signed.url)

    def _verify(self, request: Request, kind: str) -> SignedRequest:
        """RFC 8555 sections 6.2 to 6.5: signature, then nonce, then url."""
        jws = Jws.parse(request.body)
        jws.require_known_alg()
        jwk, account = self._signer(jws, kind)
        jws.verify(jwk)
        if not self._core.records.use_nonce(jws.protected.get("nonce")) or self._core.faults.spoils_nonce():
            raise Problem("badNonce", "the nonce is not one that can be used")
        url = self._core.records.base + request.path
        if jws.protected.get("url") != url:
            raise Problem("unauthorized", f"the url in the protected header is not {url}")
        if account is not None and account.status != "valid":
            raise Problem("unauthorized", f"the account is {account.status}", status=401)
        return SignedRequest(url, jws.payload, jwk, account)

    def _signer(self, jws: Jws, kind: str) -> tuple[Jwk, Account | None]:
        has_jwk, has_kid = "jwk" in jws.protected, "kid" in jws.protected
        if has_jwk == has_kid:
            raise Problem("malformed", "exactly one of jwk and kid is needed")
        if has_jwk:
            return Jwk.parse(jws.protected["jwk"]), None
        if kind == "newAccount":
            raise Problem("malformed", "newAccount needs a jwk, not a kid")
        with self._core.records.lock:
            account = self._core.records.accounts.get(str(jws.protected["kid"]))
        if account is None:
            raise Problem("accountDoesNotExist", "the kid is the URL of no account here")
        return account.jwk, account
