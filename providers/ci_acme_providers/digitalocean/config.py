"""Settings of the `digitalocean` DNS provider."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ci_acme.settings import DnsSettings, SecretReference

ENDPOINT = "https://api.digitalocean.com"


def _endpoint(text: str) -> str:
    from ci_acme.rest import api_url

    return api_url(text)


class DigitalOceanSettings(DnsSettings):
    """DigitalOcean's API v2 with a personal access token. `zone_id` is the domain's name; `ttl` is 30 at least."""

    provider: str = "digitalocean"
    token: SecretReference = Field(
        description="A reference to a token with the scopes domain:read, domain:create and domain:delete.",
        examples=["env:DIGITALOCEAN_TOKEN"],
    )
    endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(ENDPOINT, description="The API's base URL.")
