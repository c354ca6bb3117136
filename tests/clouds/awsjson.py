"""Services of AWS that speak JSON 1.1, judged by botocore's own model of them: what comes in and what goes out."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import botocore.loaders
from botocore.model import ServiceModel, Shape

from tests.clouds import iam
from tests.clouds.api import Answer, Call, FakeApi
from tests.clouds.iam import Context

ACCOUNT = "123456789012"
REGION = "eu-west-1"
ROLE = f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/run"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Refused(Exception):
    """What the service answers in place of a result."""

    def __init__(self, code: str, message: str = "words", status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.status = status


def denied(action: str, resource: str = "*") -> Refused:
    """As IAM words it."""
    return Refused(
        "AccessDeniedException",
        f"User: {ROLE} is not authorized to perform: {action} on resource: {resource} because no identity-based "
        f"policy allows the {action} action",
    )


class Permissions:
    """What the caller may do: everything by default."""

    def __init__(self) -> None:
        self.policy: str | None = None

    def allows(self, action: str, resource: str = "*", context: Context | None = None) -> bool:
        return self.policy is None or iam.allows([self.policy], action, resource, context or {})

    def only(self, *actions: str) -> AbstractContextManager[None]:
        """Within, these actions are allowed, on everything."""
        statement = {"Effect": "Allow", "Action": sorted(actions), "Resource": "*"}
        return self.under(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))

    @contextmanager
    def under(self, policy: str) -> Iterator[None]:
        """Within, what this policy allows, with its resources and conditions."""
        before, self.policy = self.policy, policy
        try:
            yield
        finally:
            self.policy = before


class AwsJson(FakeApi):
    """A subclass has a method for every operation that it knows, by its name (`CreateSecret`).

    Writes of a subclass go through `wrote`: they are counted, and refused while `broken` is a code.
    """

    SERVICE: ClassVar[str]
    IAM: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.model = _model(self.SERVICE)
        self.iam = Permissions()
        self.writes = 0
        self.broken: str | None = None

    def asked(self) -> list[str]:
        """The operations that were called so far."""
        return [operation_of(call) for call in self.calls]

    def handle(self, call: Call) -> Answer:
        try:
            self._require_signed(call)
            operation = operation_of(call)
            shape = self.model.operation_model(operation)
            request = _request(shape.input_shape, call.json)
            self._allow(f"{self.IAM}:{operation}", request)
            with self.lock:
                reply = getattr(self, operation)(request) or {}
            problems = list(conform(shape.output_shape, reply)) if shape.output_shape else []
            assert not problems, f"the fake answers {operation} as no service would: {problems}"
            return Answer(200, json.dumps(_wire(reply)).encode(), {"Content-Type": "application/x-amz-json-1.1"})
        except Refused as refused:
            return error(refused)
        except Exception as defect:
            return error(Refused("DefectOfTheFake", f"{type(defect).__name__}: {defect}"))

    def arn(self, request: dict[str, Any]) -> str:
        """The resource that IAM names."""
        del request
        return "*"

    def context(self, request: dict[str, Any]) -> Context:
        """The keys that conditions of a policy may ask for."""
        del request
        return {}

    def wrote(self) -> None:
        """A change is about to be made."""
        if self.broken is not None:
            raise Refused(self.broken)
        self.writes += 1

    def _allow(self, action: str, request: dict[str, Any]) -> None:
        if not self.iam.allows(action, self.arn(request), self.context(request)):
            raise denied(action, self.arn(request))

    def _require_signed(self, call: Call) -> None:
        authorization = call.headers.get("authorization", "")
        if f"/{REGION}/{self.SERVICE}/aws4_request" not in authorization or "x-amz-date" not in call.headers:
            raise Refused("IncompleteSignature")
        assert call.headers["content-type"] == "application/x-amz-json-1.1"


def error(refused: Refused) -> Answer:
    """An error of JSON 1.1."""
    return Answer.of({"__type": refused.code, "message": refused.message}, refused.status)


def operation_of(call: Call) -> str:
    """`secretsmanager.CreateSecret` is CreateSecret."""
    return call.headers.get("x-amz-target", "").rpartition(".")[2]


def is_operation(*names: str) -> Callable[[Call], bool]:
    """For `FakeApi.fail`."""
    return lambda call: operation_of(call) in names


def conform(shape: Shape, value: Any, where: str = "") -> Iterator[str]:  # noqa: C901, PLR0912 - one case a type
    """What the model has against a value: types, unknown and missing members, enumerations, lengths, patterns."""
    limits = shape.metadata
    if shape.type_name == "structure":
        if not isinstance(value, dict):
            yield f"{where} is no structure"
            return
        for name in set(value) - set(shape.members):
            yield f"{where}.{name} is unknown"
        for name in shape.required_members:
            if name not in value:
                yield f"{where}.{name} is missing"
        for name, member in shape.members.items():
            if name in value:
                yield from conform(member, value[name], f"{where}.{name}")
    elif shape.type_name == "list":
        if not isinstance(value, list):
            yield f"{where} is no list"
            return
        yield from _length(limits, len(value), where)
        for index, item in enumerate(value):
            yield from conform(shape.member, item, f"{where}[{index}]")
    elif shape.type_name == "map":
        for name, item in value.items():
            yield from conform(shape.key, name, f"{where} key {name}")
            yield from conform(shape.value, item, f"{where}.{name}")
    elif shape.type_name in {"integer", "long"}:
        if not isinstance(value, int) or isinstance(value, bool):
            yield f"{where} is no number"
    elif shape.type_name == "boolean":
        if not isinstance(value, bool):
            yield f"{where} is no boolean"
    elif shape.type_name == "timestamp":
        if not isinstance(value, float):
            yield f"{where} is no time"
    elif shape.type_name == "blob":
        if not isinstance(value, bytes):
            yield f"{where} is no blob"
        else:
            yield from _length(limits, len(value), where)
    elif shape.type_name == "string":
        yield from _string(shape, value, where)


def _string(shape: Any, value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{where} is no string"
        return
    yield from _length(shape.metadata, len(value), where)
    if shape.enum and value not in shape.enum:
        yield f"{where} is none of {shape.enum}"
    pattern = shape.metadata.get("pattern")
    if pattern and not _pattern(pattern).fullmatch(value):
        yield f"{where} does not fit {pattern}"


def _pattern(pattern: str) -> re.Pattern[str]:
    """Java's classes of letters, spaces and digits, in Python's words."""
    text = pattern.replace(r"\p{L}", r"^\W\d_".replace("^\\W\\d_", "a-zA-Z\u00c0-\u024f"))
    text = text.replace(r"\p{Z}", " ").replace(r"\p{N}", "0-9")
    return re.compile(re.sub(r"\\u([0-9A-F]{4})", lambda found: f"\\x{found[1][2:]}", text))


def _length(limits: Any, length: int, where: str) -> Iterator[str]:
    if not limits.get("min", 0) <= length <= limits.get("max", 1 << 40):
        yield f"{where} has the length {length}, which is not between {limits.get('min')} and {limits.get('max')}"


def _request(shape: Any, document: Any) -> dict[str, Any]:
    request: dict[str, Any] = _unwire(shape, document or {})
    problems = list(conform(shape, request))
    if problems:
        raise Refused("ValidationException", f"{len(problems)} validation errors detected: {problems[0]}")
    return request


def _unwire(shape: Any, value: Any) -> Any:
    """Blobs out of their base64."""
    if shape.type_name == "structure" and isinstance(value, dict):
        members = shape.members
        return {name: _unwire(members[name], item) if name in members else item for name, item in value.items()}
    if shape.type_name == "list":
        return [_unwire(shape.member, item) for item in value]
    if shape.type_name == "blob":
        return base64.b64decode(value, validate=True)
    return value


def _wire(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _wire(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_wire(item) for item in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _model(service: str) -> ServiceModel:
    return ServiceModel(botocore.loaders.Loader().load_service_model(service, "service-2"), service)
