"""A mirror of the package index on loopback, as companies have one: it passes on what it is asked for, or stalls, or
lacks a project, or forges a file."""

from __future__ import annotations

import base64
import io
import json
import os
import threading
import urllib.request
import zipfile
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urljoin

_UPSTREAM: Final = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"
_JSON: Final = "application/vnd.pypi.simple.v1+json"
_USER: Final = "mirror:s3cret/word"


class Mirror:
    """A context manager; `url` is the index, with the password that it wants."""

    def __init__(self, *, stalls_at: str = "", lacks: str = "", forges: str = "") -> None:
        self.files: dict[str, bytes] = {}
        """More files to serve, by name, at `/files/`, to anybody."""
        self.seen: list[str] = []
        """Names of projects whose pages, and of files that were asked for."""
        self.stalled = threading.Event()
        self._stalls_at = stalls_at
        self._lacks = lacks
        self._forges = forges
        self._freed = threading.Event()
        self._addresses: dict[str, str] = {}

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def root(self) -> str:
        user, _, password = _USER.partition(":")
        return f"http://{user}:{password.replace('/', '%2F')}@127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.root}/simple"

    def __enter__(self) -> Any:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._freed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str) -> tuple[str, bytes]:
        """The type and the content of a page or a file."""
        kind, _, name = path.strip("/").partition("/")
        self.seen.append(name)
        if self._stalls_at and name.startswith(self._stalls_at):
            self.stalled.set()
            self._freed.wait(60)
        if name in self.files:
            return "application/octet-stream", self.files[name]
        if kind == "files":
            content = _get(self._addresses[name], "*/*")
            forged = self._forges and name.startswith(self._forges)
            return "application/octet-stream", _forge(content) if forged else content
        if name.strip("/") == self._lacks:
            return _JSON, json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": []}).encode()
        page = json.loads(_get(f"{_UPSTREAM.rstrip('/')}/{name}/", _JSON))
        for file in page["files"]:
            self._addresses[file["filename"]] = urljoin(f"{_UPSTREAM}/{name}/", file["url"])
            file["url"] = f"/files/{file['filename']}"
            file.pop("core-metadata", None)
            file.pop("data-dist-info-metadata", None)
        return _JSON, json.dumps(page).encode()

    def _handler(mirror: Mirror) -> type[BaseHTTPRequestHandler]:  # noqa: N805  # the handler has a self of its own
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                wanted = "Basic " + base64.b64encode(_USER.encode()).decode()
                allowed = self.headers.get("Authorization") == wanted or self.path.rpartition("/")[2] in mirror.files
                kind, body = mirror.answer(self.path) if allowed else ("text/plain", b"who are you?")
                with suppress(OSError):
                    self.send_response(200 if allowed else 401)
                    if not allowed:
                        self.send_header("WWW-Authenticate", "Basic")
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        return Handler


def _forge(wheel: bytes) -> bytes:
    """The same wheel with one more file in it."""
    copy = io.BytesIO(wheel)
    with zipfile.ZipFile(copy, "a") as archive:
        archive.writestr("forged.pth", "import forged")
    return copy.getvalue()


def _get(url: str, accept: str) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as reply:
        content: bytes = reply.read()
        return content
