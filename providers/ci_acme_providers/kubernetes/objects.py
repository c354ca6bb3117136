"""Secrets over the API server: read whole or without their data, created, replaced, patched and deleted."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from ci_acme.dataclass import dataclass, field
from ci_acme.ports import Deadline
from ci_acme.rest import Answer, member
from ci_acme.rest_store import is_done
from ci_acme.storing import Refused
from ci_acme_providers.kubernetes.faults import refusal
from ci_acme_providers.kubernetes.session import Cluster

MANAGER: Final = "ci-acme"
_LABEL: Final = "app.kubernetes.io/managed-by"
_METADATA_ONLY: Final = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
_MERGE: Final = {"Content-Type": "application/merge-patch+json"}
_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Conflict(Refused):
    """Somebody has changed, made or removed the object meanwhile."""

    def __init__(self) -> None:
        super().__init__("another writer has changed the Secret meanwhile", fix="end the other runs, and run again")


@dataclass(frozen=True, slots=True)
class Found:
    """A Secret as it came; `data` stays empty where only its metadata were asked for."""

    document: Mapping[str, Any] = field(repr=False)

    @property
    def uid(self) -> str:
        return str(member(self.document, "metadata", "uid"))

    @property
    def resource_version(self) -> str:
        return str(member(self.document, "metadata", "resourceVersion"))

    @property
    def annotations(self) -> dict[str, str]:
        return dict(member(self.document, "metadata", "annotations") or {})

    @property
    def labels(self) -> dict[str, str]:
        return dict(member(self.document, "metadata", "labels") or {})

    @property
    def type(self) -> str:
        return str(member(self.document, "type") or "Opaque")

    @property
    def immutable(self) -> bool:
        return member(self.document, "immutable") is True

    @property
    def deleting(self) -> list[str] | None:
        """The finalizers that keep a deleted Secret; None if it was not deleted."""
        if member(self.document, "metadata", "deletionTimestamp") is None:
            return None
        return [str(each) for each in member(self.document, "metadata", "finalizers") or []]

    @property
    def data(self) -> dict[str, bytes]:
        """The fields, decoded."""
        found: dict[str, bytes] = {}
        for name, text in (member(self.document, "data") or {}).items():
            try:
                found[name] = base64.b64decode(str(text), validate=True)
            except binascii.Error:
                continue
        return found

    def changed_by(self, names: Iterable[str]) -> str | None:
        """Who has written one of these fields since we did, as the API server keeps account of it; None if nobody."""
        entries = member(self.document, "metadata", "managedFields")
        if not isinstance(entries, list) or not entries:
            return None
        for name in names:
            managers = [
                str(member(entry, "manager"))
                for entry in entries
                if f"f:{name}" in (member(entry, "fieldsV1", "f:data") or {})
            ]
            if managers and MANAGER not in managers:
                return managers[0]
        return None


class Secrets:
    """The Secrets of a namespace. Raises `Refused`, `SecretError`, `ci_acme.wire.Unreachable`."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.namespace = namespace
        self._cluster = cluster
        self._base = f"/api/v1/namespaces/{quote(namespace)}/secrets"

    def document(
        self,
        name: str,
        kind: str,
        data: Mapping[str, bytes],
        labels: Mapping[str, str],
        annotations: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """A Secret of the type `kind`, as `create` takes it."""
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": kind,
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "annotations": dict(annotations or {}),
                "labels": {**labels, _LABEL: MANAGER},
            },
            "data": {field: base64.b64encode(value).decode("ascii") for field, value in data.items()},
        }

    def read(self, name: str, deadline: Deadline, *, whole: bool) -> Found | None:
        """A Secret, `whole` or without its data and type; None if there is none."""
        headers = None if whole else _METADATA_ONLY
        answer = self._cluster.send("GET", f"{self._base}/{name}", deadline=deadline, headers=headers)
        if answer.status == 404 and member(answer.document, "details", "kind") == "secrets":
            return None
        return self._found(answer, "get", name)

    def create(self, document: Mapping[str, Any], deadline: Deadline, *, dry: bool = False) -> Found:
        """Make a Secret. Raises `Conflict` if it exists."""
        name = str(member(document, "metadata", "name"))
        return self._found(self._send("POST", "", deadline, document, dry=dry), "create", name)

    def replace(self, document: Mapping[str, Any], deadline: Deadline, *, dry: bool = False) -> Found:
        """Replace a Secret of exactly the `resourceVersion` in the document. Raises `Conflict`."""
        name = str(member(document, "metadata", "name"))
        return self._found(self._send("PUT", f"/{name}", deadline, document, dry=dry), "update", name)

    def annotate(self, name: str, found: Found, annotations: Mapping[str, str], deadline: Deadline) -> None:
        """Set annotations of exactly the version that was found. Raises `Conflict`."""
        body = {"metadata": {"resourceVersion": found.resource_version, "annotations": dict(annotations)}}
        self._found(self._send("PATCH", f"/{name}", deadline, body, headers=_MERGE), "patch", name)

    def delete(self, name: str, found: Found | None, deadline: Deadline) -> bool:
        """Delete exactly the version that was found, any if None; False if there was none. Raises `Conflict`."""
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if found is not None:
            body["preconditions"] = {"uid": found.uid, "resourceVersion": found.resource_version}
        answer = self._cluster.send("DELETE", f"{self._base}/{name}", deadline=deadline, body=body)
        if answer.status == 404 and member(answer.document, "details", "kind") == "secrets":
            return False
        if answer.status == 409:
            raise Conflict
        if not is_done(answer):
            raise refusal(answer, "delete", self.namespace, name)
        return True

    def denied(self, verbs: Iterable[tuple[str, str]], deadline: Deadline) -> list[tuple[str, str]]:
        """Those of these (verb, name) that we may not do, as far as the API server tells."""
        return [(verb, name) for verb, name in verbs if not self._may(verb, name, deadline)]

    def _may(self, verb: str, name: str, deadline: Deadline) -> bool:
        attributes = {"namespace": self.namespace, "verb": verb, "resource": "secrets", "name": name}
        if verb == "create":
            del attributes["name"]
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self._cluster.send("POST", _REVIEWS, deadline=deadline, body=review)
        if answer.status == 401:
            raise refusal(answer, verb, self.namespace, name)
        return not answer.ok or member(answer.document, "status", "allowed") is True

    def _send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        dry: bool = False,
    ) -> Answer:
        query = f"?fieldManager={MANAGER}" + ("&dryRun=All" if dry else "")
        return self._cluster.send(method, self._base + path + query, deadline=deadline, body=body, headers=headers)

    def _found(self, answer: Answer, verb: str, name: str) -> Found:
        gone = answer.status == 404 and member(answer.document, "details", "kind") == "secrets"
        if (answer.status == 409 and verb != "get") or (gone and verb in {"update", "patch"}):
            raise Conflict
        if not answer.ok or not isinstance(answer.document, dict):
            raise refusal(answer, verb, self.namespace, name)
        return Found(answer.document)
