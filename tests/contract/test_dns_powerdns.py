"""The contract of DNS providers, by PowerDNS's HTTP API: a real server without EXTEND, and a strict fake with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import pytest

from ci_acme.clock import SystemClock
from ci_acme.model.secret import Secret
from ci_acme.ports import Concurrency, DnsProvider, ProviderContext
from ci_acme.sandbox.dns import SandboxDns
from ci_acme.testing.dns_contract import DnsProviderContract
from ci_acme_providers.powerdns.adapter import PowerDns
from ci_acme_providers.powerdns.config import PowerDnsSettings
from tests.clouds.powerdns import KEY, PowerDnsApi
from tests.dns.servers import Server, ask_txt, update
from tests.servers import powerdns as real
from tests.servers.bind import SECRET

ZONE = "pdns.test"


class Serving(Protocol):
    host: str
    port: int


class Rig:
    zone = ZONE

    def __init__(self, url: str, key: str, dns: Serving) -> None:
        self._settings = PowerDnsSettings(zone=ZONE, url=url, api_key="env:KEY")
        self._key = key
        self._dns = dns

    def provider(self, *, good: bool = True) -> DnsProvider:
        key = Secret((self._key if good else "another").encode())
        return PowerDns(self._settings, ProviderContext(lambda _: key, SystemClock()))

    def values(self, name: str) -> Mapping[str, int]:
        return ask_txt(Server(self._dns.host, self._dns.port), name)

    def plant(self, name: str, value: str, ttl: int) -> None:
        update(Server(self._dns.host, self._dns.port), ZONE, add=(f'{name} {ttl} TXT "{value}"',), secret=SECRET)


class FakeRig(Rig):
    def __init__(self, api: PowerDnsApi) -> None:
        super().__init__(api.url, KEY, api.dns)
        self._api = api

    def plant(self, name: str, value: str, ttl: int) -> None:
        self._api.put(name, value, ttl=ttl)


@pytest.fixture(scope="module")
def contract_powerdns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.PowerDns]:
    with real.PowerDns(tmp_path_factory.mktemp("powerdns"), {ZONE: []}) as server:
        yield server


@pytest.fixture(scope="module")
def api() -> Iterator[PowerDnsApi]:
    with SandboxDns([ZONE]) as dns, PowerDnsApi(dns, {ZONE: "Native"}) as server:
        yield server


@pytest.mark.servers
class TestWithoutExtend(DnsProviderContract):
    """Debian's 4.7."""

    @pytest.fixture
    def rig(self, contract_powerdns: real.PowerDns) -> Rig:
        return Rig(contract_powerdns.api_url, real.API_KEY, contract_powerdns)

    def test_it_is_known_to_be_blind_before_anything_is_written(self, rig: Rig) -> None:
        provider, _ = self._open(rig, f"_acme-challenge.{ZONE}")
        assert provider.capabilities.concurrency is Concurrency.BLIND


class TestWithExtend(DnsProviderContract):
    @pytest.fixture
    def rig(self, api: PowerDnsApi) -> FakeRig:
        return FakeRig(api)

    def test_it_is_proven_before_anything_is_written(self, rig: FakeRig) -> None:
        assert rig.provider().capabilities.concurrency is Concurrency.BLIND
        provider, _ = self._open(rig, f"_acme-challenge.{ZONE}")
        assert provider.capabilities.concurrency is Concurrency.PER_VALUE
