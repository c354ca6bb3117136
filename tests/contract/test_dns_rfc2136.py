"""The contract of DNS providers, on real servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from ci_acme.clock import SystemClock
from ci_acme.model.secret import Secret
from ci_acme.ports import DnsProvider, ProviderContext
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
