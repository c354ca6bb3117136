"""What Google's APIs have in common, on loopback: their discovery documents as the judge, IAM, and error documents.

The judge is Google's: `google-api-python-client` carries the description of each API. Requests and our own answers are
held against it: verb, path, query, fields, types, enumerations. What it refuses fails the test when the server stops.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from tests.clouds.api import Answer, Call, FakeApi

Document = dict[str, Any]


class ApiError(Exception):
    """A call ends with this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body.decode())
        self.answer = answer


def old_error(code: int, reason: str, message: str) -> ApiError:
    """As Cloud DNS answers."""
    item = {"message": message, "domain": "global", "reason": reason}
    return ApiError(Answer.of({"error": {"code": code, "message": message, "errors": [item]}}, code))


def new_error(code: int, status: str, message: str, reason: str = "", **metadata: str) -> ApiError:
    """As the APIs that are described in protocol buffers answer (AIP-193)."""
    error: Document = {"code": code, "message": message, "status": status}
    if reason:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": kind, "reason": reason, "domain": "iam.googleapis.com", "metadata": metadata}]
    return ApiError(Answer.of({"error": error}, code))


# --- the judge -------------------------------------------------------------------------------------------------------


@cache
def discovery(name: str) -> Document:
    """Google's description of an API, `dns.v1`."""
    import googleapiclient

    path = Path(googleapiclient.__file__).parent / "discovery_cache/documents" / f"{name}.json"
    document: Document = json.loads(path.read_text(encoding="utf-8"))
    return document


@dataclass(frozen=True)
class Method:
    """A method of an API, and the regular expression of its path."""

    id: str
    verb: str
    path: re.Pattern[str]
    spec: Document
    schemas: Document
    common: Document


def _methods(document: Document) -> Iterable[Method]:
    def walk(resource: Document) -> Iterable[Document]:
        yield from resource.get("methods", {}).values()
        for child in resource.get("resources", {}).values():
            yield from walk(child)

    for spec in walk(document):
        template = document["servicePath"] + spec.get("flatPath", spec["path"])
        pattern = "".join(
            "([^/:]+)" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]+\})", template)
        )
        yield Method(
            spec["id"],
            spec["httpMethod"],
            re.compile(f"/{pattern}"),
            spec,
            document["schemas"],
            document.get("parameters", {}),
        )


@cache
def methods(name: str) -> tuple[Method, ...]:
    return tuple(_methods(discovery(name)))


class Judge:
    """Holds requests and answers against the description of some APIs."""

    def __init__(self, *names: str) -> None:
        self._methods = [method for name in names for method in methods(name)]

    def find(self, call: Call) -> tuple[Method, tuple[str, ...]] | None:
        """The method that is called, and the variable parts of its path."""
        for method in self._methods:
            match = method.path.fullmatch(call.path)
            if match is not None and method.verb == call.method:
                return method, match.groups()
        return None

    def request(self, method: Method, call: Call) -> list[str]:
        """What is wrong with a request."""
        known = {name: spec for name, spec in method.spec.get("parameters", {}).items() if spec["location"] == "query"}
        problems = []
        for name, values in call.query.items():
            spec = known.get(name) or method.common.get(name)
            if spec is None:
                problems.append(f"unknown query parameter {name}")
            else:
                problems += [p for value in values for p in _of_type(value, spec, {}, f"?{name}", request=True)]
        problems += [
            f"query parameter {n} is missing" for n, s in known.items() if s.get("required") and not call.one(n)
        ]
        if "request" in method.spec:
            problems += _valid(call.json or {}, method.spec["request"]["$ref"], method.schemas, "", request=True)
        elif call.body:
            problems.append("a body that the method does not take")
        return [f"{method.id}: {problem}" for problem in problems]

    def response(self, method: Method, document: Any) -> list[str]:
        """What is wrong with an answer of ours."""
        name = method.spec["response"]["$ref"]
        return [f"answer to {method.id}: {p}" for p in _valid(document, name, method.schemas, "", request=False)]

    def schema(self, name: str, value: Any) -> list[str]:
        """What is wrong with a value of a schema by name."""
        schemas = self._methods[0].schemas
        return _valid(value, name, schemas, "", request=True)


