"""The `aws-secrets-manager` store: one secret, whose version changes with the staging label AWSCURRENT.

The tags of a new version are there before it is AWSCURRENT, and the label moves from exactly the version that was seen
(`RemoveFromVersionId`): a reader sees one bundle or the other, with its own metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata, format_time
from ci_acme.model.tags import MANAGED
from ci_acme.ports import (
    Absent,
    Deadline,
    Present,
    ProviderContext,
    Retired,
    StoreState,
    Unusable,
)
from ci_acme.storing import OTHER_SHAPE, Content, Refused, another_certificate, not_removed
from ci_acme_providers.aws import store_tags
from ci_acme_providers.aws.secret_order import OrderSecret
from ci_acme_providers.aws.secret_versions import CURRENT, Secret, Versions, current
from ci_acme_providers.aws.store_base import (
    AwsStore,
    most_bytes,
    rounds,
    tag_map,
    token_of,
)
from ci_acme_providers.aws.store_config import ORDER_SUFFIX, SecretsManagerSettings
from ci_acme_providers.aws.store_faults import AwsFault

MOST_BYTES: Final = 65_536
"""Of one secret (API reference, PutSecretValue)."""


class SecretsManagerStore(AwsStore):
    """A `ports.CertificateStore` in one secret. The version is Secrets Manager's VersionId."""

    PROVIDER = "aws-secrets-manager"
    SERVICE = "secretsmanager"
    ORDERS_SETTING = "keep_order"

    def __init__(self, settings: SecretsManagerSettings, context: ProviderContext) -> None:
        super().__init__(settings, context)
        self._settings = settings
        self.content = Content(settings, context, most=MOST_BYTES, where="a secret holds")
        self._secret = Versions(settings.name, settings.kms_key, self._call)
        if settings.keep_order:
            self.orders = OrderSecret(settings.name + ORDER_SUFFIX, settings.kms_key, self._call)

    @property
    def target(self) -> str:
        """The name of the secret."""
        return self._settings.name

    def read(self, *, deadline: Deadline) -> StoreState:
        """What DescribeSecret says: neither the secret's value nor the right to read it is needed."""
        with self.errors(StoreReadError, "read", deadline):
            return self._state(self._secret.describe())

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        """Key and chain of the current version, in whatever shape they were written."""
        with self.errors(StoreReadError, "read", deadline):
            secret = self._secret.describe()
            version = current(secret)
            if secret is None or version is None or "DeletedDate" in secret:
                return None
            found = store_tags.find(tag_map(secret.get("Tags")), version)
            shape = store_tags.shape_named(found.shape if found else None) or self.content.shape
            return self.content.bundle(self._secret.value(version), shape)

    def probe(self, *, deadline: Deadline) -> None:
        """Say whether it fits, and ask for the rights to write without writing."""
        with self.errors(StoreNotWritable, "write", deadline):
            needed = most_bytes(self.context, self.content.shape)
            if needed > MOST_BYTES:
                raise Refused(
                    f"a bundle of up to {needed} bytes does not fit: a secret holds {MOST_BYTES} bytes",
                    fix="use a shape with fewer parts, or a smaller key",
                )
            self.content.password()
            secret = self._secret.describe()
            version = current(secret)
            if secret is None:
                return  # the right to create it shows when it is created, or when the order is kept beside it
            full = store_tags.no_room(tag_map(secret.get("Tags")))
            if full is not None:
                raise Refused(full, fix="remove tags of your own")
            if version is None or "DeletedDate" in secret:
                return
            self._secret.ask_to_write(version)

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """Write a version, read it back, and let it be current; the same content again writes nothing."""
        with self.errors(DeliveryError, "write", deadline):
            value = self.content.value(bundle)
            version = token_of(bundle, self.content.shape, self.content.password())
            tags = store_tags.tags_of(metadata, version, self.content.shape)
            for _ in rounds(deadline, "secretsmanager:UpdateSecretVersionStage"):
                if self._attempt(version, value, tags, bundle):
                    return version
        raise AssertionError("rounds() ends by raising")

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        """Replace the current version's tags, if it still holds the certificate that they speak of."""
        with self.errors(DeliveryError, "annotate", deadline):
            secret = self._secret.describe()
            version, tags = current(secret), tag_map(secret.get("Tags") if secret else None)
            found = store_tags.find(tags, version) if version else None
            if version is None or found is None or found.metadata.sha256 != metadata.sha256:
                raise another_certificate()
            wanted = store_tags.tags_of(metadata, version, store_tags.shape_named(found.shape) or self.content.shape)
            wanted = store_tags.with_blanks(tags, wanted, version)
            self._secret.tag(wanted)
            with self._tidying():
                self._secret.untag(store_tags.done_with(wanted, version, None))

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Schedule the secret for deletion, or delete it at once with `purge`. What is staged goes first."""
        with self.errors(DeliveryError, "remove", deadline):
            self.unstage(deadline=deadline)
            for _ in rounds(deadline, "secretsmanager:DeleteSecret"):
                secret = self._secret.describe()
                going = secret is not None and "DeletedDate" in secret
                if secret is None or (going and not purge) or (current(secret) is None and not going):
                    return Retired.ABSENT
                if MANAGED not in tag_map(secret.get("Tags")) or isinstance(self._state(secret), Unusable):
                    raise not_removed("it holds what ci-acme did not write", what="the secret")
                if self._secret.delete(None if purge else self._settings.recovery_days) or self._is_going():
                    return Retired.REMOVED
        raise AssertionError("rounds() ends by raising")

    def _is_going(self) -> bool:
        """Whether a deletion that was refused is under way: our own answer may have been lost."""
        secret = self._secret.describe()
        return secret is None or "DeletedDate" in secret

    # --- steps

    def _attempt(self, version: str, value: bytes, tags: Mapping[str, str], bundle: Bundle) -> bool:
        """Bring the secret to `version`; False if others, or a deletion, came in between."""
        secret = self._secret.describe()
        if secret is None:
            if self._secret.create(version, value, tags):
                self._require_read_back(version, value, bundle)
                return True
            return False  # a deletion that is not through, or another writer
        if "DeletedDate" in secret:
            self._secret.restore()
            return False
        before = current(secret)
        if before != version:
            self._describe_next(tag_map(secret.get("Tags")), tags, version, before)
            if not self._write(version, value, bundle, before):
                return False
            secret = self._secret.describe()
        return self._tidy(secret, version, tags, before)

    def _describe_next(
        self, there: Mapping[str, str], tags: Mapping[str, str], version: str, before: str | None
    ) -> None:
        """The tags of the version that is to come, beside those of the one that serves."""
        if len({**there, **tags}) > store_tags.LIMIT:
            self._secret.untag(store_tags.others(there, version, before))
        self._secret.tag(store_tags.with_blanks(there, tags, version))

    def _write(self, version: str, value: bytes, bundle: Bundle, before: str | None) -> bool:
        """Put the version beside the current one, read it back, and move the label."""
        try:
            stages = self._secret.put(version, value)
        except AwsFault as fault:
            if fault.code == "InvalidRequestException":
                return False
            if fault.code != "ResourceExistsException":
                raise
            stages = []  # this version is there: of this certificate and key, but with another salt
        self._require_read_back(version, value, bundle)
        return CURRENT in stages or self._secret.move(version, before)

    def _tidy(self, secret: Secret | None, version: str, tags: Mapping[str, str], before: str | None) -> bool:
        """Whether the version is current and described; removes what describes the one before."""
        if secret is None or current(secret) != version or "DeletedDate" in secret:
            return False
        there = tag_map(secret.get("Tags"))
        if any(there.get(key) != value for key, value in tags.items()):
            wanted = store_tags.with_blanks(there, tags, version)
            self._secret.tag(wanted)
            there.update(wanted)
        with self._tidying():
            self._secret.untag(store_tags.done_with(there, version, before if before != version else None))
        return True

    def _require_read_back(self, version: str, value: bytes, bundle: Bundle) -> None:
        """The version holds `value`, or the same bundle with another salt; as far as we may read it."""
        try:
            found = self._secret.value(version)
        except AwsFault as fault:
            if fault.denied:
                return
            raise
        if found != value and self.content.bundle(found) != bundle:
            raise AwsFault("Mismatch", "secretsmanager:GetSecretValue", "what is read back is not what was written")

    def _state(self, secret: Secret | None) -> StoreState:
        if secret is None:
            return Absent()
        until, version = secret.get("DeletedDate"), current(secret)
        if until is not None:
            when = f" until {format_time(until)}" if isinstance(until, datetime) else ""
            return Absent(f"scheduled for deletion, and can be restored{when}")
        if version is None:
            return Absent()  # made without a value, by Terraform say
        found = store_tags.find(tag_map(secret.get("Tags")), version)
        if found is None:
            return Unusable("its current version was not written by ci-acme")
        same = found.shape == store_tags.shape_name(self.content.shape)
        return Present(None, b"", found.metadata, version, None if same else OTHER_SHAPE)
