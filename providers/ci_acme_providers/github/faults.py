"""What GitHub's refusals mean, and what to grant."""

from __future__ import annotations

from datetime import datetime, timezone

from ci_acme.model.records import format_time
from ci_acme.model.secret import harmless
from ci_acme.rest import Answer, member
from ci_acme.storing import Refused


def refusal(answer: Answer, doing: str, grant: str) -> Refused:
    """The error for an answer that is none of the expected ones. `grant` is the permission that allows it."""
    words = harmless(str(member(answer.document, "message") or ""))
    details = {"status": answer.status, "message": words, "request": answer.headers.get("x-github-request-id", "")}
    text = f"GitHub answers {answer.status} when asked to {doing}" + (f" ({words})" if words else "")
    if answer.status == 401:
        return Refused(text, fix="renew the token: it is not valid, or has expired", details=details)
    if is_limited(answer):
        reset = answer.headers.get("x-ratelimit-reset", "")
        at = format_time(datetime.fromtimestamp(int(reset), timezone.utc)) if reset.isdigit() else "later"
        return Refused(text, fix=f"wait: the rate limit ends at {at}", details=details)
    if answer.status in {403, 404}:
        fix = f"check the names, and grant the token {grant}; the job's own GITHUB_TOKEN cannot have it"
        return Refused(text, fix=fix, details=details)
    return Refused(text, fix="see the words of GitHub", details=details)


def is_limited(answer: Answer) -> bool:
    """Whether a rate limit refused the request, of which GitHub has two: by the hour, and of writes in a row."""
    spent = answer.headers.get("x-ratelimit-remaining") == "0"
    return answer.status in {403, 429} and (spent or "retry-after" in answer.headers)