def _valid(value: Any, name: str, schemas: Document, at: str, *, request: bool) -> list[str]:
    return _of_type(value, schemas[name], schemas, at or name, request=request)


def _of_type(value: Any, spec: Document, schemas: Document, at: str, *, request: bool) -> list[str]:
    if value is None and request:
        return []  # not set, as the JSON of protocol buffers has it
    if "$ref" in spec:
        return _valid(value, spec["$ref"], schemas, at, request=request)
    kind = spec.get("type", "any")
    if kind == "object":
        return _object(value, spec, schemas, at, request=request)
    if kind == "array":
        if not isinstance(value, list):
            return [f"{at} is not a list"]
        return [p for item in value for p in _of_type(item, spec["items"], schemas, f"{at}[]", request=request)]
    return _scalar(value, spec, kind, at, request=request)


def _object(value: Any, spec: Document, schemas: Document, at: str, *, request: bool) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at} is not an object"]
    problems = []
    properties, others = spec.get("properties", {}), spec.get("additionalProperties")
    for key, item in value.items():
        inner = properties.get(key, others)
        if inner is None:
            problems.append(f"{at} has no field {key}")
        elif request and inner.get("readOnly"):
            problems.append(f"{at}.{key} is read-only")
        else:
            problems += _of_type(item, inner, schemas, f"{at}.{key}", request=request)
    return problems


_INT64 = re.compile(r"-?\d+")
_FORMATS: Mapping[str, Callable[[str], bool]] = {
    "int64": lambda text: bool(_INT64.fullmatch(text)),
    "uint64": lambda text: text.isdigit(),
    "google-duration": lambda text: bool(re.fullmatch(r"\d+(\.\d{1,9})?s", text)),
    "google-datetime": lambda text: bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", text)),
    "google-fieldmask": lambda text: bool(re.fullmatch(r"[a-zA-Z.]+(,[a-zA-Z.]+)*", text)),
}


def _scalar(value: Any, spec: Document, kind: str, at: str, *, request: bool) -> list[str]:
    """Requests may be as lenient as the JSON of protocol buffers is: a number as a string, an int64 as a number."""
    if kind == "any":
        return []
    if kind == "boolean":
        right = isinstance(value, bool) or (request and value in {"true", "false"})
    elif kind in {"integer", "number"}:
        right = (isinstance(value, int | float) and not isinstance(value, bool)) or (
            request and isinstance(value, str) and bool(_INT64.fullmatch(value))
        )
    else:
        return _string(value, spec, at, request=request)
    return [] if right else [f"{at} is no {kind}: {value!r}"]


def _string(value: Any, spec: Document, at: str, *, request: bool) -> list[str]:
    form = spec.get("format", "")
    if request and form in {"int64", "uint64"} and isinstance(value, int):
        value = str(value)
    if not isinstance(value, str):
        return [f"{at} is no string"]
    if "enum" in spec and value not in spec["enum"]:
        return [f"{at} is none of {spec['enum']}: {value}"]
    if form == "byte":
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error:
            return [f"{at} is not base64"]
    if form in _FORMATS and not _FORMATS[form](value):
        return [f"{at} is no {form}: {value}"]
    return []


# --- identity and access ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Binding:
    """A role, bound to a principal on a resource and all that is below it."""

    principal: str
    permissions: frozenset[str] | None
    resource: str

    def covers(self, principal: str, permission: str, resource: str) -> bool:
        below = self.resource in ("", resource) or resource.startswith(f"{self.resource}/")
        return principal == self.principal and below and (self.permissions is None or permission in self.permissions)


