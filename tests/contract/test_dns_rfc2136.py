"""The contract of DNS providers, on real servers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest

from ci_acme.clock import SystemClock
from ci_acme.errors import DnsCredentialsError
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, DnsProvider, ProvesCredentials, ProviderContext, Zone
from ci_acme.testing.dns_contract import DnsProviderContract
from ci_acme_providers.rfc2136.adapter import Rfc2136
from ci_acme_providers.rfc2136.config import Rfc2136Settings
from tests.dns.servers import OTHER_SECRET, SECRET, Bind, PowerDns, update

pytestmark = pytest.mark.servers
ZONE = "ci.test"


class Rig:
    """One server of a kind that speaks RFC 2136."""

    zone = ZONE

    def __init__(self, server: Bind | PowerDns) -> None:
        self._server = server

    def provider(self, *, good: bool = True) -> DnsProvider:
        settings = Rfc2136Settings(
            zone=ZONE,
            provider="rfc2136",
            server=str(self._server.server),
            tsig_name="ci-acme",
            tsig_secret="env:SECRET",
        )
        secret = Secret((SECRET if good else OTHER_SECRET).encode())
        return Rfc2136(settings, ProviderContext(lambda reference: secret, SystemClock()))

    def values(self, name: str) -> Mapping[str, int]:
        return self._server.txt(name)

    def plant(self, name: str, value: str, ttl: int) -> None:
        update(self._server.server, ZONE, add=(f'{name} {ttl} TXT "{value}"',))


@pytest.fixture(scope="module")
def contract_bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    bind = Bind(tmp_path_factory.mktemp("bind"))
    bind.zone(ZONE)
    yield bind.start()
    bind.stop()


@pytest.fixture(scope="module")
def contract_powerdns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PowerDns]:
    powerdns = PowerDns(tmp_path_factory.mktemp("powerdns"), ZONE)
    yield powerdns.start()
    powerdns.stop()


class TestBind(DnsProviderContract):
    @pytest.fixture
    def rig(self, contract_bind: Bind) -> Rig:
        return Rig(contract_bind)


class TestPowerDns(DnsProviderContract):
    @pytest.fixture
    def rig(self, contract_powerdns: PowerDns) -> Rig:
        return Rig(contract_powerdns)


@pytest.mark.parametrize("server", ["contract_bind", "contract_powerdns"])
def test_a_wrong_key_is_told_by_a_question(server: str, request: pytest.FixtureRequest) -> None:
    rig, zone = Rig(request.getfixturevalue(server)), Zone(ZONE, ZONE)
    good, bad = rig.provider(), rig.provider(good=False)
    assert isinstance(good, ProvesCredentials)
    assert isinstance(bad, ProvesCredentials)
    good.prove_credentials(zone, deadline=Deadline(SystemClock(), 10))
    with pytest.raises(DnsCredentialsError, match=r"BADSIG|NOTAUTH"):
        bad.prove_credentials(zone, deadline=Deadline(SystemClock(), 10))
    good.prove_credentials(Zone("other.test", "other.test"), deadline=Deadline(SystemClock(), 10))


def test_a_server_that_does_not_say_is_not_held_against_the_key() -> None:
    """One that is silent, and one that answers without looking at signatures."""
    context = ProviderContext(lambda reference: Secret(SECRET.encode()), SystemClock())
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        settings = Rfc2136Settings(
            zone=ZONE,
            provider="rfc2136",
            server=f"127.0.0.1:{listener.getsockname()[1]}",
            tsig_name="ci-acme",
            tsig_secret="env:SECRET",
        )

        def answer() -> None:
            wire, peer = listener.recvfrom(65535)
            header = wire[:2] + bytes([0x84, 0x05]) + wire[4:6] + bytes(6)  # REFUSED, with nothing but the question
            question = wire[12 : wire.index(b"\x00", 12) + 5]
            listener.sendto(header + question, peer)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        Rfc2136(settings, context).prove_credentials(Zone(ZONE, ZONE), deadline=Deadline(SystemClock(), 10))
        thread.join(10)
        assert not thread.is_alive(), "it was asked"
        begun = time.monotonic()
        Rfc2136(settings, context).prove_credentials(Zone(ZONE, ZONE), deadline=Deadline(SystemClock(), 10))
        assert time.monotonic() - begun < 4
