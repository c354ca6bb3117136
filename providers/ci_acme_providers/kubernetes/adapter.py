"""The store `kubernetes`: a certificate as one Secret, written on the condition of its `resourceVersion`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ci_acme import shapes
from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
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
from ci_acme_providers.kubernetes.config import PENDING_SUFFIX, KubernetesSettings
from ci_acme_providers.kubernetes.faults import grant
from ci_acme_providers.kubernetes.objects import Conflict, Found, Secrets
from ci_acme_providers.kubernetes.orders import OrderSecret
from ci_acme_providers.kubernetes.session import Cluster

MAX_BYTES: Final = 1 << 20
"""The API server's limit for the data of a Secret."""

_METADATA: Final = "ci-acme/metadata"
_SHAPE: Final = "ci-acme/shape"
_FIELDS: Final = "ci-acme/fields"
_TLS: Final = "kubernetes.io/tls"
_TRIES: Final = 5
_FOREIGN: Final = "it was not made by ci-acme"


class KubernetesStore(RestStore):
    """A `ports.CertificateStore` on a Secret."""

    PROVIDER = "kubernetes"
    ORDERS_SETTING = "pending"

    def __init__(self, settings: KubernetesSettings, context: ProviderContext) -> None:
        super().__init__(context)
        self._settings = settings
        self.content = Content(settings, context, most=MAX_BYTES)
        cluster = Cluster(settings, context)
        self._secrets = Secrets(cluster, settings.namespace or cluster.namespace)
        self._name = settings.name
        if settings.pending:
            self.orders = OrderSecret(self._secrets, settings.name + PENDING_SUFFIX, settings.labels)

    @property
    def target(self) -> str:
        """`namespace/name`."""
        return f"{self._secrets.namespace}/{self._name}"

    # --- reading -------------------------------------------------------------------------------------------------

    def read(self, *, deadline: Deadline) -> StoreState:
        """What is there, without its data as long as the API server says that nobody else has changed them."""
        with self.errors(StoreReadError, "read", deadline):
            found = self._secrets.read(self._name, deadline, whole=False)
            return Absent() if found is None else self._judge(found, deadline)

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        """Key and chain; None if they are not there whole."""
        with self.errors(StoreReadError, "read", deadline):
            found = self._secrets.read(self._name, deadline, whole=True)
            return None if found is None else self._bundle(found)

    def _judge(self, found: Found, deadline: Deadline, *, any_key: bool = False) -> StoreState:
        """With `any_key` whose certificate is there says whose the Secret is, whatever became of its key."""
        if found.deleting is not None:
            return Absent(f"deleted, and kept by the finalizers {', '.join(found.deleting)}")
        metadata = metadata_of(found.annotations.get(_METADATA))
        if metadata is None or found.changed_by(self._fields_of(found)) is not None:
            whole = self._secrets.read(self._name, deadline, whole=True)
            return Absent() if whole is None else self._judge_data(whole, any_key=any_key)
        other = found.annotations.get(_SHAPE) != self.content.shape.fingerprint
        lacks = OTHER_SHAPE if other else None
        return Present(None, b"", metadata, metadata.sha256, lacks)

    def _judge_data(self, found: Found, *, any_key: bool) -> StoreState:
        """What a Secret holds that we did not make, or that somebody has changed since."""
        try:
            fields = {name: found.data[name] for name in self.content.shape.fields}
            public = shapes.public_part(fields, self.content.shape)
            together = any_key or shapes.belongs_together(fields, self.content.shape)
        except KeyError as missing:
            return Unusable(f"the Secret lacks the field {missing.args[0]}")
        except ValueError as error:
            return Unusable(f"the Secret {error}")
        if public is None:
            return Unusable(
                f"{found.changed_by(self.content.shape.fields) or 'somebody'} has changed it since ci-acme wrote it"
            )
        if not together:
            return Unusable("the Secret has a key that is not its certificate's")
        metadata = metadata_of(found.annotations.get(_METADATA))
        if metadata is not None and shapes.fingerprint(public[0]) != metadata.sha256:
            metadata = None
        return Present(*public, metadata, None if metadata is None else metadata.sha256)

    def _bundle(self, found: Found) -> Bundle | None:
        metadata = metadata_of(found.annotations.get(_METADATA))
        try:
            return shapes.load(
                {name: found.data[name] for name in self.content.shape.fields},
                self.content.shape,
                self.content.password(),
            )
        except (KeyError, ValueError):
            return (
                None
                if metadata is None
                else shapes.recover(found.data.values(), metadata.sha256, self.content.password())
            )

    def _fields_of(self, found: Found) -> list[str]:
        """The fields that we wrote, which may be of an earlier shape."""
        names = found.annotations.get(_FIELDS)
        return names.split(",") if names else list(self.content.shape.fields)

    # --- writing -------------------------------------------------------------------------------------------------

    def probe(self, *, deadline: Deadline) -> None:
        """Ask for our rights, and let the API server rehearse the change: admission, quota, type."""
        with self.errors(StoreNotWritable, "write", deadline):
            self.content.password()
            verbs = [(verb, self._name) for verb in ("get", "create", "update", "patch")]
            if self.orders is not None:
                verbs += [(verb, self._name + PENDING_SUFFIX) for verb in ("get", "update", "delete")]
            denied = self._secrets.denied(verbs, deadline)
            if denied:
                words = ", ".join(f"{verb} {name}" for verb, name in denied)
                namespace = self._secrets.namespace
                fix = "; ".join(grant(verb, namespace, name) for verb, name in denied)
                raise Refused(f"the credentials may not {words} in the namespace {namespace}", fix=fix)
            found = self._secrets.read(self._name, deadline, whole=True)
            if found is None:
                data = dict.fromkeys(self.content.shape.fields, b"")
                self._secrets.create(self._document(data, {}), deadline, dry=True)
            else:
                self._require_ours(found)
                try:
                    self._secrets.replace({**found.document}, deadline, dry=True)
                except Conflict:
                    return  # it is being written, so that it can be

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """Create or replace the Secret as one, and read it back. Fields and labels of others stay."""
        with self.errors(DeliveryError, "write", deadline):
            fields = self.content.fields(bundle)
            self.content.require_size(sum(len(name) + len(data) for name, data in fields.items()))
            first = found = self._secrets.read(self._name, deadline, whole=True)
            for _ in range(_TRIES):
                if found is not None and self._is(found, bundle, metadata):
                    return metadata.sha256
                if _certificate(found) not in {_certificate(first), metadata.sha256}:
                    break
                written = self._write(found, fields, metadata, deadline)
                found = self._secrets.read(self._name, deadline, whole=True)
                if written is not None and found is not None and written.resource_version == found.resource_version:
                    self._require_same(found, bundle, metadata)
            raise Refused(
                "another run has changed it meanwhile", fix="wait until the other run has ended, which was faster"
            )

    def _write(
        self, found: Found | None, fields: Mapping[str, bytes], metadata: Metadata, deadline: Deadline
    ) -> Found | None:
        """Create or replace it, once; None if somebody else has changed it meanwhile."""
        notes = self._notes(metadata)
        try:
            if found is None:
                return self._secrets.create(self._document(fields, notes), deadline)
            self._require_ours(found)
            kept = {name: data for name, data in found.data.items() if name not in self._old_fields(found)}
            document = self._document({**kept, **fields}, {**found.annotations, **notes}, found.labels)
            document["metadata"] = {**found.document["metadata"], **document["metadata"]}
            return self._secrets.replace(document, deadline)
        except Conflict:
            return None

    def _require_same(self, found: Found, bundle: Bundle, metadata: Metadata) -> None:
        if not self._is(found, bundle, metadata):
            raise not_read_back("see which admission webhook changes Secrets")

    def _old_fields(self, found: Found) -> list[str]:
        return self._fields_of(found) if _METADATA in found.annotations else []

    def _notes(self, metadata: Metadata) -> dict[str, str]:
        return {
            _METADATA: json.dumps(metadata.to_json(), separators=(",", ":"), sort_keys=True),
            _SHAPE: self.content.shape.fingerprint,
            _FIELDS: ",".join(self.content.shape.fields),
        }

    @property
    def _type(self) -> str:
        return _TLS if {"tls.crt", "tls.key"} <= set(self.content.shape.fields) else "Opaque"

    def _document(
        self, data: Mapping[str, bytes], annotations: Mapping[str, str], labels: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        labels = {**(labels or {}), **self._settings.labels}
        return self._secrets.document(self._name, self._type, data, labels, annotations)

    def _require_ours(self, found: Found) -> None:
        """Raises `Refused` for what must not, or cannot, be written over."""
        namespace, name = self._secrets.namespace, self._name
        if found.deleting is not None:
            raise Refused("it is being deleted", fix=f"remove its finalizers, or wait: {', '.join(found.deleting)}")
        if found.immutable:
            raise Refused("it is immutable", fix=f"kubectl -n {namespace} delete secret {name}, or choose another name")
        if _METADATA not in found.annotations and not self._settings.adopt:
            raise Refused(_FOREIGN, fix="set adopt: true in the store, or choose another name")
        if found.type != self._type:
            raise Refused(
                f"it is of type {found.type}, which cannot be changed to {self._type}",
                fix=f"kubectl -n {namespace} delete secret {name}, or choose another name or shape",
            )

    def _is(self, found: Found, bundle: Bundle, metadata: Metadata) -> bool:
        """Whether the Secret is what we would write."""
        if found.deleting is not None or any(found.annotations.get(k) != v for k, v in self._notes(metadata).items()):
            return False
        fields = {name: data for name, data in found.data.items() if name in self.content.shape.fields}
        return shapes.same(fields, bundle, self.content.shape, self.content.password())

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        """Replace the annotation, if the certificate that it speaks of is still there."""
        with self.errors(DeliveryError, "annotate", deadline):
            for _ in range(_TRIES):
                found = self._secrets.read(self._name, deadline, whole=False)
                if found is None or _certificate(found) != metadata.sha256:
                    break
                try:
                    note = {_METADATA: self._notes(metadata)[_METADATA]}
                    self._secrets.annotate(self._name, found, note, deadline)
                except Conflict:
                    continue
                return
            raise another_certificate()

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Delete the Secret, on the condition that nobody changes it meanwhile, and what is staged."""
        del purge  # nothing is kept for recovery
        with self.errors(DeliveryError, "remove", deadline):
            self.unstage(deadline=deadline)
            for _ in range(_TRIES):
                found = self._secrets.read(self._name, deadline, whole=False)
                if found is None or found.deleting is not None:
                    return Retired.ABSENT
                state = self._judge(found, deadline, any_key=True)
                if not isinstance(state, Present) or state.metadata is None:
                    raise not_removed("it is not of ci-acme")
                try:
                    self._secrets.delete(self._name, found, deadline)
                except Conflict:
                    continue
                return Retired.REMOVED
            raise Refused("it is being changed all the time", fix="end the other runs, and run again")


def _certificate(found: Found | None) -> str | None:
    """The SHA-256 of the certificate that the metadata speak of."""
    metadata = None if found is None else metadata_of(found.annotations.get(_METADATA))
    return None if metadata is None else metadata.sha256
