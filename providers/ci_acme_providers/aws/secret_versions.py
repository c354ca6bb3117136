"""The calls of Secrets Manager that a store needs, for one secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ci_acme_providers.aws.store_base import tag_list
from ci_acme_providers.aws.store_faults import AwsFault

CURRENT: Final = "AWSCURRENT"
_NEXT: Final = "ci-acme-next"
"""A staging label of ours, so that a new version does not become current by being written."""

_DESCRIPTION: Final = "TLS certificate and key, written by ci-acme"
_PASSING: Final = frozenset({"InvalidParameterException", "InvalidRequestException", "ResourceNotFoundException"})

Call = Callable[..., Mapping[str, Any]]
Secret = Mapping[str, Any]
"""What DescribeSecret says."""


def current(secret: Secret | None) -> str | None:
    """The version that readers get; None if there is none."""
    versions = (secret or {}).get("VersionIdsToStages") or {}
    return next((version for version, stages in versions.items() if CURRENT in stages), None)


class Versions:
    """`call` is the store's. What returns a truth value is False if the secret has changed: look again.

    Everything raises `AwsFault`.
    """

    def __init__(self, name: str, kms_key: str | None, call: Call) -> None:
        self._name = name
        self._key = {"KmsKeyId": kms_key} if kms_key else {}
        self._call = call

    def describe(self) -> Secret | None:
        """None if there is no such secret."""
        try:
            return self._call("describe_secret", SecretId=self._name)
        except AwsFault as fault:
            if fault.code == "ResourceNotFoundException":
                return None
            raise

    def value(self, version: str) -> bytes:
        """What a version holds."""
        answer = self._call("get_secret_value", SecretId=self._name, VersionId=version)
        text = answer.get("SecretString")
        return text.encode() if isinstance(text, str) else bytes(answer.get("SecretBinary", b""))

    def create(self, version: str, value: bytes, tags: Mapping[str, str]) -> bool:
        """A secret with its first version and its tags, at once."""
        try:
            self._call(
                "create_secret",
                Name=self._name,
                ClientRequestToken=version,
                Description=_DESCRIPTION,
                Tags=tag_list(tags),
                **_content(value),
                **self._key,
            )
        except AwsFault as fault:
            if fault.code in {"ResourceExistsException", "InvalidRequestException"}:
                return False
            raise
        return True

    def put(self, version: str, value: bytes) -> list[str]:
        """A version that is not current (but the first, which always is); its labels."""
        answer = self._call(
            "put_secret_value",
            SecretId=self._name,
            ClientRequestToken=version,
            VersionStages=[_NEXT],
            **_content(value),
        )
        return list(answer.get("VersionStages", ()))

    def move(self, version: str, before: str | None) -> bool:
        """Let a version be current, if `before` still is."""
        seen = {"RemoveFromVersionId": before} if before else {}
        try:
            self._call(
                "update_secret_version_stage",
                SecretId=self._name,
                VersionStage=CURRENT,
                MoveToVersionId=version,
                **seen,
            )
        except AwsFault as fault:
            if fault.code in _PASSING:
                return False  # somebody else was faster, or our own answer was lost
            raise
        return True

    def ask_to_write(self, version: str) -> None:
        """Ask for the rights to put and to move without doing either: an existing version cannot have other content,
        and a label that is not there cannot be removed.
        """
        try:
            self.put(version, b"ci-acme asks whether it may write")
        except AwsFault as fault:
            if fault.code != "ResourceExistsException":
                raise
        try:
            self._call(
                "update_secret_version_stage",
                SecretId=self._name,
                VersionStage="ci-acme-asks",
                RemoveFromVersionId=version,
            )
        except AwsFault as fault:
            if fault.code not in _PASSING:
                raise

    def restore(self) -> None:
        """Revive what is scheduled for deletion; what is being deleted for good cannot be, and is passed over."""
        try:
            self._call("restore_secret", SecretId=self._name)
        except AwsFault as fault:
            if fault.code not in _PASSING:
                raise

    def delete(self, recovery_days: int | None) -> bool:
        """Schedule the deletion; for good, and soon, without recovery."""
        how: dict[str, Any] = {"RecoveryWindowInDays": recovery_days}
        if recovery_days is None:
            how = {"ForceDeleteWithoutRecovery": True}
        try:
            self._call("delete_secret", SecretId=self._name, **how)
        except AwsFault as fault:
            if fault.code in {"InvalidRequestException", "ResourceNotFoundException"}:
                return False
            raise
        return True

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add tags, or change them."""
        self._call("tag_resource", SecretId=self._name, Tags=tag_list(tags))

    def untag(self, keys: list[str]) -> None:
        """Remove tags, if there are any to remove."""
        if keys:
            self._call("untag_resource", SecretId=self._name, TagKeys=keys)


def _content(value: bytes) -> dict[str, Any]:
    """Text where it is text; only PKCS#12 alone is binary."""
    try:
        return {"SecretString": value.decode("ascii")}
    except UnicodeDecodeError:
        return {"SecretBinary": value}
