"""Settings of the `rfc2136` provider."""

from __future__ import annotations

from pydantic import Field

from ci_acme.settings import DnsSettings, SecretReference


class Rfc2136Settings(DnsSettings):
    """DNS UPDATE (RFC 2136), signed with TSIG (RFC 8945)."""

    server: str | list[str] = Field(description="host[:port] of the primary; several are tried in order.")
    tsig_name: str | None = Field(None, description="The name of the key.")
    tsig_secret: SecretReference | None = Field(None, description="A reference to the base64 secret of the key.")
    tsig_algorithm: str = Field("hmac-sha256", description="The algorithm of the key.")
