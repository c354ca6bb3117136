"""AWS Secrets Manager on loopback, as its API reference has it: versions, staging labels, deletion, restoring.

From the service model's documentation: a token is a version's id, the same content again is ignored and other content
refused; a first version is AWSCURRENT whatever its labels; a label moves only from the version that is named; what is
scheduled for deletion can be described and restored and nothing else; deletion for good takes a while.
"""

from __future__ import annotations

import random
import string
import time
from dataclasses import dataclass, field
from typing import Any

from tests.clouds.awsjson import ACCOUNT, REGION, AwsJson, Refused

MOST_BYTES = 65_536
MOST_TAGS = 50
MOST_LABELS = 20
CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"
_GOING = "You can't perform this operation on the secret because it was marked for deletion."


@dataclass
class Secret:
    name: str
    arn: str
    tags: dict[str, str] = field(default_factory=dict)
    versions: dict[str, tuple[str | None, bytes | None]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    kms_key: str | None = None
    deleted: float | None = None
    """When it may be deleted for good."""
    gone: float | None = None
    """When a forced deletion is through, by the fake's clock."""


class SecretsManager(AwsJson):
    """`lag` is how many seconds a forced deletion takes."""

    SERVICE = IAM = "secretsmanager"

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[str, Secret] = {}
        self.lag = 0.3

    # --- for tests

    def value(self, name: str) -> str | bytes | None:
        """What a reader of AWSCURRENT gets."""
        secret = self.secrets.get(name)
        if secret is None or secret.deleted is not None or CURRENT not in secret.labels:
            return None
        text, data = secret.versions[secret.labels[CURRENT]]
        return text if text is not None else data

    def plant(self, name: str, value: str, **tags: str) -> None:
        """A secret that somebody else made."""
        secret = self.secrets[name] = self._new(name)
        secret.tags.update(tags)
        secret.versions["a" * 36] = (value, None)
        secret.labels[CURRENT] = "a" * 36

    # --- operations

    def CreateSecret(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name, token = request["Name"], request["ClientRequestToken"]
        found = self.find(name)
        if found is not None and found.deleted is not None:
            raise Refused(
                "InvalidRequestException",
                "You can't create this secret because a secret with this name is already scheduled for deletion.",
            )
        content = self._content(request)
        if found is not None:
            if content is not None and found.versions.get(token) == content:
                return self._named(found, VersionId=token)
            raise Refused("ResourceExistsException", f"The operation failed because the secret {name} already exists.")
        tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", ())}
        self._check_tags(tags)
        self.wrote()
        secret = self.secrets[name] = self._new(name)
        secret.tags, secret.kms_key = tags, request.get("KmsKeyId")
        if content is None:
            return self._named(secret)
        secret.versions[token] = content
        secret.labels[CURRENT] = token
        return self._named(secret, VersionId=token)

    def PutSecretValue(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        secret, token = self._usable(request), request["ClientRequestToken"]
        content = self._content(request)
        if content is None:
            raise Refused("InvalidParameterException", "You must provide SecretString or SecretBinary.")
        if token in secret.versions:
            if secret.versions[token] != content:
                raise Refused(
                    "ResourceExistsException", "You can't modify an existing version, you can only create one."
                )
            return self._version(secret, token)
        labels = request.get("VersionStages", [CURRENT])
        if len({*secret.labels, *labels}) > MOST_LABELS:
            raise Refused("LimitExceededException", "too many staging labels")
        self.wrote()
        first = not secret.versions
        secret.versions[token] = content
        for label in [*labels, *([CURRENT] if first else ())]:
            self._move(secret, label, token)
        return self._version(secret, token)

    def UpdateSecretVersionStage(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        secret, label = self._usable(request), request["VersionStage"]
        there, to = secret.labels.get(label), request.get("MoveToVersionId")
        if to is not None and to not in secret.versions:
            raise Refused("ResourceNotFoundException", "Secrets Manager can't find the specified secret version.")
        if there is not None and request.get("RemoveFromVersionId") != there:
            raise Refused(
                "InvalidParameterException",
                f"The parameter RemoveFromVersionId can't be empty. Staging label {label} is currently attached to "
                f"version {there}, so you must explicitly reference that version in RemoveFromVersionId.",
            )
        if there is None and "RemoveFromVersionId" in request:
            raise Refused("InvalidParameterException", f"The staging label {label} is attached to no version.")
        if to is None and label == CURRENT:
            raise Refused("InvalidParameterException", "You can only move staging label AWSCURRENT to another version.")
        self.wrote()
        if to is None:
            del secret.labels[label]
        else:
            self._move(secret, label, to)
        return self._named(secret)

    def DescribeSecret(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        secret = self.find(request["SecretId"])
        if secret is None:
            raise self._missing()
        answer = self._named(secret, CreatedDate=1.0, LastChangedDate=1.0)
        stages: dict[str, list[str]] = {}
        for label, version in secret.labels.items():
            stages.setdefault(version, []).append(label)
        if stages:
            answer["VersionIdsToStages"] = stages
        if secret.tags:
            answer["Tags"] = [{"Key": key, "Value": value} for key, value in secret.tags.items()]
        if secret.deleted is not None:
            answer["DeletedDate"] = secret.deleted
        return answer

    def GetSecretValue(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        secret = self._usable(request)
        version = request.get("VersionId") or secret.labels.get(request.get("VersionStage", CURRENT))
        if version not in secret.versions:
            raise Refused("ResourceNotFoundException", "Secrets Manager can't find the specified secret value.")
        text, data = secret.versions[version]
        content = {"SecretString": text} if text is not None else {"SecretBinary": data}
        stages = [label for label, at in secret.labels.items() if at == version]
        more = {"VersionStages": stages} if stages else {}
        return self._named(secret, VersionId=version, CreatedDate=1.0, **content, **more)

    def RestoreSecret(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        secret = self.find(request["SecretId"])
        if secret is None:
            raise self._missing()
        if secret.gone is not None:
            raise Refused("InvalidRequestException", _GOING)
        self.wrote()
        secret.deleted = None
        return self._named(secret)

    def DeleteSecret(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        secret, force = self.find(request["SecretId"]), request.get("ForceDeleteWithoutRecovery", False)
        days = request.get("RecoveryWindowInDays")
        if (force and days is not None) or (days is not None and not 7 <= days <= 30):
            raise Refused("InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days.")
        if secret is None and force:
            return {"ARN": self._arn(request["SecretId"]), "Name": request["SecretId"], "DeletionDate": time.time()}
        if secret is None:
            raise self._missing()
        if secret.deleted is not None and not force:
            raise Refused("InvalidRequestException", _GOING)
        self.wrote()
        secret.deleted = time.time() + 86400.0 * (0 if force else days or 30)
        if force:
            secret.gone = time.monotonic() + self.lag
        return self._named(secret, DeletionDate=secret.deleted)

    def TagResource(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        secret = self._usable(request)
        tags = {**secret.tags, **{tag["Key"]: tag["Value"] for tag in request["Tags"]}}
        self._check_tags(tags)
        self.wrote()
        secret.tags = tags
        return {}

    def UntagResource(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        secret = self._usable(request)
        self.wrote()
        secret.tags = {key: value for key, value in secret.tags.items() if key not in request["TagKeys"]}
        return {}

    # --- inside

    def arn(self, request: dict[str, Any]) -> str:
        return self._arn(request.get("SecretId") or request.get("Name") or "*")

    def _new(self, name: str) -> Secret:
        return Secret(name, self._arn(name))

    def _arn(self, name: str) -> str:
        ending = "".join(random.choices(string.ascii_letters, k=6))
        return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-{ending}"

    def find(self, name: str) -> Secret | None:
        secret = self.secrets.get(name)
        if secret is not None and secret.gone is not None and time.monotonic() >= secret.gone:
            del self.secrets[name]
            return None
        return secret

    def _usable(self, request: dict[str, Any]) -> Secret:
        secret = self.find(request["SecretId"])
        if secret is None:
            raise self._missing()
        if secret.deleted is not None:
            raise Refused("InvalidRequestException", _GOING)
        return secret

    def _move(self, secret: Secret, label: str, version: str) -> None:
        before = secret.labels.get(label)
        secret.labels[label] = version
        if label == CURRENT and before is not None and before != version:
            secret.labels[PREVIOUS] = before

    @staticmethod
    def _missing() -> Refused:
        return Refused("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")

    @staticmethod
    def _named(secret: Secret, **more: Any) -> dict[str, Any]:
        return {"ARN": secret.arn, "Name": secret.name, **more}

    def _version(self, secret: Secret, version: str) -> dict[str, Any]:
        stages = [label for label, at in secret.labels.items() if at == version]
        return self._named(secret, VersionId=version, **({"VersionStages": stages} if stages else {}))

    @staticmethod
    def _content(request: dict[str, Any]) -> tuple[str | None, bytes | None] | None:
        text, data = request.get("SecretString"), request.get("SecretBinary")
        if text is not None and data is not None:
            raise Refused("InvalidParameterException", "You can't specify both SecretString and SecretBinary.")
        if len((text or "").encode()) > MOST_BYTES or len(data or b"") > MOST_BYTES:
            raise Refused("InvalidParameterException", "The secret value is too long.")
        return None if text is None and data is None else (text, data)

    @staticmethod
    def _check_tags(tags: dict[str, str]) -> None:
        if len(tags) > MOST_TAGS:
            raise Refused("LimitExceededException", f"{len(tags)} tags, {MOST_TAGS} are the most")
        if any(key.lower().startswith("aws:") for key in tags):
            raise Refused("InvalidParameterException", "aws: is reserved")
