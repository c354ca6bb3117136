"""`azure-key-vault-secret`: a secret of Key Vault that holds key and certificate in a shape.

The metadata are tags of each version, so that whoever may list the versions of the secret, and not read it, can tell
what is there.
"""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
from ci_acme.model.secret import Secret
from ci_acme.model.tags import from_tags
from ci_acme.ports import Deadline, Present, ProviderContext, StoreState, Unusable
from ci_acme.shapes import BINARY, SHAPES, Shape
from ci_acme.storing import OTHER_SHAPE, Content, Refused, another_certificate
from ci_acme_providers.azure import faults
from ci_acme_providers.azure.config import KeyVaultSecretSettings
from ci_acme_providers.azure.patience import Options
from ci_acme_providers.azure.vault import FORM, VaultStore, digest

MOST_BYTES: Final = 25_000
"""Azure says 25 KB; rather too little than too much."""
_REWRITES: Final = 5
_TIME: Final = "%Y%m%dT%H%M%S.%f"


class KeyVaultSecret(VaultStore):
    """A `ports.CertificateStore`."""

    PROVIDER = "azure-key-vault-secret"
    KIND = "secret"

    def __init__(self, settings: KeyVaultSecretSettings, context: ProviderContext) -> None:
        super().__init__(settings, context)
        self._settings = settings
        self._shape = _shape_name(settings.made)
        self.content = Content(
            settings, context, shape=_as_text(settings.made), most=MOST_BYTES, where="a secret of Key Vault holds"
        )

    # --- reading

    def read(self, *, deadline: Deadline) -> StoreState:
        """What the tags of the newest version say; its value is not read."""
        with self.errors(StoreReadError, "read", deadline):
            found = self.look(self.get_current, deadline)
            if found is None:
                return self.absent(deadline)
        if found.managed:
            return Unusable("the secret belongs to a certificate of the vault: use azure-key-vault, or another name")
        if found.enabled is False:
            return Unusable("the newest version of the secret is disabled")
        metadata = from_tags(found.tags or {})
        if metadata is None:
            return Unusable("the newest version of the secret was not written by ci-acme")
        kept = _form(found)[1]
        lacks = None if kept == self._shape else OTHER_SHAPE
        return Present(None, b"", metadata, found.version, lacks)

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        """Key and chain, also out of a shape of ours by name that the config had before; None if we may not read it."""
        with self.errors(StoreReadError, "read", deadline):
            try:
                found = self.look(lambda o: self.api.get_secret(self._name, **o), deadline)
            except Exception as error:
                if faults.read(error).kind is faults.Kind.DENIED:
                    return None
                raise
            if found is None or not found.value or not self.is_ours_by(found.properties.tags):
                return None
            return self.content.bundle(found.value.encode(), _named(_form(found.properties)[1]))

    # --- writing

    def probe(self, *, deadline: Deadline) -> None:
        """Ask to change a version that is not there: the right to write is judged first."""
        nobody = secrets.token_hex(16)
        with self.errors(StoreNotWritable, "write", deadline):
            self.content.password()
            found = self.look(self.get_current, deadline)
            if found is not None and found.managed:
                raise Refused(
                    "it belongs to a certificate of the vault", fix="use the provider azure-key-vault, or another name"
                )
            self.look(lambda o: self.change(nobody, {}, o), deadline)

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """Set it as a new version; what is there already is not written again."""
        with self.errors(DeliveryError, "write", deadline):
            value = self.content.value(bundle).decode("ascii")
            old = self.look(self.get_current, deadline)
            shape, chain = self._shape, digest(bundle.chain)
            if old is not None and self._holds(old, metadata, shape, chain):
                return self.retag(old, self.tags_for(metadata, old.tags[FORM], old.tags), deadline)
            beside, newest, version = old.tags if old is not None else None, old, ""
            for _ in range(_REWRITES):
                tags = self.tags_for(metadata, f"{self._stamp(newest)} {shape} {chain}", beside)
                version = self._write_once(value, metadata, tags, deadline)
                newest = self.look(self.get_current, deadline)
                if self._is_newest(value, version, newest, deadline):
                    return version
            raise self._beaten(version)

    def _stamp(self, newest: Any) -> str:
        """What no other version has: our time, or what comes right after the newest version's if that is ahead."""
        now = self.context.clock.now().astimezone(timezone.utc)
        if newest is not None:
            with suppress(ValueError, OverflowError):
                theirs = datetime.strptime(_form(newest)[0].partition("-")[0], _TIME).replace(tzinfo=timezone.utc)
                now = max(now, theirs + timedelta(microseconds=1))
        return f"{now.strftime(_TIME)}-{secrets.token_hex(4)}"

    def _write_once(self, value: str, metadata: Metadata, tags: dict[str, str], deadline: Deadline) -> str:
        return self.write(
            lambda o: self._set(value, metadata, tags, o), lambda: self._landed(tags[FORM], deadline), deadline
        )

    def _set(self, value: str, metadata: Metadata, tags: dict[str, str], options: Options) -> str:
        made = self.api.set_secret(
            self._name,
            value,
            enabled=True,
            tags=tags,
            content_type=_content_type(self.content.shape),
            expires_on=metadata.not_after,
            **options,
        )
        version: str = made.properties.version
        return version

    def _holds(self, found: Any, metadata: Metadata, shape: str, chain: str) -> bool:
        """Whether this certificate in this shape is what is served."""
        kept = from_tags(found.tags or {})
        if kept is None or kept.sha256 != metadata.sha256 or found.enabled is False:
            return False
        return _form(found)[1:] == (shape, chain)

    def _landed(self, form: str, deadline: Deadline) -> str | None:
        """The version that our own write made; its form has a stamp that no other has."""
        versions = self.look(lambda o: list(self.api.list_properties_of_secret_versions(self._name, **o)), deadline)
        return next((one.version for one in versions or () if (one.tags or {}).get(FORM) == form), None)

    def _is_newest(self, value: str, version: str, newest: Any, deadline: Deadline) -> bool:
        """Read back what was written. False if it is served and the list says otherwise: versions have whole seconds,
        so that two writers of one second have to settle it by writing again. Raises `Refused` if another version
        is served; without the right to read, the list decides.
        """
        listed = newest is not None and newest.version == version
        try:
            found = self.look(lambda o: self.api.get_secret(self._name, **o), deadline)
        except Exception as error:
            if faults.read(error).kind is not faults.Kind.DENIED:
                raise
            if not listed:
                raise self._beaten(version) from None
            return True
        if found is None or Secret(str(found.value).encode()) != Secret(value.encode()):
            raise self._beaten(version)
        return listed

    @staticmethod
    def _beaten(version: str) -> Refused:
        return Refused(
            f"it holds another version than {version}, which was written: somebody else writes there, too",
            fix="run again, and let one certificate of one config write there",
        )

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        """Replace the tags of the newest version, if it is the certificate that they speak of."""
        with self.errors(DeliveryError, "annotate", deadline):
            found = self.look(self.get_current, deadline)
            kept = from_tags(found.tags or {}) if found is not None else None
            if found is None or kept is None or kept.sha256 != metadata.sha256:
                raise another_certificate()
            self.retag(found, self.tags_for(metadata, found.tags.get(FORM, ""), found.tags), deadline)

    def is_ours(self, found: Any) -> bool:
        """Whether ci-acme wrote it, and not as the secret of a certificate: properties of a version, or a tombstone."""
        properties = getattr(found, "properties", found)
        return self.is_ours_by(properties.tags) and not properties.managed

    # --- the API

    def get_current(self, options: Options) -> Any:
        """The properties of the newest version: the API tells them without the value in a list only, in no order."""
        versions = list(self.api.list_properties_of_secret_versions(self._name, **options))
        if not versions:
            return None
        return max(versions, key=lambda one: (one.created_on.timestamp() if one.created_on else 0.0, _form(one)))


