"""Secret Manager on loopback: versions, aliases, etags, checksums, limits, delayed destruction."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import ClassVar

from ci_acme_providers.gcp.crc32c import crc32c
from tests.clouds.api import Call
from tests.clouds.google import ApiError, Document, GoogleApi, Iam, new_error
from tests.clouds.google_tokens import NUMBER

_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_KEY = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?")
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
_MUTABLE = {"annotations", "labels", "versionAliases", "expireTime", "versionDestroyTtl"}


@dataclass
class Version:
    data: bytes
    state: str = "ENABLED"
    destroys: datetime | None = None
    created: str = ""


@dataclass
class Secret:
    fields: Document
    versions: list[Version] = field(default_factory=list)
    etags: int = 0


class GoogleSecrets(GoogleApi):
    """The secrets of any project, global and regional ones, by `projects/P[/locations/L]/secrets/S`."""

    documents: ClassVar[Sequence[str]] = ("secretmanager.v1",)

    def __init__(self, iam: Iam | None = None) -> None:
        super().__init__(iam)
        self.secrets: dict[str, Secret] = {}
        self.page = 100

    def dispatch(self, call: Call, name: str, parts: tuple[str, ...]) -> Document:
        """Global and regional secrets have the same methods."""
        regional = name.startswith("projects.locations.")
        parent, rest = f"projects/{parts[0]}", parts[1:]
        if regional:
            parent, rest = f"{parent}/locations/{parts[1]}", parts[2:]
            name = name.replace("projects.locations.", "projects.")
        resource = f"{parent}/secrets/{rest[0]}" if rest else parent
        return super().dispatch(call, name, (resource, *rest[1:]))

    # --- secrets

    def projects_secrets_create(self, call: Call, parent: str) -> Document:
        self.require("secretmanager.secrets.create", parent)
        identifier = call.one("secretId") or ""
        name = f"{parent}/secrets/{identifier}"
        if not _ID.fullmatch(identifier):
            raise _invalid("The provided Secret ID is invalid.")
        if name in self.secrets:
            raise new_error(409, "ALREADY_EXISTS", f"Secret [{name}] already exists.")
        if ("/locations/" in parent) == ("replication" in call.json):
            raise _invalid("Secret.replication must be provided for a global secret, and only for that.")
        self._check(call.json)
        fields = {**call.json, "createTime": _now(), "name": name.replace(parent.split("/")[1], NUMBER, 1)}
        self.secrets[name] = Secret(fields)
        return self._shown(name)

    def projects_secrets_get(self, call: Call, name: str) -> Document:
        del call
        self.require("secretmanager.secrets.get", name)
        self._existing(name)
        return self._shown(name)

    def projects_secrets_patch(self, call: Call, name: str) -> Document:
        self.require("secretmanager.secrets.update", name)
        secret = self._existing(name)
        body = dict(call.json)
        self._check_etag(secret, body.pop("etag", None))
        mask = set((call.one("updateMask") or "").split(","))
        if mask - _MUTABLE:
            raise _invalid(f"update_mask: {mask - _MUTABLE} cannot be changed")
        self._check({key: value for key, value in body.items() if key in mask})
        for alias, number in body.get("versionAliases", {}).items() if "versionAliases" in mask else ():
            if not _ALIAS.fullmatch(alias) or alias == "latest" or not 1 <= int(number) <= len(secret.versions):
                raise _invalid(f"version alias {alias} is invalid, or of no version")
        for key in mask:
            secret.fields.pop(key, None)
            if body.get(key):
                secret.fields[key] = body[key]
        secret.etags += 1
        return self._shown(name)

    def projects_secrets_delete(self, call: Call, name: str) -> Document:
        self.require("secretmanager.secrets.delete", name)
        self._check_etag(self._existing(name), call.one("etag"))
        del self.secrets[name]
        return {}

    def projects_secrets_testIamPermissions(self, call: Call, name: str) -> Document:  # noqa: N802
        """On a secret that does not exist: none, and no error."""
        return self.held(call, name) if name in self.secrets else {}

    # --- versions

    def projects_secrets_addVersion(self, call: Call, name: str) -> Document:  # noqa: N802
        self.require("secretmanager.versions.add", name)
        secret = self._existing(name)
        payload = call.json.get("payload") or {}
        data = base64.b64decode(payload.get("data", ""))
        if not data or len(data) > 65_536:
            raise _invalid("The secret payload is empty, or larger than 64 KiB.")
        checksum = payload.get("dataCrc32c")
        if checksum is not None and int(checksum) != crc32c(data):
            raise _invalid("The payload's CRC32C is not the one that was given.")
        secret.versions.append(Version(data, created=_now()))
        shown = self._version(name, len(secret.versions))
        return {**shown, "clientSpecifiedPayloadChecksum": True} if checksum is not None else shown

    def projects_secrets_versions_get(self, call: Call, name: str, version: str) -> Document:
        del call
        self.require("secretmanager.versions.get", name)
        return self._version(name, self._number(name, version))

    def projects_secrets_versions_list(self, call: Call, name: str) -> Document:
        self.require("secretmanager.versions.list", name)
        numbers = list(range(len(self._existing(name).versions), 0, -1))
        start = int(call.one("pageToken") or 0)
        shown: Document = {"versions": [self._version(name, n) for n in numbers[start : start + self.page]]}
        shown["totalSize"] = len(numbers)
        if start + self.page < len(numbers):
            shown["nextPageToken"] = str(start + self.page)
        return shown

    def projects_secrets_versions_access(self, call: Call, name: str, version: str) -> Document:
        del call
        self.require("secretmanager.versions.access", name)
        number = self._number(name, version)
        found = self._existing(name).versions[number - 1]
        if found.state != "ENABLED":
            text = f"Secret Version [{name}/versions/{number}] is in {found.state} state."
            raise new_error(400, "FAILED_PRECONDITION", text)
        payload = {"data": base64.b64encode(found.data).decode(), "dataCrc32c": str(crc32c(found.data))}
        return {"name": self._version(name, number)["name"], "payload": payload}

    def projects_secrets_versions_destroy(self, call: Call, name: str, version: str) -> Document:
        del call
        self.require("secretmanager.versions.destroy", name)
        secret = self._existing(name)
        number = self._number(name, version)
        found = secret.versions[number - 1]
        delay = secret.fields.get("versionDestroyTtl")
        if delay is not None and found.state != "DESTROYED":
            found.state = "DISABLED"
            found.destroys = datetime.now(timezone.utc) + timedelta(seconds=float(delay[:-1]))
        else:
            found.state, found.data = "DESTROYED", b""
        return self._version(name, number)

    # --- helpers

    def _existing(self, name: str) -> Secret:
        if name not in self.secrets:
            raise new_error(404, "NOT_FOUND", f"Secret [{name}] not found.")
        return self.secrets[name]

    def _number(self, name: str, version: str) -> int:
        """`latest` is the newest version, whatever its state."""
        secret = self._existing(name)
        count = len(secret.versions)
        text = str(count) if version == "latest" else str(secret.fields.get("versionAliases", {}).get(version, version))
        if not text.isdigit() or not 1 <= int(text) <= count:
            raise new_error(404, "NOT_FOUND", f"Secret Version [{name}/versions/{version}] not found.")
        return int(text)

    def _shown(self, name: str) -> Document:
        secret = self.secrets[name]
        return {**secret.fields, "etag": f'"{secret.etags:x}"'}

    def _version(self, name: str, number: int) -> Document:
        secret = self.secrets[name]
        version = secret.versions[number - 1]
        shown: Document = {
            "name": f"{secret.fields['name']}/versions/{number}",
            "createTime": version.created,
            "state": version.state,
            "replicationStatus": {"automatic": {}},
            "etag": '"1"',
        }
        if version.destroys is not None:
            shown["scheduledDestroyTime"] = version.destroys.strftime("%Y-%m-%dT%H:%M:%SZ")
        if version.state == "DESTROYED":
            shown["destroyTime"] = _now()
        return shown

    def _check_etag(self, secret: Secret, etag: str | None) -> None:
        if etag and etag != f'"{secret.etags:x}"':
            text = "The specified etag does not match the resource's current etag."
            raise new_error(400, "FAILED_PRECONDITION", text)

    def _check(self, fields: Document) -> None:
        annotations, labels = fields.get("annotations", {}), fields.get("labels", {})
        if sum(len(key) + len(value.encode()) for key, value in annotations.items()) >= 16 * 1024:
            raise _invalid("The total size of annotations must be less than 16KiB.")
        if not all(_KEY.fullmatch(key) for key in annotations):
            raise _invalid("an annotation's key is invalid")
        if len(labels) > 64 or not all(
            _LABEL.fullmatch(k) and re.fullmatch(r"[a-z0-9_-]{0,63}", labels[k]) for k in labels
        ):
            raise _invalid("a label is invalid")
        if "expireTime" in fields and fields["expireTime"] <= _now():
            raise _invalid("Secret.expire_time must be in the future.")


def _invalid(message: str) -> ApiError:
    return new_error(400, "INVALID_ARGUMENT", message)


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
