"""The contract of DNS providers, on a fake of `cloudflare` whose zone is served over DNS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ci_acme.testing.dns_contract import DnsProviderContract, DnsRig
from tests.clouds.rigs import CloudflareRig, open_rig


class TestCloudflare(DnsProviderContract):
    writers = 40

    @pytest.fixture
    def rig(self) -> Iterator[DnsRig]:
        with open_rig(CloudflareRig) as rig:
            yield rig
