"""The wire of AWS, as botocore's models describe it: requests are read and judged by them, and replies are made.

Nothing of botocore's client code takes part in reading a request; its validator and its serializer then judge what was
read: the same bytes must come out again. Its parser reads back each reply that is made here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree as ET

from botocore import parsers, serialize, validate
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape

from tests.clouds.api import Answer, Call

SKEW = 300


class WireFault(Exception):
    """A request that AWS would not understand: always a defect of the client."""


@functools.lru_cache
def service(name: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(name, "service-2"), name)


def read_rest_xml(model: ServiceModel, call: Call) -> tuple[str, dict[str, Any]]:
    """The operation and its parameters. Raises `WireFault`."""
    path = urlsplit(call.target).path
    for name in model.operation_names:
        operation = model.operation_model(name)
        match = _pattern(operation).fullmatch(path)
        if match and operation.http["method"] == call.method:
            found = _read(operation, call, match.groupdict())
            _judge(model, operation, found, call)
            return name, found
    raise WireFault(f"no operation for {call.method} {call.path}")


def read_query(model: ServiceModel, call: Call) -> tuple[str, dict[str, Any]]:
    """The operation and its (flat) parameters of the query protocol. Raises `WireFault`."""
    form = {key: values[0] for key, values in parse_qs(call.body.decode(), keep_blank_values=True).items()}
    name = form.pop("Action")
    if form.pop("Version") != model.api_version:
        raise WireFault("another API version")
    operation = model.operation_model(name)
    _validate(operation, form)
    return name, form


def answer(model: ServiceModel, name: str, result: Mapping[str, Any]) -> Answer:
    """The reply with a result, which botocore must read as just that."""
    operation = model.operation_model(name)
    shape = operation.output_shape
    assert shape is not None
    wrapper = shape.serialization.get("resultWrapper")
    root = ET.Element(shape.name if wrapper is None else f"{name}Response", xmlns=_namespace(model))
    _write_members(root if wrapper is None else ET.SubElement(root, wrapper), shape, result)
    reply = Answer(200, b'<?xml version="1.0"?>\n' + ET.tostring(root), {"Content-Type": "text/xml"})
    response = {"status_code": 200, "headers": {}, "body": reply.body}
    parsed = parsers.create_parser(model.metadata["protocol"]).parse(response, shape)
    parsed.pop("ResponseMetadata", None)
    assert parsed == result, (parsed, result)
    return reply


def error(model: ServiceModel, status: int, code: str, message: str) -> Answer:
    root = ET.Element("ErrorResponse", xmlns=_namespace(model))
    inner = ET.SubElement(root, "Error")
    for tag, text in (("Type", "Sender"), ("Code", code), ("Message", message)):
        ET.SubElement(inner, tag).text = text
    ET.SubElement(root, "RequestId").text = "11111111-2222-3333-4444-555555555555"
    return Answer(status, b'<?xml version="1.0"?>\n' + ET.tostring(root), {"Content-Type": "text/xml"})


# --- signatures


def key_id_of(call: Call) -> str | None:
    match = re.match(r"AWS4-HMAC-SHA256 Credential=([^/]+)/", call.headers.get("authorization", ""))
    return match[1] if match else None


def skew(call: Call, now: datetime) -> float:
    """Seconds between the time of a request and another."""
    at = datetime.strptime(call.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    return abs((now - at).total_seconds())


def signed_by(call: Call, secret: str, token: str | None, url: str) -> bool:
    """Whether the signature is that of the secret, over exactly this request."""
    header = call.headers["authorization"]
    match = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=[^/]+/(\d{8})/([\w-]+)/(\w+)/aws4_request, SignedHeaders=([\w;-]+), "
        r"Signature=([0-9a-f]{64})",
        header,
    )
    if match is None or call.headers.get("x-amz-security-token") != token:
        return False
    _, region, name, signed, signature = match.groups()
    if token is not None and "x-amz-security-token" not in signed.split(";"):
        return False
    headers = {key: value for key, value in call.headers.items() if key in signed.split(";")}
    request = AWSRequest(call.method, url + call.target, headers, call.body)
    request.context["timestamp"] = call.headers["x-amz-date"]
    auth = SigV4Auth(Credentials(key_id_of(call), secret), name, region)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return bool(auth.signature(text, request) == signature)


# --- requests


@functools.lru_cache
def _template(uri: str) -> re.Pattern[str]:
    path = uri.partition("?")[0].removesuffix("/")
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path)) + "/?")


def _pattern(operation: OperationModel) -> re.Pattern[str]:
    return _template(operation.http["requestUri"])


def _read(operation: OperationModel, call: Call, in_path: Mapping[str, str]) -> dict[str, Any]:
    shape = operation.input_shape
    assert shape is not None
    found: dict[str, Any] = {}
    for name, member in shape.members.items():
        key = member.serialization.get("name", name)
        if member.serialization.get("location") == "uri":
            found[name] = in_path[key]
        elif member.serialization.get("location") == "querystring" and key in call.query:
            found[name] = call.query[key][0]
    known = {member.serialization.get("name", name) for name, member in shape.members.items()}
    if set(call.query) - known:
        raise WireFault(f"unknown parameters {set(call.query) - known}")
    if call.body:
        root = ET.fromstring(call.body)
        if root.tag != f"{{{_namespace(operation.service_model)}}}{shape.serialization['name']}":
            raise WireFault(f"the root is {root.tag}")
        found |= _read_members(root, shape)
    return found


def _read_members(element: ET.Element, shape: Shape) -> dict[str, Any]:
    names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
    found: dict[str, Any] = {}
    for child in element:
        tag = child.tag.rpartition("}")[2]
        if tag not in names or names[tag] in found:
            raise WireFault(f"{tag} is no member of {shape.name}, or there twice")
        found[names[tag]] = _read_value(child, shape.members[names[tag]])
    return found


def _read_value(element: ET.Element, shape: Shape) -> Any:
    if shape.type_name == "structure":
        return _read_members(element, shape)
    if shape.type_name == "list":
        return [_read_value(child, shape.member) for child in element]
    text = element.text or ""
    if shape.type_name in {"integer", "long"}:
        return int(text)
    return {"true": True, "false": False}[text] if shape.type_name == "boolean" else text


def _judge(model: ServiceModel, operation: OperationModel, found: dict[str, Any], call: Call) -> None:
    """Validate the parameters, and make the request of them again: it must be the one that came."""
    _validate(operation, found)
    again = serialize.create_serializer(model.metadata["protocol"], include_validation=True)
    made = again.serialize_to_request(found, operation)
    body = made["body"].encode() if isinstance(made["body"], str) else made["body"] or b""
    if _canonical(body) != _canonical(call.body):
        raise WireFault(f"a body that botocore would write otherwise:\n{call.body!r}\n{body!r}")
    query = {key: quote(str(value), safe="") for key, value in made["query_string"].items()}
    if query != {key: quote(values[0], safe="") for key, values in call.query.items()}:
        raise WireFault(f"a query that botocore would write otherwise: {call.target}")


def _canonical(body: bytes) -> bytes:
    return ET.canonicalize(body.decode()).encode() if body else b""


def _validate(operation: OperationModel, found: Mapping[str, Any]) -> None:
    report = validate.ParamValidator().validate(found, operation.input_shape)
    if report.has_errors():
        raise WireFault(report.generate_report())


# --- replies


def _namespace(model: ServiceModel) -> str:
    return str(model.metadata.get("xmlNamespace") or f"https://{model.endpoint_prefix}.amazonaws.com/doc/2013-04-01/")


def _write_members(element: ET.Element, shape: Shape, values: Mapping[str, Any]) -> None:
    unknown = set(values) - set(shape.members)
    assert not unknown, f"{unknown} are no members of {shape.name}"
    for name, member in shape.members.items():  # in the model's order, as AWS does
        if name in values:
            _write(element, member.serialization.get("name", name), member, values[name])


def _write(parent: ET.Element, tag: str, shape: Shape, value: Any) -> None:
    element = ET.SubElement(parent, tag)
    if shape.type_name == "structure":
        _write_members(element, shape, value)
    elif shape.type_name == "list":
        for item in value:
            _write(element, shape.member.serialization.get("name", "member"), shape.member, item)
    elif shape.type_name == "timestamp":
        element.text = value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    else:
        element.text = str(value).lower() if shape.type_name == "boolean" else str(value)


def operations(calls: list[Call], model: ServiceModel) -> Iterator[str]:
    """The operations of the recorded calls, in order."""
    for call in calls:
        if call.path != "/":
            yield read_rest_xml(model, call)[0]
