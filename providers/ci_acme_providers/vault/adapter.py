"""The store `vault`: a certificate as one version of a secret of a KV engine.

Each version says in a field of its own what it holds, so that version and metadata are never apart. A copy of the
metadata beside the secret (`custom_metadata`), bound to the version's number, is what can be read without the key.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ci_acme import shapes
from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
from ci_acme.model.tags import from_tags, to_tags
from ci_acme.ports import (
    Absent,
    Deadline,
    Present,
    ProviderContext,
    Retired,
    StoreState,
    Unusable,
)
from ci_acme.rest_store import RestStore
from ci_acme.storing import OTHER_SHAPE, Content, Refused, another_certificate, metadata_of, not_read_back, not_removed
from ci_acme_providers.vault.config import OWN_FIELD, VaultSettings
from ci_acme_providers.vault.faults import rule
from ci_acme_providers.vault.kv import CasMismatch, Key, Kv, NotReadable, Version, capabilities, dump, go_seconds
from ci_acme_providers.vault.orders import OrderKey
from ci_acme_providers.vault.session import Vault

MAX_BYTES: Final = 1_000_000
"""Vault's integrated storage takes 1 MiB an entry, encrypted."""

_MANAGED: Final = "ci-acme"
_VERSION: Final = "ci-acme-version"
_SHAPE: Final = "ci-acme-shape"
_TAG_LENGTH: Final = 512
_TAGS: Final = 64
_IN_BETWEEN: Final = timedelta(seconds=60)
"""How long a writer is given between a version and the copy of its metadata."""


