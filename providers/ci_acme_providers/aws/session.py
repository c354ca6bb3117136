"""Clients of botocore, with the credentials of this run."""

from __future__ import annotations

from typing import Any

from ci_acme.ports import ProviderContext
from ci_acme_providers.aws.config import AwsAccess

ATTEMPTS = 10
"""Of one call; the SDK's default of 3 gives up after 1.5 s of throttling."""


def client(service: str, access: AwsAccess, context: ProviderContext, *, policy: str | None = None) -> Any:
    """A botocore client of a service.

    `policy` is an inline session policy (JSON, at most 2,048 characters), used where a role is assumed.
    """
    import botocore.config
    import botocore.session

    session = botocore.session.Session()
    configuration = botocore.config.Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS})
    return session.create_client(service, region_name=access.region, endpoint_url=access.endpoint, config=configuration)
