"""The contract of DNS providers, by Azure's SDK on a strict fake whose zones are served over real DNS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import dns.message
import dns.query
import pytest

from ci_acme.ports import DnsProvider
from ci_acme.testing.dns_contract import DnsProviderContract
from ci_acme_providers.azure.config import AzureDnsSettings
from ci_acme_providers.azure.dns import AzureDns
from tests.clouds.azure import Loopback, context
from tests.clouds.azure_dns import GROUP, SUBSCRIPTION, AzureDnsApi, FakeZone
from tests.clouds.entra import SECRET, Entra

ZONE = "ci.test"


class Rig:
    zone = ZONE

    def __init__(self, api: AzureDnsApi, loopback: Loopback, on_last: str) -> None:
        self._api = api
        self._settings = AzureDnsSettings.model_validate(
            {
                "zone": ZONE,
                "subscription": SUBSCRIPTION,
                "resource_group": GROUP,
                "endpoint": api.url,
                "on_last": on_last,
                **loopback.access(api.entra.url),
            }
        )

    def provider(self, *, good: bool = True) -> DnsProvider:
        return AzureDns(self._settings, context(secret=SECRET if good else "another"))

    def values(self, name: str) -> Mapping[str, int]:
        query = dns.message.make_query(name, "TXT")
        reply = dns.query.tcp(query, self._api.dns.host, port=self._api.dns.port, timeout=5)
        return {b"".join(one.strings).decode(): found.ttl for found in reply.answer for one in found}

    def plant(self, name: str, value: str, ttl: int) -> None:
        self._api.plant(name, value, ttl, self._api.zone(ZONE))


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Loopback:
    return Loopback(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def api(loopback: Loopback) -> Iterator[AzureDnsApi]:
    with Entra(loopback.server()) as entra, AzureDnsApi(loopback.server(), entra, [FakeZone(ZONE)]) as api:
        yield api


class TestAzureDns(DnsProviderContract):
    @pytest.fixture
    def rig(self, api: AzureDnsApi, loopback: Loopback) -> Rig:
        return Rig(api, loopback, "delete")


class TestAzureDnsThatKeepsEmptyRecordSets(DnsProviderContract):
    writers = 3

    @pytest.fixture
    def rig(self, api: AzureDnsApi, loopback: Loopback) -> Rig:
        return Rig(api, loopback, "keep_empty")
