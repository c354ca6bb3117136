"""What botocore raises for Route 53, as errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from ci_acme.dataclass import dataclass
from ci_acme.errors import (
    CiAcmeError,
    ConfigError,
    DnsCredentialsError,
    DnsError,
    DnsRefused,
    DnsUnreachable,
    ZoneNotFound,
)
from ci_acme_providers.aws import denials
from ci_acme_providers.aws.config import AwsAccess
from ci_acme_providers.aws.patience import busy
from ci_acme_providers.aws.route53_records import plain_name

NOTHING_WRITTEN: Final = (DnsRefused, DnsCredentialsError, ZoneNotFound, ConfigError)
"""Errors after which the core takes a change for not made: none may be raised once one was, or may have been."""
_CONFLICT: Final = re.compile(
    r"Tried to \w+ resource record set \[name='(?P<tried>[^']+)', type='TXT'[^\]]*\] but (?:but )?"
    r"(?:it already exists|it was not found|the values provided do not match the current values)"
    r"|RRSet with DNS name (?P<name>\S+?),? type TXT, SetIdentifier .*? cannot be created"
)
_FINAL: Final = re.compile(
    r"conflicting RRSet of type|not permitted in zone|protect|too long|TooLong|FATAL|is not a valid|Invalid Resource",
    re.IGNORECASE,
)
"""What does not change when the names are read again."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the API: what it needs to be allowed, for errors."""

    operation: str
    resource: str = "*"
    zone: str = ""
    names: Sequence[str] = ()

    @property
    def action(self) -> str:
        """The IAM action."""
        return f"route53:{self.operation}"


class Conflict(Exception):
    """A batch does not fit what is there now: nothing of it was done. `names` are those that are told, maybe none."""

    def __init__(self, text: str, names: Sequence[str]) -> None:
        super().__init__(text)
        self.text = text
        self.names = names


def code_of(error: BaseException) -> str:
    """The error code of a reply, empty if there is none."""
    return str(_response(error).get("Error", {}).get("Code") or "")


def conflict_of(error: BaseException) -> Conflict | None:
    """The conflict that a refused batch tells of; None if it was refused for good."""
    text = _batch_text(error)
    if not text or _FINAL.search(text):
        return None
    names = [plain_name(match["tried"] or match["name"]) for match in _CONFLICT.finditer(text)]
    return Conflict(text, names)


def fault(error: BaseException, access: AwsAccess, call: Call) -> CiAcmeError:
    """The error for the user."""
    details = {"action": call.action, "resource": call.resource, "names": list(call.names), "code": code_of(error)}
    if (rejected := denials.rejected(error, access)) is not None:
        return DnsCredentialsError(rejected.message, fix=rejected.fix, details=details)
    if (denied := denials.denied(error, call.action, call.resource)) is not None:
        details |= {"action": denied.action, "resource": denied.resource}
        return DnsRefused(f"Route 53: {denied.message}{_at(call)}", fix=_fix_denied(denied, call), details=details)
    if _response(error):
        return _reply_fault(error, call, details)
    if type(error).__name__ in _UNREACHABLE:
        fix = "check that this machine may reach AWS, and endpoint and region of the DNS entry"
        return DnsUnreachable(f"Route 53 cannot be reached: {error}", fix=fix, details=details)
    return ConfigError(f"the AWS SDK cannot ask Route 53: {error}", fix="correct the AWS settings of this job")


_UNREACHABLE: Final = frozenset(
    {
        "ConnectionClosedError",
        "ConnectionError",
        "ConnectTimeoutError",
        "EndpointConnectionError",
        "HTTPClientError",
        "ProxyConnectionError",
        "ReadTimeoutError",
        "ResponseStreamingError",
        "SSLError",
    }
)


def _reply_fault(error: BaseException, call: Call, details: dict[str, Any]) -> DnsError:
    code, text = code_of(error), _batch_text(error) or _text(error)
    if code == "NoSuchHostedZone":
        fix = "correct zone_id of the DNS entry, or the account that the credentials are of"
        return ZoneNotFound(f"Route 53 has no hosted zone {call.zone} ({code})", fix=fix, details=details)
    if busy(code):
        text = f"Route 53 takes no more calls of this account now ({code}){_at(call)}"
        return DnsUnreachable(text, fix="run the command again", details=details)
    if _status(error) >= 500:
        text = f"Route 53 fails ({code}){_at(call)}"
        return DnsUnreachable(text, fix="run the command again", details=details)
    if re.search("protect", text, re.IGNORECASE):
        text = f"Route 53 protects the record{_at(call)}: {text}"
        return DnsRefused(text, fix="lift the protection of these records, or use names without one", details=details)
    if "conflicting RRSet of type" in text:
        text = f"Route 53 has another record where the challenge belongs{_at(call)}: {text}"
        return DnsRefused(text, fix="remove the CNAME, or point it to where challenges are written", details=details)
    text = f"Route 53 refuses {call.operation}{_at(call)} ({code}): {text}"
    return DnsRefused(text, fix="see what Route 53 says; `ci-acme check` looks at the zone", details=details)


def _fix_denied(denied: denials.Denied, call: Call) -> str:
    if denied.action == "route53:ListHostedZonesByName":
        return f"name the zone's id as zone_id of the DNS entry, or {denied.fix}"
    return denied.fix


def _batch_text(error: BaseException) -> str:
    """What InvalidChangeBatch says, in the newer form (one text) or the older (a list under a root of that name).

    botocore gives no code for the older form, and loses the texts if there are several.
    """
    response = _response(error)
    older = response.get("Messages")
    if code_of(error) != "InvalidChangeBatch" and older is None:
        return ""
    messages = [older["Message"]] if older and isinstance(older["Message"], str) else response.get("messages") or ()
    parts = [_text(error), *map(str, messages)]
    return ", ".join(dict.fromkeys(part for part in parts if part)) or "InvalidChangeBatch"


def _text(error: BaseException) -> str:
    return str(_response(error).get("Error", {}).get("Message") or "")


def _status(error: BaseException) -> int:
    return int(_response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _response(error: BaseException) -> dict[str, Any]:
    """The parsed reply, empty if there was none."""
    response: Any = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}


def _at(call: Call) -> str:
    if not call.names:
        return f" in zone {call.zone}" if call.zone else ""
    first, *others = call.names
    more = f" and {len(others)} more" if others else ""
    return f" at {first}{more}"
