"""One secret of a KV engine, version 2, over Vault's HTTP API.

A version's fields are written as one; what is known of the secret as a whole (`custom_metadata`) is another request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ci_acme.dataclass import dataclass, field
from ci_acme.model.records import parse_time
from ci_acme.ports import Deadline
from ci_acme.rest import Answer, member
from ci_acme.rest_store import expected, is_done
from ci_acme.storing import Refused
from ci_acme_providers.vault.faults import CAS_MISMATCH, refusal, rule, said
from ci_acme_providers.vault.session import Vault

_MERGE = {"Content-Type": "application/merge-patch+json"}


class CasMismatch(Exception):
    """The current version is another one than was expected."""


class NotReadable(Exception):
    """The token may not read the secret's fields."""


@dataclass(frozen=True, slots=True)
class Key:
    """What Vault tells of a secret without its fields. `current` is 0 if no version was ever written.

    `gone` says why the current version cannot be read, None if it can; `recoverable` whether it can be brought back.
    """

    current: int
    created: datetime | None
    custom: Mapping[str, str]
    delete_version_after: str
    gone: str | None
    recoverable: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """The fields of a version."""

    number: int
    fields: Mapping[str, Any] = field(repr=False)


class Kv:
    """The secret at `path`, which begins with the mount. Raises `Refused`, `ci_acme.wire.Unreachable`."""

    def __init__(self, vault: Vault, path: str) -> None:
        self.path = path
        self._vault = vault
        self._place: tuple[str, str] | None = None
        self._patches = True

    def at(self, api: str, deadline: Deadline) -> str:
        """The path of one of the engine's APIs (`data`, `metadata`, …) for this secret.

        Which part of the path is the mount, and what is mounted there, is asked once. Raises `Refused` for KV 1.
        """
        if self._place is None:
            mount, version = find_mount(self._vault, self.path, deadline)
            if version != 2:
                raise Refused(
                    f"the mount {mount}/ is KV version {version}, which has neither check-and-set nor metadata",
                    fix=f"run vault kv enable-versioning {mount}/, or use a mount of KV version 2",
                )
            self._place = mount, self.path[len(mount) + 1 :]
        mount, rest = self._place
        return f"{mount}/{api}/{rest}"

    def look(self, deadline: Deadline) -> Key | None:
        """What is told without the fields; None if there is no such secret."""
        path = self.at("metadata", deadline)
        answer = self._vault.send("GET", path, deadline=deadline)
        if answer.status == 404:
            return None
        if not answer.ok:
            raise refusal(answer, f"read {path}", [rule(path, "read")])
        return _key_of(answer, deadline)

    def read(self, deadline: Deadline) -> Version | None:
        """The fields of the current version; None if there are none. Raises `NotReadable`."""
        answer = self._vault.send("GET", self.at("data", deadline), deadline=deadline)
        if answer.status == 404:
            return None
        if answer.status == 403:
            raise NotReadable
        fields, number = member(answer.document, "data", "data"), member(answer.document, "data", "metadata", "version")
        if not answer.ok or not isinstance(fields, dict) or not isinstance(number, int):
            raise refusal(answer, f"read {self.at('data', deadline)}")
        return Version(number, fields)

    def write(self, fields: Mapping[str, str], *, after: int, deadline: Deadline) -> int:
        """Write a version as the successor of `after` (0 for none ever); its number. Raises `CasMismatch`."""
        path = self.at("data", deadline)
        body = {"options": {"cas": after}, "data": fields}
        answer = self._vault.send("POST", path, deadline=deadline, body=body)
        number = member(answer.document, "data", "version")
        if answer.ok and isinstance(number, int):
            return number
        if answer.status == 400 and CAS_MISMATCH in said(answer):
            raise CasMismatch
        raise refusal(answer, f"write {path}", [rule(path, "create", "update", "read")])

    def describe(self, wanted: Mapping[str, str], key: Key, deadline: Deadline) -> None:
        """Put keys of ours beside the secret, in place of all others of ours; those of others stay.

        With the capability `patch` that is one change; else what others wrote in this very moment would be lost.
        """
        path = self.at("metadata", deadline)
        stale = [name for name in key.custom if name.startswith("ci-acme") and name not in wanted]
        answer: Answer | None = None
        if self._patches:
            body = {"custom_metadata": {**wanted, **dict.fromkeys(stale)}}
            answer = self._vault.send("PATCH", path, deadline=deadline, body=body, headers=_MERGE)
            self._patches = answer.status not in {403, 405}
        if not self._patches:
            kept = {name: text for name, text in key.custom.items() if name not in stale}
            body = {"custom_metadata": {**kept, **wanted}}
            answer = self._vault.send("POST", path, deadline=deadline, body=body)
        assert answer is not None
        if not is_done(answer):
            raise refusal(answer, f"write {path}", [rule(path, "read", "patch", "update")])

    def let_expire(self, after: str, deadline: Deadline) -> None:
        """Let versions that are written from now on end by themselves."""
        path = self.at("metadata", deadline)
        answer = self._vault.send("POST", path, deadline=deadline, body={"delete_version_after": after})
        if not is_done(answer):
            raise refusal(answer, f"set delete_version_after of {path}", [rule(path, "create", "update")])

    def delete(self, version: int, deadline: Deadline) -> None:
        """Delete this version, if it is not deleted, so that it can be recovered. A newer one stays."""
        path = self.at("delete", deadline)
        answer = self._vault.send("POST", path, deadline=deadline, body={"versions": [version]})
        if not is_done(answer):
            raise refusal(answer, f"delete version {version} of {self.path}", [rule(path, "update")])

    def destroy(self, deadline: Deadline) -> None:
        """Remove all versions and all that is known of the secret; nothing there is success."""
        path = self.at("metadata", deadline)
        answer = self._vault.send("DELETE", path, deadline=deadline)
        if not is_done(answer) and answer.status != 404:
            raise refusal(answer, f"remove {path}", [rule(path, "delete")])


