"""What AWS says to a store, as errors that say what to grant or do. Nothing that was sent is ever repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ci_acme.model import secret
from ci_acme.storing import Refused
from ci_acme_providers.aws import denials, pages
from ci_acme_providers.aws.config import AwsAccess

_KMS: Final = ("EncryptionFailure", "DecryptionFailure", "InvalidKeyId", "KMS")
_ACTIONS: Final[Mapping[str, str]] = {
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
}
"""Actions of IAM that are not called as the operation is."""

_LISTED: Final = frozenset({"s3:GetObject", "s3:GetObjectTagging", "s3:ListBucket"})
_REGION: Final = "set region to where the bucket is"
_TAGS: Final = "remove tags of your own: AWS takes 50 at one resource"
_FIXES: Final[Mapping[str, str]] = {
    "BucketRegionError": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "LimitExceededException": "raise the quota that AWS names, or remove what nobody needs",
    "NoRegionError": "set region in the store, or AWS_REGION in the environment",
    "NoSuchBucket": "create the bucket, or correct its name",
    "ParamValidationError": "correct the settings of the store",
    "PermanentRedirect": _REGION,
    "TooManyTagsError": _TAGS,
    "TooManyTagsException": _TAGS,
}
_NETWORK: Final = "check the network, and endpoint and region of the store"


class AwsFault(Exception):
    """A call that was refused or not answered. `code` is AWS's or the SDK's, `action` what IAM calls the operation.

    `said` and `fix` are for people; `denied` says that a permission is missing.
    """

    def __init__(self, code: str, action: str, said: str = "", *, fix: str = "", denied: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.action = action
        self.said = said
        self.fix = fix
        self.denied = denied


def call(client: Any, access: AwsAccess, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Call an operation (`put_object`) of a botocore client. Raises `AwsFault`, and `SecretError` of credentials."""
    from botocore.exceptions import BotoCoreError, ClientError

    service = str(client.meta.service_model.signing_name)
    try:
        answer: Mapping[str, Any] = getattr(client, operation)(**arguments)
    except (BotoCoreError, ClientError) as error:
        name = str(getattr(error, "operation_name", "") or client.meta.method_to_api_mapping[operation])
        action = f"{service}:{name}"
        fault = _fault(error, access, _ACTIONS.get(action, action))
    else:
        if not pages.is_page(answer):
            return answer
        action, fix = (
            f"{service}:{client.meta.method_to_api_mapping[operation]}",
            "check endpoint, and proxies on the way",
        )
        fault = AwsFault("NotOfAws", action, "a page has come instead of an answer of AWS", fix=fix)
    raise fault  # out here, no exception of the SDK hangs on it


def harmless(text: str) -> str:
    """A text of AWS without what may be a part of what was sent to it."""
    if "-----" in text or "PRIVATE KEY" in text or " at '" in text:
        return ""
    return secret.harmless(text).rstrip(". ")


def explained(fault: Exception) -> Refused | None:
    """What a fault means for a store, or a secret source; None for anything else."""
    if not isinstance(fault, AwsFault):
        return None
    said = fault.said if fault.fix else f"{fault.action} failed with {fault.code}" + _in_brackets(fault.said)
    details = {"code": fault.code, "action": fault.action}
    return Refused(said, fix=fault.fix or _fix(fault.code), details=details)


def _fault(error: Exception, access: AwsAccess, action: str) -> AwsFault:
    answer: Mapping[str, Any] = getattr(error, "response", None) or {}  # None of a connection that ended
    document: Mapping[str, Any] = answer.get("Error", {})
    code = str(document.get("Code") or type(error).__name__)
    rejected = denials.rejected(error, access)
    if rejected is not None:
        return AwsFault(code, action, harmless(rejected.message), fix=rejected.fix)
    denied = denials.denied(error, action)
    if denied is not None:
        more = "; allow s3:ListBucket on the bucket, too: without it, what is not there is denied"
        fix = denied.fix + (more if denied.action in _LISTED else "")
        return AwsFault(code, denied.action, harmless(denied.message), fix=fix, denied=True)
    if type(error).__name__ == "ParamValidationError":  # its text shows what was sent
        return AwsFault(code, action)
    return AwsFault(code, action, harmless(str(document.get("Message", "") if document else error)))


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _fix(code: str) -> str:
    if code.startswith(_KMS):
        return "let the role use the KMS key: allow kms:GenerateDataKey and kms:Decrypt on it"
    if code.endswith(("ConnectionError", "TimeoutError", "ClosedError", "SSLError", "ClientError")):
        return _NETWORK
    return _FIXES.get(code, "see what AWS says, and run again")
