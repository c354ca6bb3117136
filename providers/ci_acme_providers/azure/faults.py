"""What Azure's refusals mean: one reading for the management API, the vaults and the sign-in host."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

from ci_acme.dataclass import dataclass
from ci_acme.errors import (
    CiAcmeError,
    DnsCredentialsError,
    DnsError,
    DnsRefused,
    DnsUnreachable,
    SecretError,
    ZoneNotFound,
)
from ci_acme.model.secret import harmless

_ARM_DENIED: Final = re.compile(r"perform action '([^']+)' over scope '([^']+)'")
_VAULT_DENIED: Final = re.compile(r"Action: '([^']+)'\s+Resource: '([^']+)'")
_POLICY_DENIED: Final = re.compile(r"does not have (\w+) (\w+) permission on key vault '([^';]+)")
_ENTRA: Final = re.compile(r"AADSTS(\d+)")
_SUBJECT: Final = re.compile(r"assertion subject '([^']+)'")
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_NETWORK: Final = frozenset({"ForbiddenByFirewall", "ForbiddenByConnection"})
_ZONE_LOST: Final = frozenset(
    {"ParentResourceNotFound", "ResourceNotFound", "ResourceGroupNotFound", "SubscriptionNotFound"}
)


class Kind(Enum):
    """The kinds of failure that are acted on differently."""

    CREDENTIALS = "credentials"
    DENIED = "denied"
    ABSENT = "absent"
    CONFLICT = "conflict"
    PRECONDITION = "precondition"
    UNREACHABLE = "unreachable"
    BUSY = "busy"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Fault:
    """An error of the SDK, read. `code` is the service's innermost one, `doubtful` that it may have been done, `final`
    that no answer will come whatever is tried.
    """

    kind: Kind
    message: str
    fix: str
    code: str = ""
    status: int | None = None
    retry_after: float | None = None
    doubtful: bool = False
    final: bool = False

    @property
    def passing(self) -> bool:
        """Whether trying again can help."""
        return self.kind in {Kind.UNREACHABLE, Kind.BUSY} and not self.final

    @property
    def parent_is_absent(self) -> bool:
        """Whether the zone, its group or subscription is what is not there."""
        return self.kind is Kind.ABSENT and self.code in _ZONE_LOST

    def details(self) -> dict[str, Any]:
        """For the result document."""
        return {key: value for key, value in (("status", self.status), ("code", self.code)) if value}


def read(error: Exception) -> Fault:
    """What an error of an SDK's call means. Anything that is none is raised again: it is a defect, or ours."""
    from azure.core.exceptions import (
        ClientAuthenticationError,
        HttpResponseError,
        ServiceRequestError,
        ServiceResponseError,
    )

    if isinstance(error, SecretError):
        return Fault(Kind.CREDENTIALS, error.message, error.fix)
    if isinstance(error, CiAcmeError):
        raise error
    if isinstance(error, ClientAuthenticationError):
        silent = (ServiceRequestError, ServiceResponseError)
        unheard = next((cause for cause in _causes(error) if isinstance(cause, silent)), None)
        return _credentials(error) if unheard is None else _transport(unheard, doubtful=False)
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return _transport(error, doubtful=isinstance(error, ServiceResponseError))
    if isinstance(error, HttpResponseError):
        return _response(error)
    if isinstance(error, json.JSONDecodeError):  # the SDKs let it through
        fix = "check the vault or endpoint, and proxies on the way"
        return Fault(Kind.UNREACHABLE, "an answer is not one of Azure: it is no JSON", fix, doubtful=True)
    raise error


def dns_error(fault: Fault, what: str, zone: str) -> DnsError:
    """The error of a DNS provider, for what was looked at or changed."""
    details = {"zone": zone, **fault.details()}
    if fault.kind is Kind.CREDENTIALS:
        return DnsCredentialsError(f"azure-dns, {what}: {fault.message}", fix=fault.fix, details=details)
    if fault.parent_is_absent:
        fix = "correct zone_id, subscription and resource_group of the DNS entry"
        return ZoneNotFound(f"azure-dns has no zone {zone} there: {fault.message}", fix=fix, details=details)
    if fault.kind in {Kind.UNREACHABLE, Kind.BUSY}:
        return DnsUnreachable(f"azure-dns, {what}: {fault.message}", fix=fault.fix, details=details)
    return DnsRefused(f"azure-dns, {what}: {fault.message}", fix=fault.fix, details=details)


# --- sign-in -----------------------------------------------------------------------------------------------------

_ENTRA_FIXES: Final[Mapping[str, str]] = {
    "7000215": "correct the secret: it is the value that is wanted, not its id",
    "7000222": "make a new secret for the application: this one has expired; or use the job's identity token",
    "700016": "correct client and tenant: the application is not in this tenant",
    "90002": "correct tenant: there is no such one",
    "700024": "set the clock of this machine, or let the job ask for a new token: the assertion was not valid any more",
    "700212": "let the federated credential of the application have the audience that Entra tells",
    "700211": "let the federated credential of the application have the issuer that Entra tells",
}


