"""The contract of DNS providers, by requests to a server of lego's httpreq protocol whose zone is served over DNS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from ci_acme.clock import SystemClock
from ci_acme.model.secret import Secret
from ci_acme.ports import DnsProvider, ProviderContext
from ci_acme.sandbox.dns import SandboxDns
from ci_acme.testing.dns_contract import DnsProviderContract
from ci_acme_providers.hooks.config import HttpreqSettings
from ci_acme_providers.hooks.httpreq import Httpreq
from tests.clouds.httpreq import PASSWORD, USER, HttpreqApi
from tests.dns.servers import Server, ask_txt

ZONE = "httpreq.test"


class Rig:
    zone = ZONE

    def __init__(self, api: HttpreqApi) -> None:
        self._api = api
        self._settings = HttpreqSettings(
            zone=ZONE, endpoint=api.endpoint, username="env:USERNAME", password="env:PASSWORD"
        )

    def provider(self, *, good: bool = True) -> DnsProvider:
        texts = {"env:USERNAME": USER, "env:PASSWORD": PASSWORD if good else "another"}
        return Httpreq(self._settings, ProviderContext(lambda name: Secret(texts[name].encode()), SystemClock()))

    def values(self, name: str) -> Mapping[str, int]:
        return ask_txt(Server(self._api.dns.host, self._api.dns.port), name)

    def plant(self, name: str, value: str, ttl: int) -> None:
        kept = [f'"{one}"' for one in self._api.dns.values(name)]
        self._api.dns.add(name, "TXT", *kept, f'"{value}"', ttl=ttl)


@pytest.fixture(scope="module")
def api() -> Iterator[HttpreqApi]:
    with SandboxDns([ZONE]) as dns, HttpreqApi(dns, ZONE) as server:
        yield server


class TestHttpreq(DnsProviderContract):
    @pytest.fixture
    def rig(self, api: HttpreqApi) -> Rig:
        return Rig(api)
