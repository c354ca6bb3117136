"""A real Pebble for the ACME engine, with a validation authority that always says yes: no DNS is needed."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ci_acme.ports import Signer
from tests.ca.support import Session, Tls, session
from tests.servers.pebble import Pebble

PROFILES = {
    "default": {"description": "ninety days", "validityPeriod": 7776000},
    "shortlived": {"description": "six days", "validityPeriod": 518400},
}
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


@pytest.fixture(scope="session")
def start_pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Pebble]]:
    """Starts a Pebble that accepts every challenge, unless told to ask a `dns_server`."""
    with ExitStack() as running:

        def start(**options: Any) -> Pebble:
            options.setdefault("always_valid", "dns_server" not in options)
            directory = tmp_path_factory.mktemp("pebble")
            pebble = Pebble(directory, profiles=PROFILES, domain_blocklist=["blocked-domain.example"], **options)
            return running.enter_context(pebble)

        yield start


@pytest.fixture(scope="session")
def pebble(start_pebble: Callable[..., Pebble]) -> Pebble:
    """No nonce is rejected, no authorization reused, no Retry-After."""
    return start_pebble()


@pytest.fixture(scope="session")
def reusing_pebble(start_pebble: Callable[..., Pebble]) -> Pebble:
    """Authorizations of an account are reused, always (101 beats a die of 0 to 99)."""
    return start_pebble(authz_reuse=100, alternate_roots=2)


@pytest.fixture
def open_session() -> Iterator[Callable[..., Session]]:
    """Makes clients; their connections are closed after the test."""
    sessions: list[Session] = []

    def open_(pebble: Pebble, signer: Signer | None = None, *, register: bool = True) -> Session:
        opened = session(pebble, signer)
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
    return {0: pebble, 5: start_pebble(nonce_reject=5), 50: start_pebble(nonce_reject=50)}
