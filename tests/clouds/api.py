"""A web API on loopback that a fake of a cloud derives from: calls are recorded, and as unreliable as a test wants."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.connections import hang_up

Api = TypeVar("Api", bound="FakeApi")


@dataclass
class Call:
    """A request. `path` is decoded and without query; header names are lower-case."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    target: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    def one(self, name: str) -> str | None:
        """The query parameter, None if it is not there."""
        values = self.query.get(name)
        return values[0] if values else None


@dataclass
class Answer:
    """A reply; `of` makes one of JSON."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Any, status: int = 200, **headers: str) -> Answer:
        return cls(status, json.dumps(document).encode(), {"Content-Type": "application/json", **headers})


Fault = Callable[[Call, Callable[[Call], Answer]], "Answer | None"]
"""What happens to a call instead of doing it; None: the connection ends without an answer."""


def lose_reply(call: Call, do: Callable[[Call], Answer]) -> None:
    """The call is carried out, and its answer is lost with the connection."""
    do(call)


def lose_call(call: Call, do: Callable[[Call], Answer]) -> None:
    """The connection ends before anything is done."""


def commit_then(answer: Answer) -> Fault:
    """The call is carried out, and a gateway answers something else (a 503)."""

    def fault(call: Call, do: Callable[[Call], Answer]) -> Answer:
        do(call)
        return answer

    return fault


def refuse(answer: Answer) -> Fault:
    """Nothing is done, and this is answered."""
    return lambda _call, _do: answer


class FakeApi:
    """A context manager. A subclass says in `handle` what a call does; it is called from many threads.

    Every fault is used once, by the first call that its predicate fits.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:  # noqa: C901 - the handler is inside
        self.calls: list[Call] = []
        self.connections: list[socket.socket] = []
        self.lock = threading.RLock()
        self._faults: list[tuple[Callable[[Call], bool], Fault]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                return

            def setup(self) -> None:
                super().setup()
                outer.connections.append(self.connection)

            def answer(self) -> None:
                body = self._body()
                parts = urlsplit(self.path)
                call = Call(
                    self.command,
                    unquote(parts.path),
                    parse_qs(parts.query, keep_blank_values=True),
                    {name.lower(): value for name, value in self.headers.items()},
                    body,
                    self.path,
                )
                reply = outer.respond(call)
                if reply is None:
                    self.close_connection = True
                    with contextlib.suppress(OSError):
                        self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.status != 204:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                data = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return data

            do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_HEAD = answer  # noqa: N815

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                return  # a client that went away

        self._server = Server(("127.0.0.1", 0), Handler)
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def handle(self, call: Call) -> Answer:
        """Carry a call out."""
        raise NotImplementedError

    def fail(self, when: Callable[[Call], bool], fault: Fault, times: int = 1) -> None:
        """Let the next `times` calls that fit fail in this way."""
        with self.lock:
            self._faults += [(when, fault)] * times

    def respond(self, call: Call) -> Answer | None:
        with self.lock:
            self.calls.append(call)
            chosen = next((entry for entry in self._faults if entry[0](call)), None)
            if chosen is not None:
                self._faults.remove(chosen)
        return self.handle(call) if chosen is None else chosen[1](call, self.handle)

    def __enter__(self: Api) -> Api:  # noqa: PYI019 - typing.Self is of Python 3.11
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        hang_up(self.connections)
        self._thread.join(10)
