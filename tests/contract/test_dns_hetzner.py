"""The contract of DNS providers, on a fake of `hetzner` whose zone is served over DNS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ci_acme.testing.dns_contract import DnsProviderContract, DnsRig
from tests.clouds.rigs import HetznerRig, open_rig
from tests.providers.support import SteppedClock


class TestHetzner(DnsProviderContract):
    writers = 40
    seconds = 900.0
    clock = SteppedClock()  # its actions are followed with pauses

    @pytest.fixture
    def rig(self) -> Iterator[DnsRig]:
        with open_rig(HetznerRig) as rig:
            yield rig
