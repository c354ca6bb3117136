"""newOrder, order, authorization, challenge and finalize (RFC 8555 sections 7.4 and 7.5, RFC 9773 section 5)."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from ci_acme.model.names import base_name, is_wildcard, normalize_identifier
from ci_acme.sandbox.certificates import issue, parse_csr
from ci_acme.sandbox.core import DEFAULT_PROFILE, Core, SignedRequest, json_reply, parse_rfc3339, rfc3339
from ci_acme.sandbox.http import Reply
from ci_acme.sandbox.jose import unb64url
from ci_acme.sandbox.problems import Problem
from ci_acme.sandbox.records import Authorization, Challenge, Order
from ci_acme.sandbox.validate import challenge_owner, check_txt

_MAX_NAMES: Final = 100
_PENDING_LIFE: Final = timedelta(days=7)
_CHALLENGES: Final = ("dns-01", "dns-account-01")


def new_order(core: Core, request: SignedRequest) -> Reply:
    """Make an order with fresh authorizations."""
    account = request.require_account()
    document = request.document()
    if core.faults.terms_changed:
        raise Problem("userActionRequired", "the terms of service have changed", instance=core.url("terms"))
    names = _names(document.get("identifiers"))
    profile = _profile(core, document.get("profile"))
    not_before, not_after = _validity(core, profile, document)
    order = Order(
        url=core.records.new_url("order"),
        account=account,
        names=names,
        authorizations=[],
        expires=core.now() + _PENDING_LIFE,
        profile=profile,
        not_before=not_before,
        not_after=not_after,
        replaces=document.get("replaces"),
    )
    if order.replaces is not None:
        _mark_replaced(core, order)
    order.authorizations.extend(_authorize(core, order, name) for name in names)
    core.records.orders[order.url] = order
    account.orders.append(order.url)
    return _show_order(core, order, 201)


def order(core: Core, request: SignedRequest, url: str) -> Reply:
    """Show an order."""
    found = _own_order(core, request, url)
    request.require_read()
    return _show_order(core, found, 200)


def finalize(core: Core, request: SignedRequest, url: str) -> Reply:
    """Issue, if the order is ready and the CSR is for exactly its names."""
    found = _own_order(core, request, url.removesuffix("/finalize"))
    document = request.document()
    status = found.status(core.now())
    if status != "ready":
        raise Problem("orderNotReady", f"the order is {status}")
    csr = parse_csr(core, unb64url(document.get("csr")), found.names)
    found.done_at = time.monotonic() + core.faults.processing_seconds
    found.certificate = issue(core, found, csr)
    return _show_order(core, found, 200)


def authorization(core: Core, request: SignedRequest, url: str) -> Reply:
    """Show or deactivate an authorization."""
    found = core.records.authorizations.get(url)
    if found is None:
        raise Problem("malformed", "there is no such authorization", status=404)
    request.require_owner(found.account)
    if request.payload:
        if request.document().get("status") != "deactivated":
            raise Problem("malformed", "the only status a client can set is deactivated")
        found.deactivated = True
    document = {
        "identifier": {"type": "dns", "value": found.name},
        "status": found.status(core.now()),
        "expires": rfc3339(found.expires),
        "challenges": [_challenge_document(challenge) for challenge in found.challenges],
        "wildcard": True if found.wildcard else None,
    }
    return json_reply(200, document, _retry_after(core, document["status"] == "pending"))


def challenge(core: Core, request: SignedRequest, url: str) -> Reply:
    """Show a challenge, or start its validation when the payload is an object."""
    found = core.records.challenges.get(url)
    if found is None:
        raise Problem("malformed", "there is no such challenge", status=404)
    parent, answered = found
    request.require_owner(parent.account)
    if request.payload:
        request.document()
        if answered.status == "pending" and parent.status(core.now()) == "pending":
            answered.status = "processing"
            core.validate(url)
    links = f'<{parent.url}>;rel="up"'
    return json_reply(200, _challenge_document(answered), _retry_after(core, answered.status == "processing"), links)


def run_validation(core: Core, url: str, server: tuple[str, int], wait: Callable[[float], object]) -> None:
    """Look at the DNS for one challenge and note what was seen. Called without the lock, in a thread of its own."""
    parent, answered = core.records.challenges[url]
    if core.faults.validation_seconds:
        wait(core.faults.validation_seconds)
    soft = core.faults.takes_pending_error()
    error = None
    try:
        if soft:
            raise Problem("dns", f"no TXT record found for {parent.name} yet; answer the challenge again")  # noqa: TRY301
        owner = challenge_owner(answered.kind, parent.name, parent.account.url)
        check_txt(server, owner, answered.token, parent.account.jwk.thumbprint)
    except Problem as problem:
        error = problem.as_dict()
    with core.records.lock:
        answered.error = error
        answered.status = "valid" if error is None else "pending" if soft else "invalid"
        answered.validated = core.now() if error is None else None


def _names(identifiers: Any) -> tuple[str, ...]:
    if not isinstance(identifiers, list) or not 1 <= len(identifiers) <= _MAX_NAMES:
        raise Problem("malformed", f"identifiers is a list of 1 to {_MAX_NAMES} identifiers")
    names: dict[str, None] = {}
    for identifier in identifiers:
        if not isinstance(identifier, dict) or not isinstance(identifier.get("value"), str):
            raise Problem("malformed", "an identifier has a type and a value")
        if identifier.get("type") != "dns":
            raise Problem("unsupportedIdentifier", f"identifier type {identifier.get('type')!r} is not supported")
        names[_name(identifier["value"])] = None
    return tuple(names)


def _name(value: str) -> str:
    try:
        name = normalize_identifier(value) if value.isascii() else ""
    except ValueError as error:
        raise Problem("rejectedIdentifier", f"{value!r}: {error}") from None
    if name != value.lower():
        raise Problem("malformed", f"{value!r} is not a DNS name in A-label form without a trailing dot")
    return name


def _profile(core: Core, requested: Any) -> str:
    if requested is None:
        return DEFAULT_PROFILE
    if requested not in core.validity or core.faults.refuse_profiles:
        raise Problem("invalidProfile", f"profile {requested!r} is not offered; {', '.join(core.validity)} are")
    return str(requested)


def _validity(core: Core, profile: str, document: dict[str, Any]) -> tuple[datetime | None, datetime | None]:
    start = parse_rfc3339(document.get("notBefore"), "notBefore")
    end = parse_rfc3339(document.get("notAfter"), "notAfter")
    first = start or core.now()
    if end is not None and not first < end <= first + core.validity[profile]:
        raise Problem("malformed", f"notAfter is not within {core.validity[profile]} of the start of validity")
    return start, end


def _mark_replaced(core: Core, successor: Order) -> None:
    """RFC 9773 section 5."""
    predecessor = core.records.certificate_by_ari_id(str(successor.replaces))
    if predecessor.account is not successor.account:
        raise Problem("unauthorized", "the certificate to replace is another account's")
    if not set(predecessor.names) & set(successor.names):
        raise Problem("malformed", "the certificate to replace shares no name with the order")
    other = predecessor.replaced_by
    if other is not None and other.status(core.now()) != "invalid":
        raise Problem("alreadyReplaced", "the certificate was replaced by another order")
    predecessor.replaced_by = successor


def _authorize(core: Core, order: Order, name: str) -> Authorization:
    made = Authorization(
        core.records.new_url("authz"), order.account, base_name(name), is_wildcard(name), order.expires
    )
    token = secrets.token_urlsafe(32)
    for kind in _CHALLENGES:
        offered = Challenge(core.records.new_url("challenge"), kind, token)
        made.challenges.append(offered)
        core.records.challenges[offered.url] = (made, offered)
    if core.faults.authorizations_valid:
        made.challenges[0].status, made.challenges[0].validated = "valid", core.now()
    core.records.authorizations[made.url] = made
    return made


def _own_order(core: Core, request: SignedRequest, url: str) -> Order:
    found = core.records.orders.get(url)
    if found is None:
        raise Problem("malformed", "there is no such order", status=404)
    request.require_owner(found.account)
    return found


def _show_order(core: Core, shown: Order, code: int) -> Reply:
    status = shown.status(core.now())
    document = {
        "status": status,
        "expires": rfc3339(shown.expires),
        "identifiers": [{"type": "dns", "value": name} for name in shown.names],
        "profile": shown.profile,
        "notBefore": rfc3339(shown.not_before),
        "notAfter": rfc3339(shown.not_after),
        "replaces": shown.replaces,
        "error": shown.error,
        "authorizations": [authorization.url for authorization in shown.authorizations],
        "finalize": f"{shown.url}/finalize",
        "certificate": shown.certificate.url if shown.certificate and status == "valid" else None,
    }
    headers = {"Location": shown.url, **_retry_after(core, status == "pending")}
    if status == "processing":
        headers["Retry-After"] = str(max(1, math.ceil(shown.done_at - time.monotonic())))
    return json_reply(code, document, headers)


def _retry_after(core: Core, unfinished: bool) -> dict[str, str]:  # noqa: FBT001 - reads as a sentence where it is called
    seconds = core.faults.polling_retry_after
    return {"Retry-After": str(seconds)} if unfinished and seconds is not None else {}


def _challenge_document(shown: Challenge) -> dict[str, Any]:
    document = {
        "type": shown.kind,
        "url": shown.url,
        "status": shown.status,
        "token": shown.token,
        "validated": rfc3339(shown.validated),
        "error": shown.error,
    }
    return {key: value for key, value in document.items() if value is not None}
