"""What tests of AWS share: the environment of a job, and a clock that does not make anybody wait."""

from __future__ import annotations

import time

from ci_acme.clock import SystemClock
from tests.clouds.iam import Principal
from tests.clouds.route53 import FakeRoute53


def environment(fake: FakeRoute53, principal: Principal | None = None) -> dict[str, str]:
    """The variables of a job with the key of a user, the administrator without a word."""
    user = principal or fake.admin
    return {
        "AWS_ACCESS_KEY_ID": user.key_id,
        "AWS_SECRET_ACCESS_KEY": user.secret,
        **without_key(fake),
    }


def without_key(fake: FakeRoute53) -> dict[str, str]:
    """The variables of a job that has no key."""
    return {"AWS_ENDPOINT_URL": fake.url, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/nowhere"}


class EagerClock(SystemClock):
    """Waits are noted and cut short, and count in full on the monotonic scale."""

    def __init__(self, least: float = 0.01) -> None:
        super().__init__()
        self.slept: list[float] = []
        self._skipped = 0.0
        self._least = least

    def monotonic(self) -> float:
        return super().monotonic() + self._skipped

    def sleep(self, seconds: float) -> None:
        self.check()
        self.slept.append(seconds)
        real = min(seconds, self._least)
        time.sleep(real)
        self._skipped += seconds - real