class VaultStore(RestStore):
    """A `ports.CertificateStore` on a KV engine, version 2, of HashiCorp Vault or OpenBao."""

    PROVIDER = "vault"
    ORDERS_SETTING = "pending"

    def __init__(self, settings: VaultSettings, context: ProviderContext) -> None:
        super().__init__(context)
        self._settings = settings
        self.content = Content(settings, context, most=MAX_BYTES)
        self._vault = Vault(settings, context)
        self._secret = Kv(self._vault, settings.path)
        beside = OrderKey(Kv(self._vault, f"{settings.path}-ci-acme-pending"))
        self._order_key = beside if settings.pending else None
        self.orders = self._order_key

    @property
    def target(self) -> str:
        """`secret/web/tls`."""
        return self._settings.path

    # --- reading -------------------------------------------------------------------------------------------------

    def read(self, *, deadline: Deadline) -> StoreState:
        """What is there, by the metadata alone as long as they are of the current version."""
        with self.errors(StoreReadError, "read", deadline):
            return self._judge(self._secret.look(deadline), deadline)

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        """Key and chain of the current version; None if they are not there whole, or may not be read."""
        with self.errors(StoreReadError, "read", deadline):
            try:
                version = self._secret.read(deadline)
            except NotReadable:
                return None
            return None if version is None else self._bundle(version)

    def _judge(self, key: Key | None, deadline: Deadline, *, any_key: bool = False) -> StoreState:
        """With `any_key` whose certificate is there says whose the version is, whatever became of its key."""
        if key is None or key.gone is not None:
            return Absent(key.gone if key is not None and key.recoverable else None)
        metadata = _bound(key)
        if metadata is not None:
            other = key.custom.get(_SHAPE) != self.content.shape.fingerprint
            lacks = OTHER_SHAPE if other else None
            return Present(None, b"", metadata, str(key.current), lacks)
        try:
            version = self._secret.read(deadline)
        except NotReadable:
            return Unusable(f"version {key.current} has no metadata of ci-acme, and may not be read")
        if version is None:
            return Absent()
        return self._judge_fields(version, key, deadline, any_key=any_key)

    def _judge_fields(self, version: Version, key: Key, deadline: Deadline, *, any_key: bool) -> StoreState:
        """A version without a copy of its metadata: it is being written, its writer was killed, or it is not ours."""
        own = metadata_of(version.fields.get(OWN_FIELD))
        try:
            fields = shapes.of_texts(version.fields, self.content.shape)
            public = shapes.public_part(fields, self.content.shape)
            together = any_key or shapes.belongs_together(fields, self.content.shape)
        except ValueError as error:
            fields, public, together = None, None, True
            if own is None:
                return Unusable(f"version {version.number} {error}")
        if not together:
            return Unusable(f"version {version.number} has a key that is not its certificate's")
        certificate, chain = public or (None, b"")
        if certificate is not None and own is not None and shapes.fingerprint(certificate) != own.sha256:
            own = None  # somebody has written another certificate over it, field by field
        if certificate is None and own is None:
            return Unusable(f"version {version.number} has no metadata of ci-acme, and no certificate in the clear")
        lacks = None
        if own is not None:
            old = key.created is not None and deadline.clock.now() - key.created > _IN_BETWEEN
            lacks = "the metadata beside the secret" if old and key.current == version.number else None
            lacks = lacks if fields is not None else OTHER_SHAPE
        return Present(certificate, chain, own, str(version.number), lacks)

    def _bundle(self, version: Version) -> Bundle | None:
        own = metadata_of(version.fields.get(OWN_FIELD))
        try:
            return shapes.load(
                shapes.of_texts(version.fields, self.content.shape), self.content.shape, self.content.password()
            )
        except ValueError:
            texts = [text.encode() for text in version.fields.values() if isinstance(text, str)]
            return None if own is None else shapes.recover(texts, own.sha256, self.content.password())

    # --- writing -------------------------------------------------------------------------------------------------

    def probe(self, *, deadline: Deadline) -> None:
        """Ask Vault what the token may do at each path that is written."""
        with self.errors(StoreNotWritable, "write", deadline):
            self.content.password()
            self._secret.look(deadline)
            wanted = self._needs(deadline)
            allowed = capabilities(self._vault, list(wanted), deadline)
            if allowed is None:
                return
            missing = {path: needs - allowed[path] for path, needs in wanted.items() if "root" not in allowed[path]}
            lines = [rule(path, *sorted(wanted[path])) for path, lacking in missing.items() if lacking]
            if lines:
                words = "; ".join(
                    f"{', '.join(sorted(lacking))} at {path}" for path, lacking in missing.items() if lacking
                )
                raise Refused(f"the token has not the capabilities {words}", fix=f"grant its policy: {' '.join(lines)}")

    def _needs(self, deadline: Deadline) -> dict[str, set[str]]:
        data = {"create", "update", "read"}
        describing = {"read", "update"} | ({"create"} if self._settings.delete_version_after is not None else set())
        wanted = {self._secret.at("data", deadline): data, self._secret.at("metadata", deadline): describing}
        if self._order_key is not None:
            wanted[self._order_key.key.at("data", deadline)] = data
            wanted[self._order_key.key.at("metadata", deadline)] = {"read", "delete"}
        return wanted

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """Write one version with all fields, check-and-set, read it back, and put its metadata beside it."""
        with self.errors(DeliveryError, "write", deadline):
            fields = shapes.as_texts(self.content.fields(bundle), self.content.shape)
            fields[OWN_FIELD] = dump(metadata.to_json())
            self.content.require_size(sum(len(name) + len(text) for name, text in fields.items()))
            key = self._secret.look(deadline)
            if key is not None and key.gone is None and self._holds(bundle, metadata, key, deadline):
                number = key.current
            else:
                number = self._write(fields, bundle, key, deadline)
            self._require(bundle, number, deadline)
            self._describe(metadata, number, deadline)
            return str(number)

    def _holds(self, bundle: Bundle, metadata: Metadata, key: Key, deadline: Deadline) -> bool:
        bound = _bound(key)
        if bound is not None and bound.sha256 != metadata.sha256:
            return False
        try:
            version = self._secret.read(deadline)
        except NotReadable:
            return False
        return version is not None and self._is(version, bundle)

    def _is(self, version: Version, bundle: Bundle) -> bool:
        if metadata_of(version.fields.get(OWN_FIELD)) is None:
            return False
        try:
            return shapes.same(
                shapes.of_texts(version.fields, self.content.shape), bundle, self.content.shape, self.content.password()
            )
        except ValueError:
            return False

    def _write(self, fields: dict[str, str], bundle: Bundle, key: Key | None, deadline: Deadline) -> int:
        after = self._settings.delete_version_after
        if after is not None and (key is None or go_seconds(key.delete_version_after) != go_seconds(after)):
            self._secret.let_expire(after, deadline)
        try:
            return self._secret.write(fields, after=key.current if key else 0, deadline=deadline)
        except CasMismatch:
            try:
                version = self._secret.read(deadline)
            except NotReadable:
                version = None
            if version is not None and self._is(version, bundle):
                return version.number  # the answer to our own write was lost
            raise Refused(
                "another version was written meanwhile", fix="wait until the other run has ended, which was faster"
            ) from None

    def _require(self, bundle: Bundle, number: int, deadline: Deadline) -> None:
        """Read back what was written, as far as the token may."""
        try:
            version = self._secret.read(deadline)
        except NotReadable:
            return
        if version is not None and version.number > number:
            raise Refused(f"version {version.number} was written over ours", fix="wait until the other run has ended")
        if version is None or not self._is(version, bundle):
            raise not_read_back("see the audit log of Vault")

    def _describe(self, metadata: Metadata, number: int, deadline: Deadline) -> None:
        key = self._secret.look(deadline)
        if key is None or key.current != number:
            return  # written over: the newer version has a writer of its own
        wanted = self._tags(metadata, key, number)
        if any(key.custom.get(name) != text for name, text in wanted.items()):
            self._secret.describe(wanted, key, deadline)

    def _tags(self, metadata: Metadata, key: Key, number: int) -> dict[str, str]:
        others = sum(not name.startswith("ci-acme") for name in key.custom)
        try:
            tags = to_tags(metadata, length=_TAG_LENGTH, most=_TAGS - 2 - others)
        except ValueError as error:
            raise Refused(str(error), fix="remove custom metadata of your own from the secret") from None
        return {**tags, _VERSION: str(number), _SHAPE: self.content.shape.fingerprint}

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        """Replace the copy beside the secret, if the version that it speaks of is still the current one."""
        with self.errors(DeliveryError, "annotate", deadline):
            key = self._secret.look(deadline)
            state = self._judge(key, deadline)
            current = state.metadata if isinstance(state, Present) else None
            if key is None or current is None or current.sha256 != metadata.sha256:
                raise another_certificate()
            self._secret.describe(self._tags(metadata, key, key.current), key, deadline)

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Delete the current version; older ones are no longer current, and stay. `purge` removes them all."""
        with self.errors(DeliveryError, "remove", deadline):
            self.unstage(deadline=deadline)
            key = self._secret.look(deadline)
            state = self._judge(key, deadline, any_key=True)
            if key is None or (isinstance(state, Absent) and not (purge and _MANAGED in key.custom)):
                return Retired.ABSENT
            if isinstance(state, Unusable) or (isinstance(state, Present) and state.metadata is None):
                raise not_removed(f"version {key.current} is not of ci-acme")
            if purge:
                self._secret.destroy(deadline)
                return Retired.REMOVED
            self._secret.delete(key.current, deadline)
            after = self._secret.look(deadline)
            if after is not None and after.gone is None:
                raise Refused(f"version {after.current} was written meanwhile", fix="end the other run, and run again")
        return Retired.REMOVED


def _bound(key: Key) -> Metadata | None:
    """The metadata beside the secret, if they are of the current version."""
    return from_tags(key.custom) if key.custom.get(_VERSION) == str(key.current) else None
