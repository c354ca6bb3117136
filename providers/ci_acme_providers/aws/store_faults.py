"""What AWS says, as errors that say what to grant or do. Nothing that was sent is ever repeated."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from ci_acme.errors import CiAcmeError, Interrupted

AGAIN: Final = "; run again: it is delivered without a new order"

_DENIED: Final = frozenset(
    {"AccessDeniedException", "AccessDenied", "AllAccessDisabled", "UnauthorizedOperation", "NotAuthorized", "403"}
)
_CREDENTIALS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "NoCredentialsError",
        "PartialCredentialsError",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_KMS: Final = ("EncryptionFailure", "DecryptionFailure", "InvalidKeyId", "KMS")
_ACTIONS: Final[Mapping[str, str]] = {
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
}
"""Actions of IAM that are not called as the operation is."""

_LISTED: Final = frozenset({"s3:GetObject", "s3:GetObjectTagging", "s3:ListBucket"})

_WHO: Final = re.compile(r"not authorized to perform:? ([a-z0-9-]+:\w+)(?: on (?:the )?(?:resource:? )?(\S+))?")
_LONG: Final = re.compile(r"[A-Za-z0-9+/=_]{32,}")
_FIXES: Final[Mapping[str, str]] = {
    "BucketRegionError": "set region to where the bucket is",
    "IllegalLocationConstraintException": "set region to where the bucket is",
    "LimitExceededException": "raise the quota that AWS names, or remove what nobody needs",
    "NoRegionError": "set region in the store, or AWS_REGION in the environment",
    "NoSuchBucket": "create the bucket, or correct its name",
    "ParamValidationError": "correct the settings of the store",
    "PermanentRedirect": "set region to where the bucket is",
    "ResourceInUseException": "take it off what uses it first",
    "TooManyTagsError": "remove tags of your own: AWS takes 50 at one resource",
    "TooManyTagsException": "remove tags of your own: AWS takes 50 at one resource",
}


class AwsFault(Exception):
    """A call that was refused or not answered. `code` is AWS's or the SDK's, `action` what IAM calls the operation."""

    def __init__(self, code: str, action: str, said: str = "", resource: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.action = action
        self.said = said
        self.resource = resource

    @property
    def denied(self) -> bool:
        """Whether a permission is missing."""
        return self.code in _DENIED


def call(client: Any, service: str, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Call an operation (`put_object`) of a botocore client. Raises `AwsFault`."""
    import botocore.exceptions as sdk

    try:
        answer: Mapping[str, Any] = getattr(client, operation)(**arguments)
        return answer
    except sdk.ClientError as error:
        fault = _refused(service, error.operation_name, error.response.get("Error", {}))
    except sdk.ParamValidationError as error:  # its text shows what was sent
        fault = AwsFault(type(error).__name__, f"{service}:{operation}")
    except sdk.BotoCoreError as error:
        fault = AwsFault(type(error).__name__, f"{service}:{operation}", harmless(str(error)))
    raise fault  # out here, no exception of the SDK hangs on it


def harmless(text: str) -> str:
    """A text of AWS without what may be a part of what was sent to it."""
    if "-----" in text or "PRIVATE KEY" in text or " at '" in text:
        return ""
    return _LONG.sub("…", text)[:300].rstrip(". ")


@contextmanager
def told(kind: type[CiAcmeError], verb: str, store: Any, again: str = "") -> Generator[None]:
    """Turn faults, and errors about credentials, into `kind`. `store` has `provider` and `target`."""
    where = {"provider": store.provider, "target": store.target}
    try:
        yield
    except (Interrupted, kind):
        raise
    except AwsFault as fault:
        error = kind(
            f"cannot {verb} {store.target}: {_words(fault)}",
            fix=_fix(fault) + again,
            details={**where, "code": fault.code, "action": fault.action},
        )
    except CiAcmeError as other:
        error = kind(f"cannot {verb} {store.target}: {other.message}", fix=other.fix + again, details=where)
    else:
        return
    raise error


def _refused(service: str, operation: str, document: Mapping[str, Any]) -> AwsFault:
    code, message = str(document.get("Code", "unknown")), str(document.get("Message", ""))
    action = f"{service}:{operation}"
    found = _WHO.search(message)
    if found is not None:
        return AwsFault("AccessDenied", found[1], "", (found[2] or "").strip('".,'))
    return AwsFault(code, _ACTIONS.get(action, action), harmless(message))


def _words(fault: AwsFault) -> str:
    if fault.denied:
        where = f" on {fault.resource}" if fault.resource else ""
        return f"AWS does not allow {fault.action}{where}"
    return f"{fault.action} failed with {fault.code}" + (f" ({fault.said})" if fault.said else "")


def _fix(fault: AwsFault) -> str:
    if fault.denied:
        where = f" on {fault.resource}" if fault.resource else ""
        listing = ", and s3:ListBucket on the bucket: without it, what is not there is denied, too"
        return f"grant {fault.action}{where} to the role of this job" + (listing if fault.action in _LISTED else "")
    if fault.code in _CREDENTIALS:
        return "give the job AWS credentials that are valid: role with the CI system's identity token, or AWS_* variables"
    if fault.code.startswith(_KMS):
        return "let the role use the KMS key: grant kms:GenerateDataKey and kms:Decrypt on it"
    return _FIXES.get(fault.code, "see what AWS says, and run again")
