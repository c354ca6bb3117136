"""The contract of DNS providers, on a fake of `digitalocean` whose zone is served over DNS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ci_acme.testing.dns_contract import DnsProviderContract, DnsRig
from tests.clouds.rigs import DigitalOceanRig, open_rig


class TestDigitalOcean(DnsProviderContract):
    writers = 40

    @pytest.fixture
    def rig(self) -> Iterator[DnsRig]:
        with open_rig(DigitalOceanRig) as rig:
            yield rig