def find_mount(vault: Vault, path: str, deadline: Deadline) -> tuple[str, int]:
    """The mount that a path is in, and its version of KV: what the command `vault kv` asks first, too."""
    answer = vault.send("GET", f"sys/internal/ui/mounts/{path}", deadline=deadline)
    mount, kind = member(answer.document, "data", "path"), member(answer.document, "data", "type")
    if not answer.ok or not isinstance(mount, str):
        first = path.split("/", 1)[0]
        needs = [rule(f"{first}/data/…", "create", "update", "read"), rule(f"{first}/metadata/…", "read", "update")]
        raise refusal(answer, f"tell which mount {path} is in", needs)
    mount = mount.strip("/")
    if kind not in {"kv", "generic"} or not path.startswith(f"{mount}/"):
        raise Refused(
            f"{path} is not a secret of a KV engine (the mount {mount}/ is of type {kind})",
            fix="name a secret in a KV engine: MOUNT/PATH",
        )
    version = member(answer.document, "data", "options", "version")
    return mount, int(version) if str(version).isdigit() else 1


def capabilities(vault: Vault, paths: list[str], deadline: Deadline) -> dict[str, set[str]] | None:
    """What the token may do at each path; None if Vault does not tell."""
    answer = vault.send("POST", "sys/capabilities-self", deadline=deadline, body={"paths": paths})
    found = {path: member(answer.document, "data", path) for path in paths}
    if not answer.ok or not all(isinstance(words, list) for words in found.values()):
        return None
    return {path: {str(word) for word in words} for path, words in found.items()}


def _key_of(answer: Answer, deadline: Deadline) -> Key:
    data = member(answer.document, "data")
    current = int(str(expected("Vault", member(data, "current_version"))))
    version = member(data, "versions", str(current))
    custom = member(data, "custom_metadata")
    gone, recoverable = _gone(version, current, deadline)
    return Key(
        current=current,
        created=_time(member(version, "created_time")),
        custom={str(name): str(text) for name, text in custom.items()} if isinstance(custom, dict) else {},
        delete_version_after=str(member(data, "delete_version_after") or ""),
        gone=gone,
        recoverable=recoverable,
    )


def _gone(version: Any, current: int, deadline: Deadline) -> tuple[str | None, bool]:
    if current == 0:
        return "no version was written", False
    if version is None or member(version, "destroyed") is True:
        return f"version {current} was destroyed", False
    deleted = _time(member(version, "deletion_time"))
    if deleted is not None and deleted <= deadline.clock.now():  # a time to come is that of delete_version_after
        return f"version {current} was deleted, and can be undeleted", True
    return None, False


def _time(text: Any) -> datetime | None:
    """Go writes nanoseconds, which Python 3.10 does not read."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return parse_time(text.partition(".")[0].rstrip("Z") + "Z")
    except ValueError:
        return None


def go_seconds(text: str) -> int:
    """The seconds of a Go duration of hours, minutes and seconds (`2160h0m0s`)."""
    total, digits = 0, ""
    for character in text:
        if character.isdigit():
            digits += character
        elif digits:
            total += int(digits) * {"h": 3600, "m": 60, "s": 1}.get(character, 0)
            digits = ""
    return total


def dump(document: Mapping[str, Any]) -> str:
    """JSON for a field."""
    return json.dumps(document, separators=(",", ":"), sort_keys=True)
