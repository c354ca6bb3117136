"""Settings of the `powerdns` DNS provider."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from ci_acme.errors import ConfigError
from ci_acme.rest import require_https
from ci_acme.settings import DnsSettings, Flag, SecretReference, at


class PowerDnsSettings(DnsSettings):
    """The HTTP API of a PowerDNS Authoritative Server."""

    provider: str = "powerdns"
    url: str = Field(
        description="The server's web address, above /api/v1.",
        examples=["http://127.0.0.1:8081", "https://pdns.example.com"],
    )
    api_key: SecretReference = Field(description="A reference to the API key.", examples=["env:PDNS_API_KEY"])
    server_id: str = Field(
        "localhost",
        pattern=r"^[A-Za-z0-9._-]+$",
        description="The server's id: `localhost`, unless a proxy has others.",
    )
    plain: Flag = Field(default=False, description="Allow http to another machine: the API key can be read there.")
    ca_bundle: Path | None = Field(None, description="A PEM file that the server's certificate is trusted by.")

    @model_validator(mode="after")
    def _safe(self) -> PowerDnsSettings:
        try:
            require_https(self.url, plain=self.plain)
        except ConfigError:
            raise at(
                {("url",): "must be an https URL; http elsewhere than to this machine needs plain: true"}
            ) from None
        return self

    @property
    def base(self) -> str:
        """The API's base URL, however `url` was written."""
        root = self.url.rstrip("/").removesuffix("/api/v1").rstrip("/")
        return f"{root}/api/v1/servers/{self.server_id}"
