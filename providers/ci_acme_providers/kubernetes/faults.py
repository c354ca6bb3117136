"""What the API server's refusals mean, and what to do. Messages about content are left out: they may quote it."""

from __future__ import annotations

from typing import Any

from ci_acme.model.secret import harmless
from ci_acme.rest import Answer, member
from ci_acme.storing import Refused


def refusal(answer: Answer, verb: str, namespace: str, name: str) -> Refused:
    """The error for an answer that is none of the expected ones."""
    reason = harmless(str(member(answer.document, "reason") or ""))
    details: dict[str, Any] = {"status": answer.status, "reason": reason, "verb": verb, "namespace": namespace}
    words = _words(answer)
    text = f"the API server answers {answer.status} {reason}".rstrip() + (f" ({words})" if words else "")
    if answer.status == 401:
        return Refused(text, fix="renew the token: it is not valid, or has expired", details=details)
    if answer.status == 403:
        return Refused(text, fix=grant(verb, namespace, name), details=details)
    if answer.status == 404:
        return Refused(text, fix=f"create the namespace {namespace}, or correct it", details=details)
    if answer.status == 422:
        return Refused(text, fix="correct the fields that it names", details=details)
    return Refused(text, fix="see the words of the API server", details=details)


def grant(verb: str, namespace: str, name: str) -> str:
    """What to allow, as a rule of a Role."""
    if verb == "create":
        return f"grant in a Role of the namespace {namespace}: create secrets (which cannot be bound to a name)"
    return f"grant in a Role of the namespace {namespace}: {verb} secrets, resourceNames: [{name}]"


def _words(answer: Answer) -> str:
    if answer.status not in {401, 403, 404, 409}:
        causes = member(answer.document, "details", "causes")
        fields = (
            [f"{member(one, 'field')}: {member(one, 'reason')}" for one in causes] if isinstance(causes, list) else []
        )
        return harmless("; ".join(fields))
    return harmless(str(member(answer.document, "message") or ""))
