"""The calls of Secret Manager that the store and the secret source make."""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ci_acme.dataclass import dataclass, field
from ci_acme.model.records import parse_time
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline
from ci_acme_providers.gcp.api import Call, backoff, rest
from ci_acme_providers.gcp.crc32c import crc32c
from ci_acme_providers.gcp.faults import Damaged, NoReply, Refusal, Trouble
from ci_acme_providers.gcp.session import GoogleSession

MAX_BYTES: Final = 65_536
"""Of one version's payload."""
SERVICE: Final = "secretmanager"
_NUMBER: Final = re.compile(r"/versions/(\d+)\Z")


@dataclass(frozen=True, slots=True)
class Version:
    """One version; `payload` only where it was accessed."""

    number: str
    state: str = "ENABLED"
    payload: Secret | None = field(default=None, repr=False)
    created: datetime | None = None
    checked: bool = False
    """Whether the service compared what it stored with our checksum."""


class Secrets:
    """Secret Manager as one identity sees it; a secret is named `projects/P[/locations/L]/secrets/S`."""

    def __init__(self, session: GoogleSession, location: str | None = None) -> None:
        self._session = session
        self._location = location
        self._api = rest(session, lambda: f"{session.endpoint(SERVICE, location)}/v1")

    def parent(self) -> str:
        """`projects/P`, or a location in it. Raises `ConfigError`, `NoCredentials`."""
        project = f"projects/{self._session.project()}"
        return project if self._location is None else f"{project}/locations/{self._location}"

    def get(self, name: str, deadline: Deadline) -> Mapping[str, Any] | None:
        """The secret's metadata; None if there is none."""
        return self._optional(Call("GET", name), deadline)

    def create(self, name: str, body: Mapping[str, Any], deadline: Deadline) -> Mapping[str, Any]:
        """A new secret without versions, or the one that somebody else has made meanwhile."""
        parent, _, identifier = name.rpartition("/secrets/")
        try:
            made: Mapping[str, Any] = self._api.call(
                Call("POST", f"{parent}/secrets", {"secretId": identifier}, body), deadline=deadline
            )
        except Refusal as error:
            found = self.get(name, deadline) if error.code == 409 else None
            if found is None:
                raise
            return found
        return made

    def patch(self, name: str, body: Mapping[str, Any], mask: Sequence[str], deadline: Deadline) -> None:
        """Replace fields, under the etag in `body`."""
        self._api.call(Call("PATCH", name, {"updateMask": ",".join(mask)}, body), deadline=deadline, repeat=False)

    def delete(self, name: str, etag: str, deadline: Deadline) -> None:
        """The secret and all its versions, for good; absent is success."""
        try:
            self._api.call(Call("DELETE", name, {"etag": etag} if etag else {}), deadline=deadline)
        except Refusal as error:
            if not error.missing:
                raise

    def version(self, name: str, number: str, deadline: Deadline) -> Version | None:
        """A version's state, without its payload; None if there is none."""
        document = self._optional(Call("GET", f"{name}/versions/{number}"), deadline)
        return None if document is None else _version(document)

    def versions(self, name: str, deadline: Deadline) -> Iterator[Version]:
        """All that are not destroyed, the newest first."""
        token = ""
        while True:
            params = {"pageToken": token} if token else {}
            page = self._api.call(Call("GET", f"{name}/versions", params), deadline=deadline)
            found = (_version(item) for item in page.get("versions") or ())
            yield from (version for version in found if version.state != "DESTROYED")
            token = page.get("nextPageToken") or ""
            if not token:
                return

    def access(self, name: str, number: str, deadline: Deadline) -> Version | None:
        """A version with its payload; None if there is none that can be accessed. Raises `Damaged`."""
        try:
            document = self._api.call(Call("GET", f"{name}/versions/{number}:access"), deadline=deadline)
        except Refusal as error:
            if error.missing or error.status == "FAILED_PRECONDITION":  # disabled or destroyed
                return None
            raise
        payload = document.get("payload") or {}
        try:
            data = base64.b64decode(payload.get("data") or "", validate=True)
        except (binascii.Error, ValueError):
            raise Damaged from None
        checksum = payload.get("dataCrc32c")
        if checksum is not None and int(checksum) != crc32c(data):
            raise Damaged
        return Version(_number(document), payload=Secret(data))

    def add(self, name: str, payload: bytes, deadline: Deadline, known: Version | None) -> Version:
        """A new version, once: after an answer that was lost, the newest version is compared first.

        `known` is the newest version before. Without the right to access payloads a twin cannot be told, and is made.
        """
        body = {"payload": {"data": base64.b64encode(payload).decode("ascii"), "dataCrc32c": str(crc32c(payload))}}
        for attempt in itertools.count():
            try:
                document = self._api.call(Call("POST", f"{name}:addVersion", {}, body), deadline=deadline, repeat=False)
            except (Refusal, NoReply) as error:
                pause = backoff(attempt)
                if not error.doubtful or deadline.remaining() <= pause:
                    raise
                deadline.clock.sleep(pause)
                found = self._stored(name, payload, deadline)
                if found is not None and (known is None or found.number != known.number):
                    return found
            else:
                return _version(document)
        raise AssertionError("the loop ends by itself")

    def _stored(self, name: str, payload: bytes, deadline: Deadline) -> Version | None:
        """The newest version if it is exactly this payload."""
        try:
            found = self.access(name, "latest", deadline)
        except Trouble:
            return None
        return found if found is not None and found.payload == Secret(payload) else None

    def destroy(self, name: str, number: str, deadline: Deadline) -> None:
        """Destroy a version's data, now or after the secret's delay."""
        self._api.call(Call("POST", f"{name}/versions/{number}:destroy", {}, {}), deadline=deadline)

    def held(self, name: str, permissions: Sequence[str], deadline: Deadline) -> frozenset[str]:
        """Those of the permissions that the caller has on the secret, all of them if nobody can tell."""
        body = {"permissions": list(permissions)}
        try:
            document = self._api.call(Call("POST", f"{name}:testIamPermissions", {}, body), deadline=deadline)
        except Refusal as error:
            if error.unknown:
                return frozenset(permissions)
            raise
        return frozenset(document.get("permissions") or ())

    def _optional(self, call: Call, deadline: Deadline) -> Mapping[str, Any] | None:
        try:
            document: Mapping[str, Any] = self._api.call(call, deadline=deadline)
        except Refusal as error:
            if error.missing:
                return None
            raise
        return document


def _version(document: Mapping[str, Any]) -> Version:
    return Version(
        _number(document),
        str(document.get("state") or "ENABLED"),
        created=_time(document.get("createTime")),
        checked=document.get("clientSpecifiedPayloadChecksum") is True,
    )


def _time(text: Any) -> datetime | None:
    try:
        return parse_time(str(text))
    except ValueError:
        return None


def _number(document: Mapping[str, Any]) -> str:
    match = _NUMBER.search(str(document.get("name") or ""))
    return match[1] if match else ""
