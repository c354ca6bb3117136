"""What Google's refusals mean, as errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from ci_acme.errors import CiAcmeError, DnsCredentialsError, DnsRefused, DnsUnreachable, ZoneNotFound
from ci_acme.model.secret import harmless
from ci_acme.storing import Refused

_PERMISSION: Final = re.compile(r"'?\b([a-z]+\.[a-zA-Z]+\.[a-zA-Z]+)\b'?")
_LIMITS: Final = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"})
_DISABLED: Final = frozenset({"accessNotConfigured", "SERVICE_DISABLED"})


class NoCredentials(Exception):
    """Nobody gives a token, or nobody takes it."""

    def __init__(self, message: str, *, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class NoReply(Exception):
    """No answer came until the deadline. `doubtful`: the request may have been carried out."""

    def __init__(self, message: str, *, doubtful: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.doubtful = doubtful


class Refusal(Exception):
    """An error document of Google.

    `reason` is the word of the older APIs (`conditionNotMet`) or of the newer ones' ErrorInfo; `status` the canonical
    code (`PERMISSION_DENIED`), empty in the older ones. `doubtful`: an earlier try of the same request, or this one,
    may have been carried out.
    """

    def __init__(self, code: int, document: Any, *, doubtful: bool = False) -> None:
        error = document.get("error") if isinstance(document, dict) else None
        error = error if isinstance(error, dict) else {}
        self.code = code
        self.status = str(error.get("status") or "")
        self.message = harmless(str(error.get("message") or f"status {code}"))
        self.reason, self.info = _reason(error)
        self.doubtful = doubtful
        super().__init__(self.message)

    @property
    def limited(self) -> bool:
        """Whether it asks for patience and was not carried out."""
        return self.code == 429 or (self.code == 403 and self.reason in _LIMITS)

    @property
    def missing(self) -> bool:
        """Whether the thing does not exist."""
        return self.code == 404

    @property
    def unknown(self) -> bool:
        """Whether a method does not exist there, asked of a thing that does: emulators have fewer than Google."""
        return self.code in {404, 405, 501}

    @property
    def denied(self) -> bool:
        """Whether a permission lacks."""
        return self.code in {401, 403} and not self.limited

    @property
    def disabled(self) -> bool:
        """Whether the API is switched off in the project."""
        return self.reason in _DISABLED

    @property
    def permission(self) -> str | None:
        """The permission that lacks, if the answer names it."""
        named = self.info.get("permission")
        if isinstance(named, str) and named:
            return named
        match = _PERMISSION.search(self.message)
        return match[1] if match and self.denied else None


class Damaged(Exception):
    """What came is not what its checksum says."""

    message = "the payload was damaged on the way: its CRC32C is another"


Trouble = (NoCredentials, NoReply, Refusal, Damaged)
"""What a call to Google can raise beside errors of `ci_acme.errors`."""


def _reason(error: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The reason of an error document, and the metadata of its ErrorInfo."""
    for detail in _objects(error.get("details")):
        if str(detail.get("@type", "")).endswith("google.rpc.ErrorInfo"):
            metadata = detail.get("metadata")
            return str(detail.get("reason") or ""), metadata if isinstance(metadata, dict) else {}
    for item in _objects(error.get("errors")):
        return str(item.get("reason") or ""), {}
    return "", {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def advice(error: Exception, needed: Sequence[str], on: str) -> str:
    """The next thing to do; `needed` are the permissions of what was tried, `on` the resource to grant them on."""
    if isinstance(error, NoCredentials):
        return error.fix
    if not isinstance(error, Refusal):
        return "check that this machine reaches Google's API, and run again"
    if error.disabled:
        service = str(error.info.get("service") or "the API")
        return f"enable it in the project: gcloud services enable {service}"
    if error.denied:
        names = [error.permission] if error.permission else list(needed)
        return (
            f"grant {', '.join(names)} on {on} to the identity that runs ci-acme (ci-acme permissions prints the role)"
        )
    if error.limited:
        return "wait a minute and run again, or ask Google for more quota"
    return f"check {on}"


def explained(error: Exception, needed: Sequence[str], on: str) -> Refused | None:
    """What a call to Google raised means for a store, or a secret source; None for anything else."""
    if not isinstance(error, Trouble):
        return None
    details: dict[str, Any] = {"resource": on}
    if isinstance(error, Refusal):
        details |= {"status": error.code, "reason": error.reason or error.status}
    return Refused(str(getattr(error, "message", error)), fix=advice(error, needed, on), details=details)


def dns_fault(error: Exception, doing: str, *, needed: Sequence[str], zone: str) -> CiAcmeError:
    """The error of Cloud DNS for what a call raised."""
    on = f"the managed zone {zone}" if zone else "the project"
    details: dict[str, Any] = {"zone": zone}
    if isinstance(error, Refusal):
        details |= {"status": error.code, "reason": error.reason or error.status}
    kind = _dns_kind(error)
    message = getattr(error, "message", str(error))
    if isinstance(error, Refusal) and error.missing:
        return ZoneNotFound(
            f"Cloud DNS does not know {on}: {message}", fix="correct zone_id or project", details=details
        )
    fix = _DNS_FIXES[error.reason] if isinstance(error, Refusal) and error.reason in _DNS_FIXES else ""
    return kind(f"cannot {doing}: {message}", fix=fix or advice(error, needed, on), details=details)


def _dns_kind(error: Exception) -> Callable[..., CiAcmeError]:
    if isinstance(error, NoCredentials) or (isinstance(error, Refusal) and error.code == 401):
        return DnsCredentialsError
    if isinstance(error, NoReply) or (isinstance(error, Refusal) and (error.limited or error.code >= 500)):
        return DnsUnreachable
    return DnsRefused


_DNS_FIXES: Final = {
    "cnameResourceRecordSetConflict": "remove the CNAME at the name, or let it lead to a name where TXT may stand",
    "quotaExceeded": "remove record sets that nobody needs, or ask Google for more quota",
}
