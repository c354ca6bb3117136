"""A strict fake of a Kubernetes API server, as far as Secrets go: validation, resourceVersion, RBAC, managed fields.

What the real one validates is validated: names, base64, the fields of kubernetes.io/tls, the size, the type that never
changes, immutability, preconditions of a deletion, the content type of a patch.
"""

from __future__ import annotations

import base64
import binascii
import copy
import json
import re
import ssl
import uuid
from dataclasses import dataclass
from typing import Any

from tests.clouds.api import Answer, Call, FakeApi

ADMIN = "token-of-the-administrator"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


@dataclass
class Rule:
    """A rule of a Role; `names` is None for all names."""

    verbs: set[str]
    names: set[str] | None = None
    namespace: str = "default"


class FakeKubernetes(FakeApi):
    """`users` are rules by bearer token, None for all. With `by_certificate` TLS has told who it is."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, by_certificate: bool = False) -> None:
        super().__init__(tls)
        self.namespaces = {"default", "web"}
        self.secrets: dict[tuple[str, str], dict[str, Any]] = {}
        self.users: dict[str, list[Rule] | None] = {ADMIN: None}
        self.by_certificate = by_certificate
        self.writes = 0
        self._version = 100

    def handle(self, call: Call) -> Answer:
        with self.lock:
            token = call.headers.get("authorization", "").removeprefix("Bearer ")
            if token not in self.users and not (self.by_certificate and not token):
                return _status(401, "Unauthorized", "Unauthorized")
            rules = None if self.by_certificate else self.users[token]
            if call.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" and call.method == "POST":
                return self._review(rules, call.json)
            match = re.fullmatch(r"/api/v1/namespaces/([^/]+)/secrets(?:/([^/]+))?", call.path)
            if match is None or (match[2] is None) is not (call.method == "POST"):
                return _status(404, "NotFound", "the server could not find the requested resource")
            return self._secret(rules, match[1], match[2], call)

    # --- rights --------------------------------------------------------------------------------------------------

    @staticmethod
    def _may(rules: list[Rule] | None, verb: str, namespace: str, name: str | None) -> bool:
        """A creation has no name yet that a rule could be bound to."""
        return rules is None or any(
            verb in rule.verbs and rule.namespace == namespace and (rule.names is None or name in rule.names)
            for rule in rules
        )

    def _review(self, rules: list[Rule] | None, review: dict[str, Any]) -> Answer:
        wanted = review["spec"]["resourceAttributes"]
        assert review["kind"] == "SelfSubjectAccessReview"
        assert wanted["resource"] == "secrets"
        allowed = self._may(rules, wanted["verb"], wanted["namespace"], wanted.get("name"))
        return Answer.of({**review, "status": {"allowed": allowed}}, 201)

    # --- secrets -------------------------------------------------------------------------------------------------

    def _secret(self, rules: list[Rule] | None, namespace: str, name: str | None, call: Call) -> Answer:
        verb = _VERBS[call.method]
        if not self._may(rules, verb, namespace, name):
            words = f'secrets "{name}" is forbidden: User "ci" cannot {verb} resource "secrets" in API group ""'
            return _status(403, "Forbidden", words, name)
        if verb == "create":
            name = call.json["metadata"]["name"]
            if namespace not in self.namespaces:
                return _status(404, "NotFound", f'namespaces "{namespace}" not found', namespace, kind="namespaces")
        key = (namespace, str(name))
        found = self.secrets.get(key)
        if found is None and verb != "create":
            return _status(404, "NotFound", f'secrets "{name}" not found', name)
        if verb == "get":
            return self._get(found or {}, call)
        if verb == "delete":
            return self._delete(key, found or {}, call)
        return self._change(key, found, call)

    def _get(self, found: dict[str, Any], call: Call) -> Answer:
        accept = call.headers.get("accept", "")
        if accept == "application/json":
            return Answer.of(found)
        if accept != _METADATA_ONLY:
            return _status(406, "NotAcceptable", f"only application/json is acceptable, not {accept}")
        partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": found["metadata"]}
        return Answer.of(partial)

    def _change(self, key: tuple[str, str], found: dict[str, Any] | None, call: Call) -> Answer:
        name = key[1]
        if call.method == "POST" and found is not None:
            return _status(409, "AlreadyExists", f'secrets "{name}" already exists', name)
        new = copy.deepcopy(call.json)
        if call.method == "PATCH":
            if call.headers.get("content-type") != "application/merge-patch+json":
                return _status(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
            new = _merge(copy.deepcopy(found), new)
            expected = call.json.get("metadata", {}).get("resourceVersion")
        else:
            expected = new["metadata"].get("resourceVersion")
        if found is not None and expected not in (None, found["metadata"]["resourceVersion"]):
            words = f'Operation cannot be fulfilled on secrets "{name}": the object has been modified'
            return _status(409, "Conflict", words, name)
        problems = _problems(new, found, key)
        if problems:
            causes = [{"field": field, "reason": reason} for field, reason in problems]
            return _status(422, "Invalid", f'Secret "{name}" is invalid', name, causes=causes)
        stored = self._stored(new, found, key, call)
        if call.one("dryRun") is None:
            self.secrets[key] = stored
            self.writes += 1
        else:
            assert call.one("dryRun") == "All"
        return Answer.of(stored, 201 if call.method == "POST" else 200)

    def _stored(
        self, new: dict[str, Any], found: dict[str, Any] | None, key: tuple[str, str], call: Call
    ) -> dict[str, Any]:
        self._version += 1
        old = found or {"metadata": {"uid": str(uuid.uuid4()), "creationTimestamp": "2030-01-01T00:00:00Z"}, "data": {}}
        metadata = {**new["metadata"], "namespace": key[0], "resourceVersion": str(self._version)}
        for name in ("uid", "creationTimestamp", "deletionTimestamp"):
            if name in old["metadata"]:
                metadata[name] = old["metadata"][name]
        data = new.get("data") or {}
        owners = _owners(old)
        changed = {name for name, value in data.items() if (old.get("data") or {}).get(name) != value}
        manager = call.one("fieldManager") or call.headers.get("user-agent", "unknown")
        owners = {name: (fields - changed) & set(data) for name, fields in owners.items()}
        owners.setdefault(manager, set()).update(changed)
        metadata["managedFields"] = [
            {
                "manager": name,
                "operation": "Update",
                "apiVersion": "v1",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {".": {}, **{f"f:{field}": {} for field in sorted(fields)}}},
            }
            for name, fields in owners.items()
            if fields
        ]
        kept = {"apiVersion": "v1", "kind": "Secret", "type": new.get("type", "Opaque"), "data": data}
        return {**kept, **({"immutable": True} if new.get("immutable") else {}), "metadata": metadata}

    def _delete(self, key: tuple[str, str], found: dict[str, Any], call: Call) -> Answer:
        wanted = (call.json or {}).get("preconditions", {})
        if any(found["metadata"][name] != value for name, value in wanted.items()):
            return _status(409, "Conflict", "the preconditions do not hold", key[1])
        self.writes += 1
        if found["metadata"].get("finalizers"):
            found["metadata"]["deletionTimestamp"] = "2030-01-02T00:00:00Z"
            return Answer.of(found)
        del self.secrets[key]
        return Answer.of({"kind": "Status", "apiVersion": "v1", "status": "Success"})


def _owners(found: dict[str, Any]) -> dict[str, set[str]]:
    return {
        entry["manager"]: {name.removeprefix("f:") for name in entry["fieldsV1"]["f:data"] if name != "."}
        for entry in found["metadata"].get("managedFields", [])
    }


def _problems(new: dict[str, Any], found: dict[str, Any] | None, key: tuple[str, str]) -> list[tuple[str, str]]:
    metadata, data = new["metadata"], new.get("data") or {}
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    named = metadata.get("name") == key[1] and _NAME.fullmatch(key[1]) and len(key[1]) <= 253
    wrong = {
        ("kind", "FieldValueInvalid"): new.get("kind") != "Secret" or new.get("apiVersion") != "v1",
        ("metadata.name", "FieldValueInvalid"): not named,
        ("metadata.resourceVersion", "FieldValueForbidden"): found is None and "resourceVersion" in metadata,
        ("metadata.annotations", "FieldValueTooLong"): sum(len(k) + len(v) for k, v in annotations.items()) > 256 << 10,
        ("metadata.labels", "FieldValueInvalid"): any(len(value) > 63 for value in labels.values()),
    }
    if found is not None:
        wrong["type", "FieldValueInvalid"] = new.get("type", "Opaque") != found["type"]
        wrong["data", "FieldValueForbidden"] = bool(found.get("immutable")) and data != found["data"]
    return [problem for problem, is_so in wrong.items() if is_so] + _data_problems(data, new.get("type"))


def _data_problems(data: dict[str, str], kind: str | None) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    size = 0
    for name, value in data.items():
        try:
            size += len(base64.b64decode(value, validate=True))
        except (binascii.Error, TypeError):
            problems.append((f"data[{name}]", "FieldValueInvalid"))
        if not _KEY.fullmatch(name):
            problems.append((f"data[{name}]", "FieldValueInvalid"))
    if size > 1 << 20:
        problems.append(("data", "FieldValueTooLong"))
    if kind == "kubernetes.io/tls":
        problems += [(f"data[{name}]", "FieldValueRequired") for name in ("tls.crt", "tls.key") if name not in data]
    return problems


def _merge(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _status(
    code: int, reason: str, message: str, name: str | None = None, *, kind: str = "secrets", causes: Any = None
) -> Answer:
    details = {"name": name, "kind": kind, **({"causes": causes} if causes else {})} if name else {}
    document = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason}
    return Answer(
        code, json.dumps({**document, "details": details, "code": code}).encode(), {"Content-Type": "application/json"}
    )
