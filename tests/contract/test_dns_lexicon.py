"""The contract of DNS providers, by the real dns-lexicon and its PowerDNS provider on a real PowerDNS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from ci_acme.clock import SystemClock
from ci_acme.model.secret import Secret
from ci_acme.ports import DnsProvider, ProviderContext
from ci_acme.testing.dns_contract import DnsProviderContract
from ci_acme_providers.lexicon.adapter import Lexicon
from ci_acme_providers.lexicon.config import LexiconSettings
from tests.dns.servers import Server, ask_txt, update
from tests.servers.bind import SECRET
from tests.servers.powerdns import API_KEY, PowerDns

pytestmark = pytest.mark.servers
ZONE = "lexicon.test"


class Rig:
    zone = ZONE

    def __init__(self, server: PowerDns) -> None:
        self._dns = Server(server.host, server.port)
        self._settings = LexiconSettings(
            zone=ZONE,
            lexicon_provider="powerdns",
            options={"pdns_server": server.api_url},
            secrets={"auth_token": "env:KEY"},
        )

    def provider(self, *, good: bool = True) -> DnsProvider:
        key = Secret((API_KEY if good else "another").encode())
        return Lexicon(self._settings, ProviderContext(lambda _: key, SystemClock()))

    def values(self, name: str) -> Mapping[str, int]:
        return ask_txt(self._dns, name)

    def plant(self, name: str, value: str, ttl: int) -> None:
        update(self._dns, ZONE, add=(f'{name} {ttl} TXT "{value}"',), secret=SECRET)


@pytest.fixture(scope="module")
def contract_powerdns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PowerDns]:
    with PowerDns(tmp_path_factory.mktemp("powerdns"), {ZONE: []}) as server:
        yield server


class TestLexicon(DnsProviderContract):
    names = 10

    @pytest.fixture
    def rig(self, contract_powerdns: PowerDns) -> Rig:
        return Rig(contract_powerdns)
