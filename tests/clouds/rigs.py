"""The four providers over REST, each with its fake: for the contract, for tests of faults, and for whole runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from ci_acme.dnsapi import RecordProvider
from ci_acme.ports import Clock, ProviderContext
from ci_acme.settings import DnsSettings
from ci_acme_providers.cloudflare.adapter import Cloudflare
from ci_acme_providers.cloudflare.config import CloudflareSettings
from ci_acme_providers.digitalocean.adapter import DigitalOcean
from ci_acme_providers.digitalocean.config import DigitalOceanSettings
from ci_acme_providers.hetzner.adapter import Hetzner
from ci_acme_providers.hetzner.config import HetznerSettings
from ci_acme_providers.ovh.adapter import Ovh
from ci_acme_providers.ovh.config import OvhSettings
from tests.clouds.cloudflare import FakeCloudflare, Token
from tests.clouds.digitalocean import FakeDigitalOcean
from tests.clouds.hetzner import FakeHetzner
from tests.clouds.ovh import Consumer, FakeOvh
from tests.clouds.records import open_dns
from tests.providers.support import context

ZONE = "ci.test"


class RecordsRig:
    """A fake with the zone `ci.test`, adapters for it, and what a config for it says."""

    name: ClassVar[str]
    fake: ClassVar[Any]
    adapter: ClassVar[Any]
    settings: ClassVar[Any]
    good: ClassVar[dict[str, str]]
    bad: ClassVar[dict[str, str]]
    change: ClassVar[str]
    """A part of the path of the requests that make records."""
    zone = ZONE

    def __init__(self, api: Any) -> None:
        self.api = api

    def provider(self, *, good: bool = True, run: str = "run-1", clock: Clock | None = None, **more: Any) -> Any:
        made: RecordProvider = self.adapter(self.make_settings(**more), self.context(good=good, run=run, clock=clock))
        return made

    def context(self, *, good: bool = True, run: str = "run-1", clock: Clock | None = None) -> ProviderContext:
        secrets = self.good if good else self.bad
        return context({f"env:{name}": value for name, value in secrets.items()}, clock, run)

    def make_settings(self, **more: Any) -> DnsSettings:
        made: DnsSettings = self.settings(**{**self.entry(), **more})
        return made

    def entry(self) -> dict[str, Any]:
        """The entry of a config file; its references are to `good`."""
        return {"zone": ZONE, "provider": self.name, "endpoint": self.api.url, "token": "env:TOKEN"}

    def prepare(self) -> None:
        """Make the zone, and grant `good` what it needs."""
        self.api.add_zone(ZONE)
        self.grant()

    def grant(self) -> None:
        raise NotImplementedError

    def values(self, name: str) -> Mapping[str, int]:
        served: Mapping[str, int] = self.api.served(name)
        return served

    def plant(self, name: str, value: str, ttl: int) -> None:
        self.api.plant(name, value, ttl)


class CloudflareRig(RecordsRig):
    name, fake, adapter, settings = "cloudflare", FakeCloudflare, Cloudflare, CloudflareSettings
    good: ClassVar = {"TOKEN": "good-token-0123456789-abcdefghijklmnop"}
    bad: ClassVar = {"TOKEN": "bad-token-0123456789-abcdefghijklmnopq"}
    change = "/batch"

    def grant(self) -> None:
        self.api.tokens[self.good["TOKEN"]] = Token()


class DigitalOceanRig(RecordsRig):
    name, fake, adapter, settings = "digitalocean", FakeDigitalOcean, DigitalOcean, DigitalOceanSettings
    good: ClassVar = {"TOKEN": "dop_v1_good"}
    bad: ClassVar = {"TOKEN": "dop_v1_bad"}
    change = "/records"

    def grant(self) -> None:
        self.api.tokens[self.good["TOKEN"]] = {"domain:read", "domain:create", "domain:delete"}


class HetznerRig(RecordsRig):
    name, fake, adapter, settings = "hetzner", FakeHetzner, Hetzner, HetznerSettings
    good: ClassVar = {"TOKEN": "hcloud-good"}
    bad: ClassVar = {"TOKEN": "hcloud-bad"}
    change = "/add_records"

    def grant(self) -> None:
        self.api.tokens[self.good["TOKEN"]] = "write"


class OvhRig(RecordsRig):
    name, fake, adapter, settings = "ovh", FakeOvh, Ovh, OvhSettings
    good: ClassVar = {"KEY": "app", "SECRET": "shared-secret", "CONSUMER": "consumer-good"}
    bad: ClassVar = {**good, "CONSUMER": "consumer-bad"}
    change = "/record"

    def entry(self) -> dict[str, Any]:
        return {
            "zone": ZONE,
            "provider": "ovh",
            "endpoint": self.api.base,
            "application_key": "env:KEY",
            "application_secret": "env:SECRET",
            "consumer_key": "env:CONSUMER",
        }

    def grant(self) -> None:
        self.api.consumers[self.good["CONSUMER"]] = Consumer(self.good["KEY"], self.good["SECRET"])


RIGS = (CloudflareRig, DigitalOceanRig, HetznerRig, OvhRig)


@contextmanager
def open_rig(kind: type[RecordsRig], *more_zones: str) -> Iterator[Any]:
    """A rig at work; the name server also has `more_zones`."""
    with open_dns(ZONE, *more_zones) as server, kind.fake(server) as api:
        rig = kind(api)
        rig.prepare()
        yield rig
