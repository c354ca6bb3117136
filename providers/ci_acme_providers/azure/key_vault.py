"""`azure-key-vault`: a certificate of Key Vault, imported as a new version each time.

The certificate is public there: whoever may read certificates sees the leaf and the tags, in which the metadata are,
and no key. Key and chain come back as the secret of the same name, to whoever may read that.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final

from ci_acme import shapes
from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
from ci_acme.model.secret import Secret
from ci_acme.model.tags import from_tags
from ci_acme.ports import Deadline, Present, ProviderContext, StoreCapabilities, StoreState, Unusable
from ci_acme.storing import Refused, another_certificate
from ci_acme_providers.azure import faults
from ci_acme_providers.azure.config import KeyVaultSettings
from ci_acme_providers.azure.patience import Options
from ci_acme_providers.azure.vault import FORM, VaultStore, digest

_TYPES: Final[Mapping[str, str]] = {"pkcs12": "application/x-pkcs12", "pem": "application/x-pem-file"}
_CURVES: Final[Mapping[str, str]] = {"ec-p256": "P-256", "ec-p384": "P-384"}
_RSA: Final = re.compile(r"rsa-(\d+)\Z")
_COMBINED: Final = shapes.Shape({"pem": "combined"})
_LOOKS: Final = (0.0, 0.3, 1.0)
"""Seconds before each look at what was written."""


class KeyVault(VaultStore):
    """A `ports.CertificateStore`."""

    PROVIDER = "azure-key-vault"
    KIND = "certificate"

    def __init__(self, settings: KeyVaultSettings, context: ProviderContext) -> None:
        super().__init__(settings, context)
        self._settings = settings

    @property
    def capabilities(self) -> StoreCapabilities:
        """The key comes back if it is exportable."""
        return StoreCapabilities(holds_pending=False, returns_key=self._settings.exportable)

    # --- reading

    def read(self, *, deadline: Deadline) -> StoreState:
        """The leaf and the metadata; the chain is known only to who may read the key, so that it is empty here."""
        with self.errors(StoreReadError, "read", deadline):
            found = self.look(self.get_current, deadline)
            if found is None:
                return self.absent(deadline)
            if not found.cer:
                return Unusable("it holds no certificate yet: an operation of the vault is pending")
            if found.properties.enabled is False:
                return Unusable("the certificate is disabled in the vault")
            return Present(_pem(found), b"", _metadata(found), found.properties.version, self._lacks(found))

    def _lacks(self, found: Any) -> str | None:
        policy = found.policy
        if policy is None or policy.content_type in (None, _TYPES[self._settings.format]):
            return None
        return f"format {self._settings.format} missing"

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        """Key and chain, out of the secret of the same name; None if we may not read that, or it holds no key."""
        with self.errors(StoreReadError, "read", deadline):
            try:
                found = self.look(lambda o: self._secrets.get_secret(self._name, **o), deadline)
            except Exception as error:
                if faults.read(error).kind is faults.Kind.DENIED:
                    return None
                raise
        if found is None or not found.value:
            return None
        try:
            return _open(found.value, found.properties.content_type)
        except ValueError:
            return None

    # --- writing

    def probe(self, *, deadline: Deadline) -> None:
        """Ask to import what is no certificate, and to change a version that is not there: rights are judged first."""
        nobody = secrets.token_hex(16)
        with self.errors(StoreNotWritable, "write", deadline):
            pending = self.look(lambda o: self.api.get_certificate_operation(self._name, **o), deadline)
            if pending is not None and pending.status == "inProgress":
                raise Refused("an operation of the vault is inProgress", fix=self.end_operation())
            self._refused_for_content(
                lambda o: self.api.import_certificate(self._name, b"ci-acme: no certificate", **o), deadline
            )
            self.look(lambda o: self.change(nobody, {}, o), deadline)

    def _refused_for_content(self, call: Callable[[Options], object], deadline: Deadline) -> None:
        try:
            self.ask(call, deadline)
        except Exception as error:
            fault = faults.read(error)
            content = fault.kind is faults.Kind.REFUSED and fault.status == 400
            if not content and fault.kind is not faults.Kind.CONFLICT:
                raise

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """Import it as a new version; what is there already is not imported again."""
        form = digest(bundle.chain)
        with self.errors(DeliveryError, "write", deadline):
            old = self.look(self.get_current, deadline)
            tags = self.tags_for(metadata, form, old.properties.tags if old is not None else None)
            if old is not None and self._holds(old, metadata, form) and not self._lacks(old):
                return self.retag(old.properties, tags, deadline)
            made = self.write(
                lambda o: self._import(bundle, metadata, tags, o),
                lambda: self._landed(metadata, form, deadline),
                deadline,
            )
            return self._read_back(made, metadata, deadline)

    def _import(self, bundle: Bundle, metadata: Metadata, tags: Mapping[str, str], options: Options) -> Any:
        data, password = self._content(bundle)
        return self.api.import_certificate(
            self._name,
            data,
            enabled=True,
            tags=dict(tags),
            password=password,
            policy=self._policy(metadata.key),
            preserve_order=True,
            **options,
        )

    def _content(self, bundle: Bundle) -> tuple[bytes, str | None]:
        """What is imported, and its password. Key Vault reads PKCS#12 with Triple DES only (and PEM with PKCS#8)."""
        if self._settings.format == "pem":
            return bundle.key.reveal() + bundle.fullchain, None
        from ci_acme import pkcs12  # cryptography

        password = secrets.token_urlsafe(24)
        try:
            return pkcs12.make_dated(bundle, self.context.certificate, Secret(password.encode())), password
        except ValueError:
            raise Refused(
                "key and chain make no PKCS#12 file", fix="issue it with a key of type EC or RSA"
            ) from None  # its text and its frames are about the key

    def _policy(self, key: str) -> Any:
        """Without the type and curve of the key, Key Vault takes every key for RSA."""
        from azure.keyvault.certificates import CertificatePolicy

        curve, rsa = _CURVES.get(key), _RSA.match(key)
        return CertificatePolicy(
            issuer_name="Unknown",
            exportable=self._settings.exportable,
            key_type="EC" if curve else "RSA" if rsa else None,
            key_curve_name=curve,
            key_size=int(rsa[1]) if rsa else None,
            reuse_key=False,
            content_type=_TYPES[self._settings.format],
        )

    def _holds(self, found: Any, metadata: Metadata, form: str) -> bool:
        """Whether this certificate with this chain is what is served."""
        served = found.cer and found.properties.enabled is not False
        tags = found.properties.tags or {}
        return bool(served) and _sha256(found) == metadata.sha256 and tags.get(FORM) == form

    def _landed(self, metadata: Metadata, form: str, deadline: Deadline) -> Any:
        found = self.look(self.get_current, deadline)
        return found if found is not None and self._holds(found, metadata, form) else None

    def _read_back(self, made: Any, metadata: Metadata, deadline: Deadline) -> str | None:
        """The version, once it is what the vault serves. Raises `Refused` if that is another."""
        for pause in _LOOKS:
            deadline.clock.sleep(min(pause, deadline.remaining()))
            found = self.look(self.get_current, deadline)
            if found is not None and found.cer and _sha256(found) == metadata.sha256:
                version: str | None = found.properties.version
                return version
        raise Refused(
            f"it holds another certificate than the version {made.properties.version} that was imported: somebody else "
            "imports there, too",
            fix="run again, and let one certificate of one config write there",
        )

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        """Replace the tags of the current version, if it is the certificate that they speak of."""
        with self.errors(DeliveryError, "annotate", deadline):
            found = self.look(self.get_current, deadline)
            if found is None or not found.cer or _sha256(found) != metadata.sha256:
                raise another_certificate()
            old = dict(found.properties.tags or {})
            self.retag(found.properties, self.tags_for(metadata, old.get(FORM, ""), old), deadline)

    # --- the API

    @cached_property
    def _secrets(self) -> Any:
        return self._session.secrets(self._vault)

    def get_current(self, options: Options) -> Any:
        return self.api.get_certificate(self._name, **options)


def _sha256(found: Any) -> str:
    return hashlib.sha256(bytes(found.cer)).hexdigest()


def _pem(found: Any) -> bytes:
    text = base64.encodebytes(bytes(found.cer)).replace(b"\n", b"")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])


def _metadata(found: Any) -> Metadata | None:
    """What the tags say, if it is of this certificate."""
    metadata = from_tags(found.properties.tags or {})
    return metadata if metadata is not None and metadata.sha256 == _sha256(found) else None


def _open(value: str, content_type: str | None) -> Bundle | None:
    """The bundle in the secret of a certificate. Raises `ValueError`."""
    if content_type == _TYPES["pem"]:
        return shapes.load({"pem": value.encode()}, _COMBINED)
    from ci_acme import pkcs12  # cryptography

    try:
        data = base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("is not base64") from None
    return pkcs12.load(data, None)