def _as_text(shape: Shape) -> Shape:
    """A secret is text: a single binary file is written as base64."""
    binary = shape.single and bool(set(shape.fields.values()) & BINARY)
    return Shape(shape.fields, base64=True) if binary else shape


def _shape_name(shape: Shape) -> str:
    """What the tag says of a shape: its name, or a digest of fields of the user's own."""
    named = next((name for name, fields in SHAPES.items() if fields == shape.fields), None)
    text = named or digest(json.dumps(dict(shape.fields), sort_keys=True).encode())
    return f"{text}+base64" if shape.base64 else text


def _named(text: str) -> Shape | None:
    """The shape of a name in a tag."""
    name, plus, _ = text.partition("+")
    fields = next((fields for known, fields in SHAPES.items() if known == name), None)
    return None if fields is None else _as_text(Shape(fields, base64=bool(plus)))


def _form(properties: Any) -> tuple[str, str, str]:
    """The stamp, shape and chain of a version."""
    words = (properties.tags or {}).get(FORM, "").split(" ")
    return (words[0], words[1], words[2]) if len(words) == 3 else ("", "", "")


def _content_type(shape: Shape) -> str:
    """What the vault shows, and what some services of Azure go by."""
    parts = set(shape.fields.values())
    if not shape.single:
        return "application/json"
    return "application/x-pkcs12" if parts & BINARY else "application/x-pem-file"
