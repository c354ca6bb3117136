"""A forward proxy on loopback, a company's only way out: whatever host is named, it leads to one server."""

from __future__ import annotations

import socket
import threading
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class ForwardProxy:
    """A context manager; `url` is for HTTP_PROXY, `asked` the hosts that it was asked for."""

    def __init__(self, port: int) -> None:
        self.asked: set[str] = set()
        self._port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Any:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(proxy: ForwardProxy) -> type[BaseHTTPRequestHandler]:  # noqa: N805  # the handler has a self of its own
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                """A tunnel."""
                proxy.asked.add(self.path.partition(":")[0])
                self.send_response(200)
                self.end_headers()
                with socket.create_connection(("127.0.0.1", proxy._port)) as server:
                    back = threading.Thread(target=_pump, args=(server, self.connection), daemon=True)
                    back.start()
                    _pump(self.connection, server)
                    back.join(5)
                self.close_connection = True

            def do_GET(self) -> None:
                """A request for a whole address."""
                parts = urlsplit(self.path)
                proxy.asked.add(parts.hostname or "")
                headers = {name: value for name, value in self.headers.items() if name in {"Authorization", "Accept"}}
                address = f"http://127.0.0.1:{proxy._port}{parts.path}"
                with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as reply:
                    body = reply.read()
                self.send_response(200)
                self.send_header("Content-Type", reply.headers["Content-Type"])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        return Handler


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
