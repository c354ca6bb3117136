"""What Vault's refusals mean, and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from ci_acme.model.secret import harmless
from ci_acme.rest import Answer, member
from ci_acme.storing import Refused

CAS_MISMATCH = "check-and-set parameter did not match"


def said(answer: Answer) -> str:
    """Vault's own words, which are about paths and versions."""
    errors = member(answer.document, "errors")
    words = "; ".join(str(each) for each in errors) if isinstance(errors, list) else ""
    return harmless(words)


def refusal(answer: Answer, doing: str, needs: Iterable[str] = ()) -> Refused:
    """The error for an answer that is none of the expected ones; `needs` are lines of a policy that would allow it."""
    words = said(answer)
    details = {"status": answer.status, "errors": words}
    reason = f"Vault answers {answer.status} when asked to {doing}" + (f" ({words})" if words else "")
    if answer.status == 403:
        grant = " ".join(needs) or "the policy that ci-acme permissions prints"
        return Refused(reason, fix=f"check that the token is valid, and grant its policy: {grant}", details=details)
    if answer.status == 503:
        return Refused(reason, fix="unseal Vault, or wait until it has a leader", details=details)
    if answer.status == 404:
        return Refused(reason, fix="check the address, the namespace and the mount", details=details)
    return Refused(reason, fix="see the words of Vault, and its audit log", details=details)


def login_refusal(answer: Answer, method: str, mount: str) -> Refused:
    """The error for a login that failed."""
    words = said(answer)
    reason = f"Vault refuses the login by {method} at auth/{mount} ({answer.status}{': ' + words if words else ''})"
    fix = "check role, auth_mount and audience against the role's bound_audiences and bound_claims"
    if method == "AppRole":
        fix = "check role_id, secret_id and auth_mount: a secret id expires, and may be good for one use only"
    return Refused(reason, fix=fix, details={"status": answer.status, "errors": words})


def rule(path: str, *capabilities: str) -> str:
    """A rule of a policy, in one line."""
    words = ", ".join(f'"{each}"' for each in capabilities)
    return f'path "{path}" {{ capabilities = [{words}] }}'
