"""The contract of DNS providers, by acme-dns: two values at one name, which nobody can remove."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import pytest

from ci_acme.clock import SystemClock
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, DnsCapabilities, DnsProvider, Placement, ProviderContext, TxtValue, Zone
from ci_acme.sandbox.dns import SandboxDns
from ci_acme.testing.dns_contract import DnsProviderContract
from ci_acme_providers.acmedns.adapter import AcmeDns
from ci_acme_providers.acmedns.config import AcmeDnsSettings
from tests.clouds.acmedns import AcmeDnsApi, Registration
from tests.dns.servers import Server, ask_txt

DOMAIN = "auth.test"


def digest(word: str) -> str:
    """What the suite's word stands for: 43 characters, as acme-dns wants them."""
    return base64.urlsafe_b64encode(hashlib.sha256(word.encode()).digest()).decode().rstrip("=")


class Worded:
    """The adapter, told the suite's words by the digests that a CA would want."""

    def __init__(self, adapter: AcmeDns, words: dict[str, str]) -> None:
        self._adapter = adapter
        self._words = words
        self.zones_for = adapter.zones_for
        self.wait_in_sync = adapter.wait_in_sync
        self.release = adapter.release
        self.check_access = adapter.check_access

    @property
    def capabilities(self) -> DnsCapabilities:
        return self._adapter.capabilities

    @property
    def where(self) -> str:
        return self._adapter.where

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        digests = [TxtValue(one.name, digest(one.value), one.ttl) for one in values]
        self._words |= {digest(one.value): one.value for one in values}
        placements = self._adapter.ensure(zone, digests, ttl=ttl, deadline=deadline)
        return [Placement(p.zone, p.name, self._words[p.value], p.created, p.ref) for p in placements]


class Rig:
    """Each fresh name is a registration of its own: an adapter is for the one that was made last."""

    zone = DOMAIN

    def __init__(self, api: AcmeDnsApi) -> None:
        self._api = api
        self._made: dict[str, Registration] = {}
        self._words: dict[str, str] = {}

    def fresh_name(self) -> str:
        made = self._api.register()
        self._made[made.full_domain] = made
        return made.full_domain

    def provider(self, *, good: bool = True) -> DnsProvider:
        made = next(reversed(self._made.values()), None) or self._api.register()
        settings = AcmeDnsSettings(
            zone=DOMAIN,
            url=self._api.url,
            nameserver=self._api.dns.address,
            username="env:USER",
            password="env:PASSWORD",
            subdomain=made.subdomain,
        )
        texts = {"env:USER": made.username, "env:PASSWORD": made.password if good else made.password[::-1]}
        context = ProviderContext(lambda name: Secret(texts[name].encode()), SystemClock())
        return Worded(AcmeDns(settings, context), self._words)

    def values(self, name: str) -> Mapping[str, int]:
        served = ask_txt(Server(self._api.dns.host, self._api.dns.port), name)
        return {self._words[value]: ttl for value, ttl in served.items()}

    def plant(self, name: str, value: str, ttl: int) -> None:
        self._words[digest(value)] = value
        self._api.plant(self._made[name], digest(value))


@pytest.fixture(scope="module")
def api() -> Iterator[AcmeDnsApi]:
    with SandboxDns([DOMAIN]) as dns, AcmeDnsApi(dns, DOMAIN) as server:
        yield server


class TestAcmeDns(DnsProviderContract):
    names = 1

    @pytest.fixture
    def rig(self, api: AcmeDnsApi) -> Rig:
        return Rig(api)

    @pytest.mark.parametrize("words", [(), ("foreign",), ("foreign", "another")])
    def test_check_access_changes_nothing(self, rig: Rig, words: Sequence[str]) -> None:  # type: ignore[override]
        """An adapter writes at one name only: one that is free, and one that is taken."""
        name = rig.fresh_name()
        for word in words:
            rig.plant(name, word, 300)
        provider, zone = self._open(rig, name)
        provider.check_access(zone, [name], deadline=self._deadline())
        assert set(rig.values(name)) == set(words)
