"""The `aws-secrets-manager` store: one secret, whose version changes with the staging label AWSCURRENT.

The tags of a new version are there before it is AWSCURRENT, and the label moves from exactly the version that was seen
(`RemoveFromVersionId`): a reader sees one bundle or the other, with its own metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata, PendingOrder, format_time
from ci_acme.model.secret import Secret
from ci_acme.ports import (
    Absent,
    Deadline,
    Present,
    ProviderContext,
    Retired,
    StoreCapabilities,
    StoreState,
    Unusable,
)
from ci_acme_providers.aws import store_tags
from ci_acme_providers.aws.secret_order import OrderSecret
from ci_acme_providers.aws.store_base import (
    AwsStore,
    bundle_of,
    most_bytes,
    password_of,
    rounds,
    tag_list,
    tag_map,
    token_of,
    value_of,
)
from ci_acme_providers.aws.store_config import ORDER_SUFFIX, SecretsManagerSettings
from ci_acme_providers.aws.store_faults import AGAIN, AwsFault

MOST_BYTES: Final = 65_536
"""Of one secret (API reference, PutSecretValue)."""

CURRENT: Final = "AWSCURRENT"
_NEXT: Final = "ci-acme-next"
"""A staging label of ours, so that a new version does not become current by being written."""

_DESCRIPTION: Final = "TLS certificate and key, written by ci-acme"


class SecretsManagerStore(AwsStore):
    """A `ports.CertificateStore` in one secret. The version is Secrets Manager's VersionId."""

    PROVIDER = "aws-secrets-manager"
    SERVICE = IAM = "secretsmanager"

    def __init__(self, settings: SecretsManagerSettings, context: ProviderContext) -> None:
        super().__init__(settings, context)
        self._settings = settings
        self._shape = settings.made
        self._order = OrderSecret(settings.name + ORDER_SUFFIX, settings.kms_key, self._call)

    @property
    def target(self) -> str:
        """The name of the secret."""
        return self._settings.name

    @property
    def capabilities(self) -> StoreCapabilities:
        """Keys come back if the shape holds them."""
        return StoreCapabilities(
            holds_pending=self._settings.keep_order, returns_key=self._shape.holds_key, max_bytes=MOST_BYTES
        )

    def read(self, *, deadline: Deadline) -> StoreState:
        """What DescribeSecret says: neither the secret's value nor the right to read it is needed."""
        del deadline
        with self._errors(StoreReadError, "read"):
            return self._state(self._describe())

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        """Key and chain of the current version, in whatever shape they were written."""
        del deadline
        with self._errors(StoreReadError, "read"):
            secret = self._describe()
            version = _current(secret)
            if secret is None or version is None or "DeletedDate" in secret:
                return None
            found = store_tags.find(tag_map(secret.get("Tags")), version)
            shape = store_tags.shape_named(found.shape if found else None) or self._shape
            return bundle_of(self._value(version), shape, self._password())

    def probe(self, *, deadline: Deadline) -> None:
        """Ask for the right to write without writing: a version that exists cannot be given other content."""
        del deadline
        needed = most_bytes(self._context, self._shape)
        if needed > MOST_BYTES:
            raise StoreNotWritable(
                f"a bundle of up to {needed} bytes does not fit {self.target}: a secret holds {MOST_BYTES} bytes",
                fix="use a shape with fewer parts, or a smaller key",
            )
        with self._errors(StoreNotWritable, "write"):
            self._password()
            secret = self._describe()
            version = _current(secret)
            if secret is None:
                return  # the right to create it shows when it is created, or when the order is kept beside it
            full = store_tags.no_room(tag_map(secret.get("Tags")))
            if full is not None:
                raise StoreNotWritable(f"cannot write {self.target}: {full}", fix="remove tags of your own")
            if version is None or "DeletedDate" in secret:
                return
            try:
                self._put(version, b"ci-acme asks whether it may write")
            except AwsFault as fault:
                if fault.code != "ResourceExistsException":
                    raise

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """Write a version, read it back, and let it be current; the same content again writes nothing."""
        with self._errors(DeliveryError, "write", AGAIN):
            password = self._password()
            version = token_of(bundle, self._shape, password)
            value = value_of(bundle, self._shape, self._context.certificate, password)
            if len(value) > MOST_BYTES:
                raise DeliveryError(
                    f"the bundle has {len(value)} bytes, and {self.target} holds {MOST_BYTES}",
                    fix="use a shape with fewer parts" + AGAIN,
                )
            tags = store_tags.tags_of(metadata, version, self._shape)
            for _ in rounds(deadline, "secretsmanager:UpdateSecretVersionStage"):
                if self._attempt(version, value, tags, bundle):
                    return version
        raise AssertionError("rounds() ends by raising")

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        """Replace the current version's tags, if it still holds the certificate that they speak of."""
        del deadline
        with self._errors(DeliveryError, "annotate"):
            secret = self._describe()
            version, tags = _current(secret), tag_map(secret.get("Tags") if secret else None)
            found = store_tags.find(tags, version) if version else None
            if version is None or found is None or found.metadata.sha256 != metadata.sha256:
                raise DeliveryError(f"{self.target} holds another certificate by now", fix="run again")
            wanted = store_tags.tags_of(metadata, version, store_tags.shape_named(found.shape) or self._shape)
            wanted = store_tags.with_blanks(tags, wanted, version)
            self._call("tag_resource", SecretId=self.target, Tags=tag_list(wanted))
            self._untag(store_tags.done_with(wanted, version, None))

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Schedule the secret for deletion, or delete it at once with `purge`. What is staged goes first."""
        with self._errors(DeliveryError, "remove"):
            if self._settings.keep_order:
                self._order.remove()
            for _ in rounds(deadline, "secretsmanager:DeleteSecret"):
                secret = self._describe()
                if secret is None or (_current(secret) is None and "DeletedDate" not in secret):
                    return Retired.ABSENT
                if "DeletedDate" in secret and not purge:
                    return Retired.ABSENT
                if store_tags.MANAGED not in tag_map(secret.get("Tags")) or isinstance(self._state(secret), Unusable):
                    raise DeliveryError(
                        f"{self.target} holds what ci-acme did not write, which is not removed",
                        fix="delete the secret by hand, if nobody needs it",
                    )
                try:
                    self._delete(purge=purge)
                except AwsFault as fault:
                    if fault.code not in {"InvalidRequestException", "ResourceNotFoundException"}:
                        raise
                    if purge or not self._is_going():
                        continue
                return Retired.REMOVED
        raise AssertionError("rounds() ends by raising")

    # --- an order under way

    def stage(self, pending: PendingOrder, *, deadline: Deadline) -> None:
        """Keep an order in a secret of its own: a first version would be AWSCURRENT, whatever its label."""
        with self._errors(DeliveryError, "keep the order of"):
            self._order.keep(pending, deadline)

    def staged(self, *, deadline: Deadline) -> PendingOrder | None:
        """What `stage` kept, as far as it can be read."""
        del deadline
        return self._order.find() if self._settings.keep_order else None

    def unstage(self, *, deadline: Deadline) -> None:
        """Delete the secret of the order, for good."""
        del deadline
        if self._settings.keep_order:
            with self._errors(DeliveryError, "forget the order of"):
                self._order.remove()

    # --- steps

    def _attempt(self, version: str, value: bytes, tags: Mapping[str, str], bundle: Bundle) -> bool:
        """Bring the secret to `version`; False if others, or a deletion, came in between."""
        secret = self._describe()
        if secret is None:
            return self._create(version, value, tags)
        if "DeletedDate" in secret:
            return self._restore()
        current = _current(secret)
        if current != version:
            self._tag(tag_map(secret.get("Tags")), tags, version, current)
            if not self._write(version, value, bundle, current):
                return False
            secret = self._describe()
        return self._tidy(secret, version, tags, current)

    def _create(self, version: str, value: bytes, tags: Mapping[str, str]) -> bool:
        """Value and tags at once. A deletion that is not through, or another writer, is for the next round."""
        key = {"KmsKeyId": self._settings.kms_key} if self._settings.kms_key else {}
        try:
            self._call(
                "create_secret",
                Name=self.target,
                ClientRequestToken=version,
                Description=_DESCRIPTION,
                Tags=tag_list(tags),
                **_content(value, self._shape.single),
                **key,
            )
        except AwsFault as fault:
            if fault.code in {"ResourceExistsException", "InvalidRequestException"}:
                return False
            raise
        self._require_read_back(version, value, None)
        return True

    def _restore(self) -> bool:
        """Revive a secret that is scheduled for deletion; one that is being deleted for good is waited for."""
        try:
            self._call("restore_secret", SecretId=self.target)
        except AwsFault as fault:
            if fault.code not in {"InvalidRequestException", "ResourceNotFoundException"}:
                raise
        return False

    def _write(self, version: str, value: bytes, bundle: Bundle, current: str | None) -> bool:
        """Put the version beside the current one, read it back, and move the label."""
        try:
            stages = self._put(version, value)
        except AwsFault as fault:
            if fault.code == "InvalidRequestException":
                return False
            if fault.code != "ResourceExistsException":
                raise
            stages = []  # this version is there: of this certificate and key, but with another salt
        self._require_read_back(version, value, bundle)
        if CURRENT in stages:
            return True
        move = {"RemoveFromVersionId": current} if current else {}
        try:
            self._call(
                "update_secret_version_stage",
                SecretId=self.target,
                VersionStage=CURRENT,
                MoveToVersionId=version,
                **move,
            )
        except AwsFault as fault:
            if fault.code in {"InvalidParameterException", "InvalidRequestException", "ResourceNotFoundException"}:
                return False  # somebody else was faster, or our own answer was lost: look again
            raise
        return True

    def _tidy(self, secret: Mapping[str, Any] | None, version: str, tags: Mapping[str, str], old: str | None) -> bool:
        """Whether the version is current and described; removes what describes the one before."""
        if secret is None or _current(secret) != version or "DeletedDate" in secret:
            return False
        there = tag_map(secret.get("Tags"))
        if any(there.get(key) != value for key, value in tags.items()):
            wanted = store_tags.with_blanks(there, tags, version)
            self._call("tag_resource", SecretId=self.target, Tags=tag_list(wanted))
            there.update(wanted)
        self._untag(store_tags.done_with(there, version, old if old != version else None))
        return True

    def _tag(self, there: Mapping[str, str], tags: Mapping[str, str], version: str, current: str | None) -> None:
        """Describe the version that is to come."""
        if len({**there, **tags}) > store_tags.LIMIT:
            self._untag(store_tags.others(there, version, current))
        wanted = store_tags.with_blanks(there, tags, version)
        self._call("tag_resource", SecretId=self.target, Tags=tag_list(wanted))

    def _untag(self, keys: list[str]) -> None:
        if keys:
            self._call("untag_resource", SecretId=self.target, TagKeys=keys)

    # --- single calls

    def _describe(self) -> Mapping[str, Any] | None:
        try:
            return self._call("describe_secret", SecretId=self.target)
        except AwsFault as fault:
            if fault.code == "ResourceNotFoundException":
                return None
            raise

    def _put(self, version: str, value: bytes) -> list[str]:
        answer = self._call(
            "put_secret_value",
            SecretId=self.target,
            ClientRequestToken=version,
            VersionStages=[_NEXT],
            **_content(value, self._shape.single),
        )
        return list(answer.get("VersionStages", ()))

    def _value(self, version: str) -> bytes:
        answer = self._call("get_secret_value", SecretId=self.target, VersionId=version)
        text = answer.get("SecretString")
        return text.encode() if isinstance(text, str) else bytes(answer.get("SecretBinary", b""))

    def _require_read_back(self, version: str, value: bytes, bundle: Bundle | None) -> None:
        """The version holds `value`, or the same bundle with another salt; as far as we may read it."""
        try:
            found = self._value(version)
        except AwsFault as fault:
            if fault.denied:
                return
            raise
        if found != value and (bundle is None or bundle_of(found, self._shape, self._password()) != bundle):
            raise AwsFault("Mismatch", "secretsmanager:GetSecretValue", "what is read back is not what was written")

    def _delete(self, *, purge: bool) -> None:
        how: dict[str, Any] = {"RecoveryWindowInDays": self._settings.recovery_days}
        if purge:
            how = {"ForceDeleteWithoutRecovery": True}
        self._call("delete_secret", SecretId=self.target, **how)

    def _is_going(self) -> bool:
        secret = self._describe()
        return secret is None or "DeletedDate" in secret

    def _password(self) -> Secret | None:
        return password_of(self._context, self._settings.pkcs12_password)

    def _state(self, secret: Mapping[str, Any] | None) -> StoreState:
        version = _current(secret)
        if secret is None:
            return Absent()
        until = secret.get("DeletedDate")
        if until is not None:
            when = f" until {format_time(until)}" if isinstance(until, datetime) else ""
            return Absent(f"scheduled for deletion, and can be restored{when}")
        if version is None:
            return Absent()  # made without a value, by Terraform say
        found = store_tags.find(tag_map(secret.get("Tags")), version)
        if found is None:
            return Unusable("its current version was not written by ci-acme")
        wanted = store_tags.shape_name(self._shape)
        lacks = None if found.shape == wanted else f"the shape {self._settings.shape or self._settings.SHAPE}"
        return Present(None, b"", found.metadata, version, lacks)


def _current(secret: Mapping[str, Any] | None) -> str | None:
    versions = (secret or {}).get("VersionIdsToStages") or {}
    return next((version for version, stages in versions.items() if CURRENT in stages), None)


def _content(value: bytes, single: bool) -> dict[str, Any]:  # noqa: FBT001 - a helper of this module
    """Text where it is text; only PKCS#12 alone is binary."""
    try:
        return {"SecretString": value.decode("ascii")}
    except UnicodeDecodeError:
        assert single
        return {"SecretBinary": value}
