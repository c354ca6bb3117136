"""The contract of DNS providers, with the real SDK against a strict Route 53 on loopback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from ci_acme.model.secret import Secret
from ci_acme.ports import DnsProvider, ProviderContext
from ci_acme.testing.dns_contract import DnsProviderContract
from ci_acme_providers.aws.config import Route53Settings
from ci_acme_providers.aws.route53 import Route53
from tests.clouds.aws_support import EagerClock, environment
from tests.clouds.route53 import FakeRoute53

ZONE = "ci.test"


class Rig:
    """One zone among others, in which changes exclude each other for a moment."""

    zone = ZONE

    def __init__(self, fake: FakeRoute53) -> None:
        self.fake = fake
        for name in ("ci.test.example", "aci.test", "other.test"):
            fake.zone(name)
        self._zone = fake.zone(ZONE)
        fake.work = 0.002

    def provider(self, *, good: bool = True) -> DnsProvider:
        environ = environment(self.fake)
        if not good:
            environ["AWS_SECRET_ACCESS_KEY"] = "another"
        context = ProviderContext(lambda _: Secret(b""), EagerClock(), environ=environ)
        return Route53(Route53Settings(zone=ZONE), context)

    def values(self, name: str) -> Mapping[str, int]:
        return self._zone.texts(name)

    def plant(self, name: str, value: str, ttl: int) -> None:
        self.fake.merge(self._zone, name, value, ttl)


@pytest.fixture(scope="module")
def contract_route53() -> Iterator[FakeRoute53]:
    with FakeRoute53() as fake:
        yield fake


class TestRoute53(DnsProviderContract):
    clock = EagerClock()

    @pytest.fixture
    def rig(self, contract_route53: FakeRoute53) -> Rig:
        contract_route53.zones.clear()
        return Rig(contract_route53)
