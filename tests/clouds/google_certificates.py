"""Certificate Manager on loopback: long-running operations, one at a time for a certificate, keys that stay inside."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from tests.clouds.api import Call
from tests.clouds.google import Document, GoogleApi, Iam, new_error

_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_KIND = "type.googleapis.com/google.cloud.certificatemanager.v1"


class GoogleCertificates(GoogleApi):
    """Certificates by `projects/P/locations/L/certificates/C`.

    Attributes:
        seconds: how long an operation takes; it has its effect at its end, whether anybody looks or not.
    """

    documents: ClassVar[Sequence[str]] = ("certificatemanager.v1",)

    def __init__(self, iam: Iam | None = None) -> None:
        super().__init__(iam)
        self.certificates: dict[str, Document] = {}
        self.keys: dict[str, str] = {}
        self.operations: dict[str, Document] = {}
        self.seconds = 0.02

    def projects_locations_certificates_get(self, call: Call, *parts: str) -> Document:
        del call
        name = _name(parts)
        self.require("certificatemanager.certs.get", name)
        return self._existing(name)

    def projects_locations_certificates_create(self, call: Call, project: str, location: str) -> Document:
        self.require("certificatemanager.certs.create", f"projects/{project}")
        identifier = call.one("certificateId") or ""
        name = _name((project, location, identifier))
        if not _ID.fullmatch(identifier):
            raise new_error(400, "INVALID_ARGUMENT", "certificate_id is invalid")
        if name in self.certificates:
            raise new_error(409, "ALREADY_EXISTS", f"Resource '{name}' already exists")
        body = dict(call.json)
        made = {"name": name, "createTime": _now(), **self._checked(body)}
        if body.get("scope", "DEFAULT") != "DEFAULT":
            made["scope"] = body["scope"]
        if "description" in body:
            made["description"] = body["description"]
        return self._begin(name, "create", lambda: self._commit(name, made, body))

    def projects_locations_certificates_patch(self, call: Call, *parts: str) -> Document:
        name = _name(parts)
        self.require("certificatemanager.certs.update", name)
        before = self._existing(name)
        mask = set((call.one("updateMask") or "").split(","))
        if not mask or mask - {"selfManaged", "labels", "description"}:
            raise new_error(400, "INVALID_ARGUMENT", f"update_mask: {mask} cannot be changed")
        body = {key: value for key, value in call.json.items() if key in mask}
        if "selfManaged" in mask and "managed" in before:
            raise new_error(400, "INVALID_ARGUMENT", "a managed certificate cannot become a self-managed one")
        changed = self._checked(body)
        return self._begin(name, "update", lambda: self._commit(name, changed, body))

    def projects_locations_certificates_delete(self, call: Call, *parts: str) -> Document:
        del call
        name = _name(parts)
        self.require("certificatemanager.certs.delete", name)
        if self._existing(name).get("usedBy"):
            raise new_error(400, "FAILED_PRECONDITION", f"can't delete certificate that is referenced: {name}")

        def remove() -> Document:
            del self.certificates[name]
            self.keys.pop(name, None)
            return {"@type": "type.googleapis.com/google.protobuf.Empty"}

        return self._begin(name, "delete", remove)

    def projects_locations_operations_get(self, call: Call, project: str, location: str, operation: str) -> Document:
        del call
        name = f"projects/{project}/locations/{location}/operations/{operation}"
        self.require("certificatemanager.operations.get", f"projects/{project}")
        found = self.operations.get(name)
        if found is None:
            raise new_error(404, "NOT_FOUND", f"Resource '{name}' was not found")
        return dict(found["shown"])

    # --- operations

    def dispatch(self, call: Call, name: str, parts: tuple[str, ...]) -> Document:
        """What is due ends first."""
        for operation in self.operations.values():
            if not operation["shown"]["done"] and time.monotonic() >= operation["ends"]:
                operation["shown"] |= {"done": True, "response": operation["act"]()}
        return super().dispatch(call, name, parts)

    def _begin(self, target: str, verb: str, act: Callable[[], Document]) -> Document:
        """One operation at a time on a certificate."""
        if any(item["target"] == target and not item["shown"]["done"] for item in self.operations.values()):
            raise new_error(409, "ABORTED", "unable to queue the operation")
        name = f"{target.partition('/certificates/')[0]}/operations/operation-{len(self.operations)}"
        metadata = {"@type": f"{_KIND}.OperationMetadata", "target": target, "verb": verb, "createTime": _now()}
        shown: Document = {"name": name, "metadata": metadata, "done": False}
        ends = time.monotonic() + self.seconds
        self.operations[name] = {"target": target, "shown": shown, "act": act, "ends": ends}
        return dict(shown)

    def _commit(self, name: str, fields: Document, body: Document) -> Document:
        self.certificates[name] = {**self.certificates.get(name, {}), **fields, "updateTime": _now()}
        if "selfManaged" in body:
            self.keys[name] = body["selfManaged"]["pemPrivateKey"]
        return {"@type": f"{_KIND}.Certificate", **self.certificates[name]}

    # --- checks

    def _existing(self, name: str) -> Document:
        if name not in self.certificates:
            raise new_error(404, "NOT_FOUND", f"Resource '{name}' was not found")
        return dict(self.certificates[name])

    def _checked(self, body: Document) -> Document:
        """The fields as they are shown: the key goes in and never comes out."""
        shown: Document = {}
        if "labels" in body:
            labels = body["labels"]
            good = all(_LABEL.fullmatch(key) and re.fullmatch(r"[a-z0-9_-]{0,63}", labels[key]) for key in labels)
            if len(labels) > 64 or not good:
                raise new_error(400, "INVALID_ARGUMENT", "labels are invalid")
            shown["labels"] = labels
        if "selfManaged" in body:
            shown |= _examined(body["selfManaged"])
        return shown


def _examined(given: Document) -> Document:
    try:
        chain = x509.load_pem_x509_certificates(given["pemCertificate"].encode())
        key = load_pem_private_key(given["pemPrivateKey"].encode(), None)
    except (KeyError, ValueError):
        raise new_error(400, "INVALID_ARGUMENT", "The certificate or the private key cannot be parsed.") from None
    if key.public_key() != chain[0].public_key():
        raise new_error(400, "INVALID_ARGUMENT", "The private key does not match the certificate.")
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {
        "selfManaged": {},
        "sanDnsnames": list(names.get_values_for_type(x509.DNSName)),
        "pemCertificate": "".join(item.public_bytes(Encoding.PEM).decode() for item in chain),
        "expireTime": chain[0].not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _name(parts: Sequence[str]) -> str:
    project, location, identifier = parts
    return f"projects/{project}/locations/{location}/certificates/{identifier}"


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
