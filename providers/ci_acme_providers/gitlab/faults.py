"""What GitLab's refusals mean, and what to grant."""

from __future__ import annotations

from collections.abc import Mapping

from ci_acme.model.secret import harmless
from ci_acme.rest import Answer, member
from ci_acme.storing import Refused


def said(answer: Answer) -> str:
    """GitLab's own words."""
    message = member(answer.document, "message") or member(answer.document, "error") or ""
    if isinstance(message, Mapping):
        message = "; ".join(f"{name} {', '.join(map(str, words))}" for name, words in message.items())
    return harmless(str(message))


def exists_already(answer: Answer) -> bool:
    """Whether a creation was refused because there is one of this key and scope."""
    return answer.status == 400 and "has already been taken" in said(answer)


def refusal(answer: Answer, doing: str, grant: str) -> Refused:
    """The error for an answer that is none of the expected ones. `grant` is what allows it."""
    words = said(answer)
    details = {"status": answer.status, "message": words, "request": answer.headers.get("x-request-id", "")}
    text = f"GitLab answers {answer.status} when asked to {doing}" + (f" ({words})" if words else "")
    if answer.status == 401:
        return Refused(text, fix="renew the token: it is not valid, is revoked, or has expired", details=details)
    if answer.status in {403, 404}:
        return Refused(text, fix=f"check the names, and use {grant}", details=details)
    if answer.status == 409:
        return Refused(text, fix="set environment_scope to that of the variable that is meant", details=details)
    return Refused(text, fix="see the words of GitLab", details=details)
