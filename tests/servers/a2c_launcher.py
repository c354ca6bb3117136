"""Runs acme2certifier's WSGI application: `launcher.py PORT DNS_PORT`, by the Python that it is installed for.

It has no setting for the port of the name server, so that every resolver of its process gets ours.
"""

from __future__ import annotations

import importlib
import sys
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

import dns.resolver


class Threads(ThreadingMixIn, WSGIServer):
    """A request does not wait for another."""

    daemon_threads = True


def main(port: int, dns_port: int) -> None:
    """Serve until the process is ended."""
    make = dns.resolver.Resolver.__init__

    def with_port(self: dns.resolver.Resolver, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        self.port = dns_port

    dns.resolver.Resolver.__init__ = with_port  # type: ignore[method-assign, assignment]  # a patch
    application = importlib.import_module("acme2certifier.share.acme2certifier_wsgi").application
    make_server("127.0.0.1", port, application, Threads).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
