"""What TLS servers on loopback serve: by their names, also where nobody trusts it; and servers that do not."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from ci_acme.clock import SystemClock
from ci_acme.errors import Interrupted
from ci_acme.monitor.probe import Target, look
from ci_acme.ports import Deadline
from tests.servers.tls import tls_files


def deadline(seconds: float = 20) -> Deadline:
    return Deadline(SystemClock(), seconds)


@contextmanager
def listener(directory: Path, *, plain: bool = False, silent: bool = False) -> Iterator[tuple[int, list[str | None]]]:
    """A server, and the names that it was asked for."""
    directory.mkdir(parents=True)
    files = tls_files(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    asked: list[str | None] = []

    def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        asked.append(name)

    context.sni_callback = note
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                try:
                    if plain:
                        client.sendall(b"220 hello\r\n" * 10)
                    elif silent:
                        threading.Event().wait(3)
                    else:
                        context.wrap_socket(client, server_side=True).close()
                except OSError:
                    pass
                finally:
                    client.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], asked
        server.shutdown(socket.SHUT_RDWR)  # else it goes on to accept


def test_what_is_served_is_seen_under_the_name_that_is_asked(tmp_path: Path) -> None:
    with listener(tmp_path / "a") as (port, asked), listener(tmp_path / "b") as (other, _):
        targets = [Target("127.0.0.1", port, "www.example.test"), Target("127.0.0.1", other, "127.0.0.1")]
        found = look(targets, deadline())
        for one, place in zip(found, ("a", "b"), strict=True):
            assert isinstance(one, bytes), one
            expected = x509.load_pem_x509_certificate((tmp_path / place / "tls-cert.pem").read_bytes())
            assert x509.load_pem_x509_certificate(one) == expected
        assert asked == ["www.example.test"]


def test_servers_that_do_not_say(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with listener(tmp_path / "a", plain=True) as (plain, _):
        found = look([Target("127.0.0.1", port, "x.test"), Target("127.0.0.1", plain, "x.test")], deadline())
    assert found[0] == "the connection was refused"
    assert isinstance(found[1], str)
    assert found[1].startswith("no TLS handshake (")


def test_a_server_that_hangs_is_left_behind(tmp_path: Path) -> None:
    with listener(tmp_path / "a", silent=True) as (port, _):
        begun = time.monotonic()
        assert look([Target("127.0.0.1", port, "x.test")], deadline(0.3)) == ["no answer in time"]
        assert time.monotonic() - begun < 2


def test_an_interrupt_ends_it(tmp_path: Path) -> None:
    class Stopped(SystemClock):
        def check(self) -> None:
            raise Interrupted("stop")

    with listener(tmp_path / "a", silent=True) as (port, _), pytest.raises(Interrupted):
        look([Target("127.0.0.1", port, "x.test")], Deadline(Stopped(), 5))


def test_how_servers_are_called() -> None:
    assert Target("www.example.com", 443, "www.example.com").label == "www.example.com:443"
    assert Target("::1", 8443, "www.example.com").label == "[::1]:8443 (www.example.com)"
