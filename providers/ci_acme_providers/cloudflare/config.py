"""Settings of the `cloudflare` DNS provider."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ci_acme.settings import DnsSettings, SecretReference

ENDPOINT = "https://api.cloudflare.com/client/v4"


def _endpoint(text: str) -> str:
    from ci_acme.rest import api_url

    return api_url(text)


class CloudflareSettings(DnsSettings):
    """Cloudflare's API v4 with an API token. `ttl` is 60 at least, and 1 means automatic (five minutes)."""

    provider: str = "cloudflare"
    token: SecretReference = Field(
        description="A reference to an API token with Zone / DNS / Edit on the zone, and Zone / Zone / Read unless "
        "zone_id is given.",
        examples=["env:CLOUDFLARE_API_TOKEN"],
    )
    account_id: str | None = Field(
        None, description="Only zones of this account are looked at: for a name that two accounts have."
    )
    endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(ENDPOINT, description="The API's base URL.")
