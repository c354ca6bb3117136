"""The contract of DNS providers on Cloud DNS: the fake is judged by Google's description of the API."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import ClassVar

import pytest

from ci_acme.ports import Clock, DnsProvider
from ci_acme.testing.dns_contract import DnsProviderContract
from ci_acme_providers.gcp.clouddns import GoogleCloudDns
from ci_acme_providers.gcp.config import GoogleCloudDnsSettings
from tests.clouds.google import Iam
from tests.clouds.google_dns import GoogleDns
from tests.clouds.google_support import ACCESS, QuickClock, context, trust
from tests.clouds.google_tokens import CiTokens, GoogleTokens

ZONE = "ci.test"


class Rig:
    """A project with one public zone, and a private one of the same name's parent."""

    zone = ZONE

    def __init__(self, dns: GoogleDns, tokens: GoogleTokens, ci: CiTokens) -> None:
        self.dns, self._tokens, self._ci = dns, tokens, ci

    def provider(self, *, good: bool = True) -> DnsProvider:
        settings = GoogleCloudDnsSettings.model_validate(
            {
                "zone": ZONE,
                **ACCESS,
                "endpoint": self.dns.url,
                **({} if good else {"audience": "https://elsewhere.example"}),
            }
        )
        return GoogleCloudDns(settings, context(self._tokens, ci=self._ci))

    def values(self, name: str) -> Mapping[str, int]:
        return self.dns.values("ci-zone", name)

    def plant(self, name: str, value: str, ttl: int) -> None:
        """Through Google's own client, as another program would."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import dns

        before = self.values(name)
        client = dns.Client(
            project="my-project", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.dns.url}
        )
        client._http.headers["Authorization"] = "Bearer good"
        zone = client.zone("ci-zone", f"{ZONE}.")
        changes = zone.changes()
        quoted = [f'"{text}"' for text in before]
        if before:
            changes.delete_record_set(zone.resource_record_set(f"{name}.", "TXT", next(iter(before.values())), quoted))
        changes.add_record_set(zone.resource_record_set(f"{name}.", "TXT", ttl, [*quoted, f'"{value}"']))
        changes.create()
        client.close()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Rig]:
    iam = Iam()
    with GoogleDns(iam) as dns, GoogleTokens(iam) as tokens, CiTokens(time.time) as ci:
        trust(tokens)
        dns.zone("ci-zone", ZONE)
        yield Rig(dns, tokens, ci)


class TestGoogleCloudDns(DnsProviderContract):
    """All forty writers at once."""

    writers: ClassVar[int] = 40
    clock: ClassVar[Clock] = QuickClock()

    @pytest.fixture
    def rig(self, cloud: Rig) -> Rig:
        return cloud
