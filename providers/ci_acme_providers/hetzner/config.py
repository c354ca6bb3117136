"""Settings of the `hetzner` DNS provider."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ci_acme.settings import DnsSettings, SecretReference

ENDPOINT = "https://api.hetzner.cloud/v1"


def _endpoint(text: str) -> str:
    from ci_acme.rest import api_url

    return api_url(text)


class HetznerSettings(DnsSettings):
    """Hetzner DNS by the Cloud API; zones of the former DNS Console have to be migrated.

    `zone_id` is the zone's id or name; `ttl` is 60 at least.
    """

    provider: str = "hetzner"
    token: SecretReference = Field(
        description="A reference to an API token (Read & Write) of the Hetzner Console project that has the zone.",
        examples=["env:HCLOUD_TOKEN"],
    )
    endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(ENDPOINT, description="The API's base URL.")
