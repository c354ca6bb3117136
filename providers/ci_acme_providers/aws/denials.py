"""What AWS says when it does not accept who asks, or does not allow what is asked: the same words at every service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ci_acme.dataclass import dataclass
from ci_acme_providers.aws.config import AwsAccess

_DENIED_CODES: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"})
_CREDENTIAL_CODES: Final = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorizedException",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
_CLOCK_CODES: Final = frozenset({"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"})
_STS: Final = frozenset({"AssumeRole", "AssumeRoleWithWebIdentity"})
_TEXT: Final = re.compile(
    r"(?:User: (?P<who>\S+) )?is not authorized to perform: (?P<action>[\w-]+:\w+)"
    r"(?: on resource: \"?(?P<resource>[^\s\"]+)\"?)?(?: (?P<why>(?:because|with an explicit deny) .+))?"
)


@dataclass(frozen=True, slots=True)
class Rejected:
    """The credentials are not accepted: what was said, and the thing to do."""

    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Denied:
    """An action is not allowed. `action` is like `route53:GetChange`, `resource` an ARN, each as far as AWS says it."""

    message: str
    fix: str
    action: str
    resource: str


def rejected(error: BaseException, access: AwsAccess) -> Rejected | None:
    """What an error of botocore says of the credentials; None if it says nothing."""
    from botocore.exceptions import ClientError, NoCredentialsError, PartialCredentialsError

    if isinstance(error, ClientError):
        return _rejected_reply(error.response.get("Error", {}), str(error.operation_name), access)
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return Rejected(f"this job has no AWS credentials: {error}", _NONE_FIX)
    if type(error).__module__ == "botocore.exceptions" and "Credential" in type(error).__name__:
        return Rejected(f"the AWS credentials cannot be read: {error}", _NONE_FIX)
    return None


def denied(error: BaseException, action: str = "", resource: str = "") -> Denied | None:
    """What an error of botocore says of a right that is missing; None if it says nothing.

    `action` and `resource` are what the call needs, for replies that do not name it.
    """
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        return None
    reply: Mapping[str, Any] = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if reply.get("Code") not in _DENIED_CODES and not (status == 403 and reply.get("Code") in {"403", "Forbidden"}):
        return None
    said = _TEXT.search(str(reply.get("Message", "")))
    who = f"{said['who']} " if said and said["who"] else "this job "
    action = (said["action"] if said else "") or action
    resource = (said["resource"] if said else None) or resource
    why = f" ({said['why'].rstrip('.')})" if said and said["why"] else ""
    on = f" on {resource}" if resource else ""
    return Denied(
        f"AWS does not let {who}{action or 'do this'}{on}{why}", _grant(action, resource, why), action, resource
    )


def _grant(action: str, resource: str, why: str) -> str:
    if "explicit deny" in why:
        return f"remove the statement that denies {action}, or except this role from it"
    if "permissions boundary" in why:
        return f"allow {action} on {resource or '*'} in the permissions boundary, too"
    if "service control policy" in why or "resource control policy" in why:
        return f"have the organization's policy allow {action}"
    statement = f'{{"Effect": "Allow", "Action": "{action}", "Resource": "{resource or "*"}"}}'
    return f"allow it: {statement}; `ci-acme permissions` prints the whole policy"


_NONE_FIX: Final = (
    "set role and give the job an identity token, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a "
    "profile, a container or an instance has a role"
)


def _rejected_reply(reply: Mapping[str, Any], operation: str, access: AwsAccess) -> Rejected | None:
    code, text = str(reply.get("Code", "")), str(reply.get("Message", ""))
    if code in _CLOCK_CODES or "Signature expired" in text or "Signature not yet current" in text:
        return Rejected(f"AWS rejects the time of the request ({code})", "set the clock of this machine")
    if operation in _STS:
        role = access.role or "of AWS_ROLE_ARN"
        return Rejected(f"AWS does not let this job assume the role {role} ({code}): {text}", _trust(code, access))
    if code in {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}:
        fix = "give the job new credentials, or set role, whose credentials are fetched anew"
        return Rejected(f"the AWS session has expired ({code})", fix)
    if code in _CREDENTIAL_CODES:
        return Rejected(f"AWS does not accept the credentials ({code})", _key_fix(access))
    return None


def _trust(code: str, access: AwsAccess) -> str:
    if code in {"InvalidIdentityToken", "IDPCommunicationError", "ExpiredTokenException"}:
        return (
            "register the CI system's issuer as an identity provider in the account of the role, with the audience "
            f"{access.audience}"
        )
    return (
        f"compare the role's trust policy with the job's token: issuer, audience ({access.audience}) and subject; "
        "`ci-acme check` in the same job prints the one that lets it in"
    )


def _key_fix(access: AwsAccess) -> str:
    if access.role is not None:
        return f"run again; if it stays, check the role {access.role}"
    if access.access_key_id is not None:
        return f"check the key behind {access.access_key_id} and {access.secret_access_key}"
    return "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of this job, or its profile"
