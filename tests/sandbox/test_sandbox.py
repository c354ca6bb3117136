from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dns import query as dns_query
from dns import rcode as dns_rcode
from dns import tsig as dns_tsig
from dns import update as dns_update

from ci_acme.sandbox import Sandbox, SandboxCa
from tests.sandbox.raw_client import RawClient


def test_a_client_gets_a_certificate_by_signed_update(sandbox: Sandbox, connect: Callable[..., RawClient]) -> None:
    client = connect(sandbox.ca)
    order = client.new_order("demo.test")
    ((_, challenge),) = client.challenges(order)
    key = dns_tsig.Key(sandbox.tsig_name, sandbox.tsig_secret.reveal().decode(), sandbox.tsig_algorithm)
    message = dns_update.UpdateMessage("demo.test", keyring=key)
    message.add("_acme-challenge", 60, "TXT", client.txt_value(challenge["token"]))
    host, _, port = sandbox.dns_address.rpartition(":")
    assert dns_query.udp(message, host, port=int(port), timeout=5).rcode() == dns_rcode.NOERROR
    client.post(challenge["url"], {})
    assert client.poll(order.headers["Location"]).json["status"] == "ready"
    assert sandbox.directory_url == sandbox.ca.directory_url
    assert "BEGIN CERTIFICATE" in sandbox.root.read_text()


def test_no_secret_shows_and_no_key_stays_on_disk(sandbox: Sandbox) -> None:
    assert sandbox.tsig_secret.reveal().decode() not in repr(vars(sandbox)) + repr(vars(sandbox.dns))
    files = sorted(path.name for path in sandbox.root.parent.iterdir())
    assert files == ["alternate-root.pem", "ca-bundle.pem", "root.pem"]
    assert not any("PRIVATE" in path.read_text() for path in sandbox.root.parent.iterdir())


def test_tls_identity_is_good_for_localhost_too_and_not_without_the_bundle(sandbox: Sandbox) -> None:
    named = sandbox.directory_url.replace("127.0.0.1", "localhost")
    client = RawClient(named, sandbox.ca_bundle)
    assert client.directory
    client.close()
    with pytest.raises(OSError, match="certificate verify failed"):
        RawClient(named, sandbox.root)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com", ""])
def test_the_ca_listens_on_loopback_only(tmp_path: Path, host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        SandboxCa(dns_server="127.0.0.1:53", directory=tmp_path, host=host)
    assert not list(tmp_path.iterdir())


def test_ipv6_loopback(tmp_path: Path) -> None:
    if not socket.has_ipv6 or not _has_ipv6_loopback():
        pytest.skip("this machine has no ::1")
    with SandboxCa(dns_server="[::1]:53", directory=tmp_path, host="::1") as ca:
        client = RawClient(ca.directory_url, ca.ca_bundle)
        assert client.directory["newOrder"].startswith("https://[::1]:")
        client.close()


def _has_ipv6_loopback() -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
        return True


def test_garbage_on_the_wire_harms_nobody(sandbox: Sandbox, connect: Callable[..., RawClient]) -> None:
    address = (sandbox.ca.host, sandbox.ca.port)
    for wire in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x00"):
        with socket.create_connection(address, timeout=5) as stream:
            stream.sendall(wire)
    client = connect(sandbox.ca)
    for line in (
        "GET",
        "GET / HTTP/2.0",
        "POST /new-order HTTP/1.1\r\nContent-Length: -1",
        "GET / HTTP/1.1\r\nno colon",
    ):
        with (
            socket.create_connection(address, timeout=5) as raw,
            client._tls.wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            tls.sendall(line.encode() + b"\r\n\r\n")
            assert tls.recv(1) == b""
    assert client.post(client.kid).status == 200


def test_it_is_quiet_and_leaves_nothing_running(tmp_path: Path) -> None:
    """Also the promise that no module of a provider or of an HTTP library is needed."""
    program = (
        "import sys, json, pathlib, threading\n"
        "from ci_acme.sandbox import Sandbox\n"
        "with Sandbox(pathlib.Path(sys.argv[1])) as sandbox:\n"
        "    up = threading.active_count()\n"
        "banned = [m for m in ('requests', 'urllib3', 'acme', 'josepy', 'pydantic') if m in sys.modules]\n"
        "print(json.dumps([up, threading.active_count(), banned]))\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    up, after, banned = json.loads(result.stdout)
    assert up > 1
    assert after == 1
    assert banned == []
    assert result.stderr == ""
