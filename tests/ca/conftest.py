"""A real Pebble for the ACME engine, with a validation authority that always says yes: no DNS is needed."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ci_acme.ports import Signer
from tests.ca.support import Pebble, Session, Tls, session

EAB_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.timezone.utc)
    names = [x509.DNSName("localhost"), x509.DNSName("ca.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    files = Tls(folder / "server.pem", folder / "server.key")
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_pebble() -> str | None:
    return os.environ.get("PEBBLE") or shutil.which("pebble") or shutil.which("pebble", path=Path.home() / "go" / "bin")


@pytest.fixture(scope="session")
def start_pebble(tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Pebble]]:
    program = find_pebble()
    if program is None:
        pytest.skip("pebble is not installed")
    running: list[subprocess.Popen[bytes]] = []

    def start(
        *,
        reject: int = 0,
        reuse: int = 0,
        eab: bool = False,
        alternates: int = 0,
        resolver: str | None = None,
        **extra: object,
    ) -> Pebble:
        folder = tmp_path_factory.mktemp("pebble")
        port, management = free_port(), free_port()
        settings: dict[str, object] = {
            "listenAddress": f"127.0.0.1:{port}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": str(tls.certificate),
            "privateKey": str(tls.key),
            "httpPort": 5002,
            "tlsPort": 5001,
            "keyAlgorithm": "ecdsa",
            "externalAccountBindingRequired": eab,
            "domainBlocklist": ["blocked-domain.example"],
            "profiles": {
                "default": {"description": "ninety days", "validityPeriod": 7776000},
                "shortlived": {"description": "six days", "validityPeriod": 518400},
            },
            **extra,
        }
        if eab:
            settings["externalAccountMACKeys"] = {"kid-1": EAB_KEY}
        config = folder / "pebble.json"
        config.write_text(json.dumps({"pebble": settings}))
        environment = {
            "PEBBLE_VA_ALWAYS_VALID": "1" if resolver is None else "0",
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": str(reject),
            "PEBBLE_AUTHZREUSE": str(reuse),
            "PEBBLE_ALTERNATE_ROOTS": str(alternates),
            "PATH": os.environ["PATH"],
        }
        command = [program, "-config", str(config), *(["-dnsserver", resolver] if resolver else [])]
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder)
        running.append(process)
        wait_for_port(port, process)
        return Pebble(f"https://127.0.0.1:{port}/dir", f"https://127.0.0.1:{management}", process)

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(10)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(400):
        assert process.poll() is None, "pebble ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.025)
    pytest.fail("pebble does not listen")


@pytest.fixture(scope="session")
def pebble(start_pebble: Callable[..., Pebble]) -> Pebble:
    """No nonce is rejected, no authorization reused, no Retry-After."""
    return start_pebble()


@pytest.fixture(scope="session")
def reusing_pebble(start_pebble: Callable[..., Pebble]) -> Pebble:
    """Authorizations of an account are reused, always (101 beats a die of 0 to 99)."""
    return start_pebble(reuse=100, alternates=2)


@pytest.fixture
def open_session(tls: Tls) -> Iterator[Callable[..., Session]]:
    """Makes clients; their connections are closed after the test."""
    sessions: list[Session] = []

    def open_(pebble: Pebble, signer: Signer | None = None, *, register: bool = True) -> Session:
        opened = session(pebble.directory, tls, signer)
        sessions.append(opened)
        if register:
            opened.client.register(opened.scope(), terms_agreed=True)
            opened.records.clear()
        return opened

    yield open_
    for opened in sessions:
        opened.pool.close()


@pytest.fixture(scope="session")
def rejecting(start_pebble: Callable[..., Pebble], pebble: Pebble) -> dict[int, Pebble]:
    """By the percentage of good nonces that are rejected."""
    return {0: pebble, 5: start_pebble(reject=5), 50: start_pebble(reject=50)}
