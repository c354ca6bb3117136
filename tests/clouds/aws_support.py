"""What tests of AWS share: the environment of a job, and a clock that does not make anybody wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ci_acme.clock import SystemClock
from ci_acme.model.secret import Secret
from ci_acme.ports import Clock, Deadline, Placement, ProviderContext, TxtValue, Zone
from ci_acme_providers.aws.config import Route53Settings
from ci_acme_providers.aws.route53 import Route53
from tests.clouds.api import Call
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
    """Waits are noted and take a part of their time only; they count in full for the thread that waits."""

    def __init__(self, part: float = 0.02) -> None:
        super().__init__()
        self.slept: list[float] = []
        self._skipped = threading.local()
        self._part = part

    def monotonic(self) -> float:
        skipped: float = getattr(self._skipped, "seconds", 0.0)
        return super().monotonic() + skipped

    def sleep(self, seconds: float) -> None:
        self.check()
        self.slept.append(seconds)
        time.sleep(seconds * self._part)
        self._skipped.seconds = getattr(self._skipped, "seconds", 0.0) + seconds * (1 - self._part)


class Account:
    """A Route 53 with the zone `ci.test`, and adapters as jobs have them."""

    zone_name = "ci.test"

    def __init__(self, fake: FakeRoute53) -> None:
        self.fake = fake
        self.zone = fake.zone(self.zone_name)
        self.clock = EagerClock()
        self.warnings: list[str] = []

    @property
    def found(self) -> Zone:
        """The zone as the core hands it over."""
        return Zone(self.zone.id, self.zone_name)

    def adapter(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        identity: Callable[[str], Secret] | None = None,
        run: str = "run-1",
        clock: Clock | None = None,
        **settings: Any,
    ) -> Route53:
        """An adapter of a job; the administrator's without a word."""
        given = {} if identity is None else {"identity": identity}
        context = ProviderContext(
            lambda reference: Secret(dict(environ or {})[reference.removeprefix("env:")].encode()),
            clock or self.clock,
            run=run,
            environ=environment(self.fake) if environ is None else environ,
            warn=self.warnings.append,
            **given,
        )
        return Route53(Route53Settings(zone=self.zone_name, **settings), context)

    def deadline(self, seconds: float = 60.0) -> Deadline:
        return Deadline(self.clock, seconds)

    def ensure(self, adapter: Route53, *values: TxtValue, ttl: int = 60) -> Sequence[Placement]:
        return adapter.ensure(self.found, values, ttl=ttl, deadline=self.deadline())

    def release(self, adapter: Route53, placements: Sequence[Placement]) -> None:
        adapter.release(placements, deadline=self.deadline())

    def texts(self, name: str) -> dict[str, int]:
        return self.zone.texts(name)


def is_change(call: Call) -> bool:
    """Whether a call is a batch of changes."""
    return call.method == "POST" and call.path.rstrip("/").endswith("/rrset")
