"""Object storage on loopback, as strict as the services are about conditions, and as unreliable as a test wants.

Three faces of one store: Amazon S3 (REST), Google Cloud Storage (JSON API), Azure Blob Storage (REST). Signatures and
tokens have to be there and are not verified.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.servers.connections import hang_up

BUCKET = "bucket1"
PAGE = 3
"""Objects on a page of a listing: few, so that every listing has pages."""


@dataclass
class Call:
    """A request as the store understood it. `condition` is absent, a tag, or nothing."""

    method: str
    name: str
    body: bytes = b""
    absent: bool = False
    tag: str | None = None
    prefix: str = ""
    page: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Fault = Callable[[Call, Callable[[Call], Answer]], Answer | None]
"""What happens to a request instead of doing it; None: the connection ends without an answer."""


class Store:
    """Objects under conditions, one change at a time."""

    def __init__(self, tag: Callable[[int, bytes], str]) -> None:
        self.lock = threading.Lock()
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.count = 1_000_000
        self._tag = tag

    def put(self, call: Call) -> str:
        """The new tag, or why not: `exists`, `missing`, `changed`."""
        with self.lock:
            found = self.objects.get(call.name)
            if call.absent and found:
                return "exists"
            if call.tag is not None and (found is None or found[1] != call.tag):
                return "missing" if found is None else "changed"
            self.count += 1
            tag = self._tag(self.count, call.body)
            self.objects[call.name] = (call.body, tag)
            return tag

    def delete(self, call: Call) -> str:
        with self.lock:
            found = self.objects.get(call.name)
            if found is None:
                return "missing"
            if call.tag is not None and found[1] != call.tag:
                return "changed"
            del self.objects[call.name]
            return "done"

    def page(self, call: Call) -> tuple[list[tuple[str, int]], str | None]:
        with self.lock:
            names = sorted((name for name in self.objects if name.startswith(call.prefix)), key=str.encode)
            after = [name for name in names if call.page is None or name > call.page]
            found = [(name, len(self.objects[name][0])) for name in after[:PAGE]]
        return found, found[-1][0] if len(after) > PAGE else None


class Buckets:
    """A server of one face: `s3`, `gs` or `az`. Everything is in `BUCKET`."""

    def __init__(self, face: str) -> None:
        self.face: Face = {"s3": S3Face, "gs": GsFace, "az": AzFace}[face]()
        self.scheme = face
        self.calls: list[Call] = []
        self.faults: list[tuple[Callable[[Call], bool], Fault]] = []
        self.connections: list[socket.socket] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                outer.connections.append(self.connection)

            def log_message(self, *_: object) -> None:
                return

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = outer.respond(self.command, self.path, self.headers, body)
                if answer is None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response_only(answer.status)
                self.send_header("Date", formatdate(usegmt=True))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                return  # a client that was killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def store(self) -> Store:
        return self.face.store

    def environment(self) -> dict[str, str]:
        """What points the product here."""
        return self.face.environment(self.url)

    def inject(self, fault: Fault, *, times: int = 1, when: Callable[[Call], bool] = lambda call: True) -> None:
        """Let the next requests that `when` is true for go wrong."""
        with self._lock:
            self.faults += [(when, fault)] * times

    def hang_up(self) -> None:
        """End all connections, which are idle."""
        hang_up(self.connections)

    def respond(self, method: str, target: str, headers: Any, body: bytes) -> Answer | None:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        lower = {name.lower(): value for name, value in headers.items()}
        call = self.face.admit(parts.path, query, lower, body) or self.face.understand(
            method, parts.path, query, lower, body
        )
        if isinstance(call, Answer):
            return call
        with self._lock:
            self.calls.append(call)
            index = next((i for i, (when, _) in enumerate(self.faults) if when(call)), None)
            fault = self.faults.pop(index)[1] if index is not None else None
        return fault(call, self.face.carry_out) if fault else self.face.carry_out(call)

    def __enter__(self) -> Buckets:  # noqa: PYI034 - typing.Self came with Python 3.11
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.hang_up()


class Face:
    """What a service's requests and answers look like."""

    store: Store
    throttled: ClassVar[Answer]

    def environment(self, url: str) -> dict[str, str]:
        raise NotImplementedError

    def admit(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Answer | None:
        """Why it is not even looked at."""
        raise NotImplementedError

    def understand(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Call | Answer:
        raise NotImplementedError

    def found(self, body: bytes, tag: str) -> Answer:
        raise NotImplementedError

    def stored(self, tag: str) -> Answer:
        raise NotImplementedError

    def refused(self, why: str, call: Call) -> Answer:
        raise NotImplementedError

    def listing(self, found: list[tuple[str, int]], following: str | None) -> Answer:
        raise NotImplementedError

    deleted = 204

    def carry_out(self, call: Call) -> Answer:
        if call.method == "LIST":
            return self.listing(*self.store.page(call))
        if call.method == "GET":
            found = self.store.objects.get(call.name)
            return self.found(*found) if found else self.refused("missing", call)
        outcome = self.store.put(call) if call.method == "PUT" else self.store.delete(call)
        if outcome in {"exists", "missing", "changed"}:
            return self.refused(outcome, call)
        return Answer(self.deleted) if call.method == "DELETE" else self.stored(outcome)


def _s3_error(status: int, code: str) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code><Message>words</Message></Error>".encode())


class S3Face(Face):
    throttled = _s3_error(503, "SlowDown")

    def __init__(self) -> None:
        self.store = Store(lambda _, body: f'"{hashlib.md5(body).hexdigest()}"')

    def environment(self, url: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_S3": url,
            "AWS_ACCESS_KEY_ID": "AKID",
            "AWS_SECRET_ACCESS_KEY": "hunter2",
            "AWS_SESSION_TOKEN": "hunter3",
            "AWS_REGION": "eu-west-1",
        }

    def admit(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Answer | None:
        if "Credential=AKID/" not in headers.get("authorization", "") or "x-amz-date" not in headers:
            return _s3_error(403, "AccessDenied")
        if headers.get("x-amz-content-sha256") != hashlib.sha256(body).hexdigest():
            return _s3_error(400, "XAmzContentSHA256Mismatch")
        return None if path.split("/")[1] == BUCKET else _s3_error(404, "NoSuchBucket")

    def understand(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Call | Answer:
        name = unquote(path).lstrip("/").partition("/")[2]
        if not name:
            if method != "GET" or query.get("list-type") != "2":
                return _s3_error(405, "MethodNotAllowed")
            return Call("LIST", "", prefix=query["prefix"], page=query.get("continuation-token"), headers=headers)
        absent = "if-none-match" in headers
        if absent and (method != "PUT" or headers["if-none-match"] != "*"):
            return _s3_error(501, "NotImplemented")
        return Call(method, name, body, absent, headers.get("if-match"), headers=headers)

    def found(self, body: bytes, tag: str) -> Answer:
        return Answer(200, body, {"ETag": tag})

    def stored(self, tag: str) -> Answer:
        return Answer(200, b"", {"ETag": tag})

    def refused(self, why: str, call: Call) -> Answer:
        if why != "missing":
            return _s3_error(412, "PreconditionFailed")
        return Answer(204) if call.method == "DELETE" and call.tag is None else _s3_error(404, "NoSuchKey")

    def listing(self, found: list[tuple[str, int]], following: str | None) -> Answer:
        items = "".join(f"<Contents><Key>{escape(n)}</Key><Size>{size}</Size></Contents>" for n, size in found)
        more = f"<NextContinuationToken>{escape(following)}</NextContinuationToken>" if following else ""
        truncated = "true" if following else "false"
        text = f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{items}{more}</ListBucketResult>"
        return Answer(200, text.encode())


def _gs_error(status: int, reason: str, message: str = "words") -> Answer:
    document = {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}
    return Answer(status, json.dumps(document).encode())


class GsFace(Face):
    throttled = _gs_error(429, "rateLimitExceeded")

    def __init__(self) -> None:
        self.store = Store(lambda count, _: str(count))

    def environment(self, url: str) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": url}

    def admit(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Answer | None:
        if set(query) - {"alt", "uploadType", "name", "ifGenerationMatch", "prefix", "pageToken", "fields"}:
            return _gs_error(400, "invalidParameter")
        if not query.get("ifGenerationMatch", "0").isdigit():
            return _gs_error(400, "invalid")
        if f"/storage/v1/b/{BUCKET}/o" not in path:
            return _gs_error(404, "notFound", "The specified bucket does not exist.")
        return None

    def understand(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Call | Answer:
        kind, _, name = path.partition(f"/b/{BUCKET}/o")
        match = query.get("ifGenerationMatch")
        absent, tag = match == "0", match if match != "0" else None
        if kind == "/upload/storage/v1" and method == "POST" and query.get("uploadType") == "media":
            return Call("PUT", query["name"], body, absent, tag, headers=headers)
        if not name:
            return Call("LIST", "", prefix=query.get("prefix", ""), page=query.get("pageToken"), headers=headers)
        if method == "GET" and query.get("alt") != "media":
            return _gs_error(400, "not what the engine wants")
        return Call(method, unquote(name[1:]), tag=tag, headers=headers)

    def found(self, body: bytes, tag: str) -> Answer:
        return Answer(200, body, {"X-Goog-Generation": tag, "ETag": "not a condition"})

    def stored(self, tag: str) -> Answer:
        return Answer(200, json.dumps({"kind": "storage#object", "generation": tag}).encode())

    def refused(self, why: str, call: Call) -> Answer:
        if why == "missing" and call.method != "PUT":
            return Answer(404, f"No such object: {BUCKET}/{call.name}".encode())
        return _gs_error(412, "conditionNotMet")

    def listing(self, found: list[tuple[str, int]], following: str | None) -> Answer:
        document: dict[str, Any] = {"items": [{"name": n, "size": str(size)} for n, size in found]} if found else {}
        return Answer(200, json.dumps(document | ({"nextPageToken": following} if following else {})).encode())


def _az_error(status: int, code: str) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code></Error>".encode(), {"x-ms-error-code": code})


class AzFace(Face):
    throttled = _az_error(503, "ServerBusy")
    deleted = 202

    def __init__(self) -> None:
        self.store = Store(lambda count, _: f'"0x8D{count:X}"')

    def environment(self, url: str) -> dict[str, str]:
        return {
            "AZURE_STORAGE_CONNECTION_STRING": "AccountName=account1;AccountKey=aHVudGVyMg==;"
            f"BlobEndpoint={url}/account1"
        }

    def admit(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Answer | None:
        authorized = "authorization" in headers or "sig" in query
        if not authorized or "x-ms-version" not in headers or "x-ms-date" not in headers:
            return _az_error(403, "AuthenticationFailed")
        return None if path.split("/")[2] == BUCKET else _az_error(404, "ContainerNotFound")

    def understand(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Call | Answer:
        names = unquote(path).split("/")[3:]
        if not names:
            if query.get("comp") != "list" or query.get("restype") != "container":
                return _az_error(400, "InvalidQueryParameterValue")
            return Call("LIST", "", prefix=query["prefix"], page=query.get("marker"), headers=headers)
        if method == "PUT" and headers.get("x-ms-blob-type") != "BlockBlob":
            return _az_error(400, "InvalidHeaderValue")
        absent = headers.get("if-none-match") == "*"
        return Call(method, "/".join(names), body, absent, headers.get("if-match"), headers=headers)

    def found(self, body: bytes, tag: str) -> Answer:
        return Answer(200, body, {"ETag": tag})

    def stored(self, tag: str) -> Answer:
        return Answer(201, b"", {"ETag": tag})

    def refused(self, why: str, call: Call) -> Answer:
        if why == "exists":
            return _az_error(409, "BlobAlreadyExists")
        if why == "missing" and call.method != "PUT":
            return _az_error(404, "BlobNotFound")
        return _az_error(412, "ConditionNotMet")

    def listing(self, found: list[tuple[str, int]], following: str | None) -> Answer:
        items = "".join(
            f"<Blob><Name>{escape(n)}</Name><Properties><Content-Length>{size}</Content-Length></Properties></Blob>"
            for n, size in found
        )
        more = f"<NextMarker>{escape(following)}</NextMarker>" if following else "<NextMarker />"
        text = f"<EnumerationResults><Blobs>{items}</Blobs>{more}</EnumerationResults>"
        return Answer(200, b"\xef\xbb\xbf" + text.encode())


# --- faults ----------------------------------------------------------------------------------------------------------


def lost_reply(call: Call, carry_out: Callable[[Call], Answer]) -> None:
    """Done, and the connection ends."""
    carry_out(call)


def unseen(call: Call, carry_out: Callable[[Call], Answer]) -> None:
    """Not done, and the connection ends."""


def failed_after(call: Call, carry_out: Callable[[Call], Answer]) -> Answer:
    """Done, and a proxy says otherwise."""
    carry_out(call)
    return Answer(502, b"<html>bad gateway</html>")


def failed_before(call: Call, carry_out: Callable[[Call], Answer]) -> Answer:
    """Not done."""
    return Answer(500, b"")


def answer(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Not done, and this is said."""
    return lambda call, carry_out: Answer(status, body, {n.replace("_", "-"): v for n, v in headers.items()})


def meanwhile(act: Callable[[], object]) -> Fault:
    """Somebody else acts just before the request is carried out."""

    def fault(call: Call, carry_out: Callable[[Call], Answer]) -> Answer:
        act()
        return carry_out(call)

    return fault


def then_lost(act: Callable[[], object]) -> Fault:
    """Done, somebody else acts, and no reply comes."""

    def fault(call: Call, carry_out: Callable[[Call], Answer]) -> None:
        carry_out(call)
        act()

    return fault