def _credentials(error: Any) -> Fault:
    message = _line(str(error.message))
    match = _ENTRA.search(message)
    code = f"AADSTS{match[1]}" if match else ""
    if error.status_code in _PASSING:
        return Fault(
            Kind.BUSY,
            f"Entra ID is busy: {message}",
            "run again",
            code,
            error.status_code,
            retry_after=_retry_after(error),
        )
    if error.status_code == 401 and not match:
        return Fault(
            Kind.CREDENTIALS,
            f"Azure does not accept the token: {message}",
            "check that tenant is the one of the subscription or vault",
            status=401,
        )
    subject = _SUBJECT.search(message)
    fix = _ENTRA_FIXES.get(match[1] if match else "", "check client, tenant and what proves them; or run az login")
    if subject is not None:
        fix = (
            f"add a federated credential with the subject {subject[1]} to the application (az ad app "
            "federated-credential create), issuer and audience as Entra tells them"
        )
    return Fault(Kind.CREDENTIALS, f"Entra ID gives no token: {message}", fix, code, error.status_code)


# --- no answer ---------------------------------------------------------------------------------------------------


def _transport(error: Any, *, doubtful: bool) -> Fault:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Fault(
                Kind.UNREACHABLE,
                f"the TLS certificate is not trusted ({cause.verify_message or 'verification failed'})",
                "give the CA of the server or proxy as ca_bundle",
                final=True,
            )
    words = "no answer in time" if "Timeout" in type(error).__name__ else "the connection was closed without an answer"
    if not doubtful:
        words = _unreached(error)
    return Fault(
        Kind.UNREACHABLE,
        words,
        "check the network of this machine, and the name of the vault or endpoint",
        doubtful=doubtful,
    )


def _unreached(error: Any) -> str:
    names = " ".join(type(cause).__name__ for cause in _causes(error))
    text = str(error)
    if "NameResolution" in names + text or "getaddrinfo" in text or "gaierror" in names:
        return "the host name does not resolve"
    if "refused" in text:
        return "the connection was refused"
    return "no connection in time" if "Timeout" in names else "no connection could be made"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and whatever is inside it."""
    todo: list[BaseException] = [error]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inside = (one.__cause__, one.__context__, getattr(one, "inner_exception", None), getattr(one, "reason", None))
        todo += [cause for cause in (*inside, *one.args) if isinstance(cause, BaseException)]


# --- answers -----------------------------------------------------------------------------------------------------


def _response(error: Any) -> Fault:
    status: int = error.status_code or 0
    code, inner, whole = _said(error)
    named, message = inner or code, _line(whole)
    if status == 403:
        return _denied(whole, named)
    kind = {404: Kind.ABSENT, 409: Kind.CONFLICT, 412: Kind.PRECONDITION}.get(status, Kind.REFUSED)
    if status in _PASSING:
        kind = Kind.BUSY
    fix = "correct what Azure refuses" if kind is Kind.REFUSED else "run again"
    text = f"Azure answers {status} {named or error.reason or ''}".rstrip() + (f": {message}" if message else "")
    after = _retry_after(error) if kind is Kind.BUSY else None
    return Fault(kind, text, fix, named, status, after, doubtful=status in {500, 502, 503, 504})


def _denied(message: str, code: str) -> Fault:
    """403: what to grant to whom."""
    if code in _NETWORK:
        return Fault(
            Kind.DENIED,
            f"the vault's network rules do not let this machine in: {_line(message)}",
            "allow this machine's address or network at the vault, or run the job in its network",
            code,
            403,
        )
    match = _ARM_DENIED.search(message) or _VAULT_DENIED.search(message)
    if match is not None:
        text = f"not allowed: {match[1]} at {match[2]}"
        return Fault(Kind.DENIED, text, f"assign a role that has {match[1]} at the scope {match[2]}", code, 403)
    match = _POLICY_DENIED.search(message)
    if match is not None:
        family, right, vault = match[1].rstrip("s"), match[2], match[3]
        fix = f"az keyvault set-policy --name {vault} --spn CLIENT --{family}-permissions {right}"
        return Fault(Kind.DENIED, f"not allowed: {family} {right} in the vault {vault}", fix, code, 403)
    return Fault(Kind.DENIED, f"Azure refuses: {_line(message)}", "grant what `ci-acme permissions` prints", code, 403)


def _said(error: Any) -> tuple[str, str, str]:
    """The code, the inner code and the message of an error body."""
    said = error.error
    if said is None:
        return "", "", ""
    inner = said.innererror.get("code", "") if isinstance(said.innererror, Mapping) else ""
    return str(said.code or ""), str(inner or ""), " ".join(str(said.message or "").split())


def _line(text: str) -> str:
    """One line of bounded length, without what only Microsoft's support can use."""
    return harmless(" ".join(text.split()).split(" Trace ID:")[0])


def _retry_after(error: Any) -> float | None:
    """Seconds that the service asks for."""
    headers = getattr(error.response, "headers", None) or {}
    for name, scale in (("retry-after-ms", 1000.0), ("x-ms-retry-after-ms", 1000.0), ("Retry-After", 1.0)):
        text = str(headers.get(name, "")).strip()
        if text.isdigit():
            return float(text) / scale
    return None
