"""Settings of the `ovh` DNS provider."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field, model_validator

from ci_acme.settings import DnsSettings, SecretReference, at

ENDPOINTS: Final = {
    "ovh-eu": "https://eu.api.ovh.com/1.0",
    "ovh-ca": "https://ca.api.ovh.com/1.0",
    "ovh-us": "https://api.us.ovhcloud.com/1.0",
}
TOKEN_URLS: Final = {
    "ovh-eu": "https://www.ovh.com/auth/oauth2/token",
    "ovh-ca": "https://ca.ovh.com/auth/oauth2/token",
    "ovh-us": "https://us.ovhcloud.com/auth/oauth2/token",
}
_KEYS: Final = ("application_key", "application_secret", "consumer_key")
_CLIENT: Final = ("client_id", "client_secret")


def _url(text: str) -> str:
    from ci_acme.rest import api_url

    return api_url(text)


def _endpoint(text: str) -> str:
    if text in ENDPOINTS:
        return text
    if "://" not in text:
        raise ValueError(f"must be one of {', '.join(ENDPOINTS)}, or a URL")
    return _url(text)


class OvhSettings(DnsSettings):
    """OVHcloud's API, with application and consumer key or with an OAuth2 service account.

    `zone_id` is the zone's name; `ttl` is 60 at least.
    """

    provider: str = "ovh"
    endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        "ovh-eu", description="ovh-eu, ovh-ca, ovh-us, or the API's base URL."
    )
    application_key: SecretReference | None = Field(
        None, description="A reference to the application key.", examples=["env:OVH_APPLICATION_KEY"]
    )
    application_secret: SecretReference | None = Field(
        None, description="A reference to the application secret.", examples=["env:OVH_APPLICATION_SECRET"]
    )
    consumer_key: SecretReference | None = Field(
        None, description="A reference to the consumer key.", examples=["env:OVH_CONSUMER_KEY"]
    )
    client_id: SecretReference | None = Field(
        None, description="A reference to the id of an OAuth2 service account.", examples=["env:OVH_CLIENT_ID"]
    )
    client_secret: SecretReference | None = Field(
        None, description="A reference to the secret of the service account.", examples=["env:OVH_CLIENT_SECRET"]
    )
    token_url: Annotated[str, AfterValidator(_url)] | None = Field(
        None, description="Where OAuth2 tokens come from, if endpoint is a URL."
    )

    @model_validator(mode="after")
    def _one_way(self) -> OvhSettings:
        given = [name for name in (*_KEYS, *_CLIENT) if getattr(self, name) is not None]
        way = _CLIENT if given and given[0] in _CLIENT else _KEYS
        if any(name not in way for name in given):
            raise at({(given[-1],): "is of no use: give application and consumer key, or client_id and client_secret"})
        missing = [name for name in way if name not in given]
        if missing:
            raise at({(name,): f"is required: {', '.join(way)} belong together" for name in missing})
        if way is _CLIENT and self.token_url is None and self.endpoint not in TOKEN_URLS:
            raise at({("token_url",): "is required: endpoint is a URL"})
        if way is _KEYS and self.token_url is not None:
            raise at({("token_url",): "is of no use without client_id and client_secret"})
        return self

    @property
    def base(self) -> str:
        """The API's base URL."""
        return ENDPOINTS.get(self.endpoint, self.endpoint)

    @property
    def oauth(self) -> str | None:
        """Where tokens come from, None for signed requests."""
        return None if self.client_id is None else self.token_url or TOKEN_URLS[self.endpoint]