@dataclass
class Iam:
    """Who holds a token, and who may do what. The token `good` may do everything."""

    bindings: list[Binding] = field(default_factory=lambda: [Binding("owner", None, "")])
    tokens: dict[str, tuple[str, float]] = field(default_factory=lambda: {"good": ("owner", float("inf"))})
    used: set[tuple[str, str]] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    """Permissions that nobody has, for a test."""
    clock: Callable[[], float] = time.time
    _numbers: Any = field(default_factory=itertools.count)

    def grant(self, principal: str, permissions: Iterable[str] | None, resource: str = "") -> None:
        """Bind a role; None is every permission."""
        kept = None if permissions is None else frozenset(permissions)
        self.bindings.append(Binding(principal, kept, resource))

    def issue(self, principal: str, seconds: float, prefix: str = "ya29.fake") -> str:
        """A new access token."""
        token = f"{prefix}-{next(self._numbers)}-{'x' * 24}"
        self.tokens[token] = (principal, self.clock() + seconds)
        return token

    def who(self, call: Call) -> str | None:
        """The principal of a request; None for a token that is none, or ended."""
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        principal, ends = self.tokens.get(token, ("", 0.0))
        return principal if ends > self.clock() else None

    def may(self, principal: str, permission: str, resource: str) -> bool:
        if permission in self.denied:
            return False
        return any(binding.covers(principal, permission, resource) for binding in self.bindings)


class GoogleApi(FakeApi):
    """A server of some of Google's APIs. A subclass has a method for each id, with `_` for dots and dashes."""

    documents: ClassVar[Sequence[str]] = ()
    old: ClassVar[bool] = False
    """Whether its errors have the older form."""

    def __init__(self, iam: Iam | None = None) -> None:
        super().__init__()
        self.iam = iam or Iam()
        self.judge = Judge(*self.documents)
        self.problems: list[str] = []
        self.principal = ""

    def handle(self, call: Call) -> Answer:
        found = self.judge.find(call)
        if found is None:
            self.problems.append(f"no such method: {call.method} {call.target}")
            return Answer(404, b"<html>not found</html>", {"Content-Type": "text/html"})
        method, parts = found
        with self.lock:
            try:
                return self._handle(method, parts, call)
            except ApiError as error:
                return error.answer

    def _handle(self, method: Method, parts: tuple[str, ...], call: Call) -> Answer:
        wrong = self.judge.request(method, call)
        if wrong:
            self.problems += wrong
            raise self.error(400, "badRequest", "INVALID_ARGUMENT", "; ".join(wrong))
        principal = self.authenticate(call)
        if principal is None:
            text = "Request had invalid authentication credentials. Expected OAuth 2 access token."
            raise self.error(401, "authError", "UNAUTHENTICATED", text)
        self.principal = principal
        document = self.dispatch(call, method.id.partition(".")[2], parts)
        wrong = self.judge.response(method, document)
        self.problems += wrong
        assert not wrong, wrong
        return Answer.of(document)

    def dispatch(self, call: Call, name: str, parts: tuple[str, ...]) -> Document:
        """Carry out a method, `managedZones.list`, on a resource whose identifiers are `parts`."""
        do: Callable[..., Document] = getattr(self, name.replace(".", "_"))
        return do(call, *parts)

    def authenticate(self, call: Call) -> str | None:
        return self.iam.who(call)

    def error(self, code: int, reason: str, status: str, message: str) -> ApiError:
        return old_error(code, reason, message) if self.old else new_error(code, status, message)

    def require(self, permission: str, resource: str) -> None:
        """Raises 403 if the caller lacks a permission; notes that it was needed."""
        self.iam.used.add((permission, resource))
        if self.iam.may(self.principal, permission, resource):
            return
        if self.old:
            raise old_error(403, "forbidden", f"Permission '{permission}' denied on resource '{resource}'")
        raise new_error(
            403,
            "PERMISSION_DENIED",
            f"Permission '{permission}' denied for resource '{resource}' (or it may not exist).",
            "IAM_PERMISSION_DENIED",
            permission=permission,
            resource=resource,
        )

    def held(self, call: Call, resource: str) -> Document:
        """The answer to testIamPermissions."""
        asked = call.json.get("permissions", [])
        held = [name for name in asked if self.iam.may(self.principal, name, resource)]
        return {"permissions": held} if held else {}

    def forgive(self) -> None:
        """No more faults."""
        with self.lock:
            self._faults.clear()

    def count(self, verb: str, path: str = "") -> int:
        """How many calls there were with a verb whose path holds a text."""
        return sum(call.method == verb and path in call.path for call in self.calls)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if error is None:
            assert not self.problems, self.problems
