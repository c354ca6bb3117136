"""Settings of the `rfc2136` DNS provider."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ci_acme.model.names import normalize_host, split_host_port
from ci_acme.settings import DnsSettings, OneOrMany, SecretReference, at

PORT: Final = 53
_WEAK: Final = ("hmac-md5", "hmac-md5.sig-alg.reg.int", "hmac-sha1", "gss-tsig")


def _algorithm(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    name = value.strip().lower().removesuffix(".")
    if name in _WEAK:
        raise ValueError("MD5, SHA-1 and GSS keys are not taken (RFC 8945 section 6); make a key of hmac-sha256")
    return name


Algorithm = Annotated[Literal["hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"], BeforeValidator(_algorithm)]
"""RFC 8945 section 6: HMAC-MD5 must not be used, HMAC-SHA1 is not recommended."""


def _server(text: str) -> str:
    split_host_port(text, PORT)
    return text


Server = Annotated[str, AfterValidator(_server)]
KeyName = Annotated[str, AfterValidator(normalize_host)]


class Rfc2136Settings(DnsSettings):
    """DNS UPDATE (RFC 2136), signed with TSIG (RFC 8945) or, without the `tsig_` keys, not signed."""

    provider: str = "rfc2136"
    server: OneOrMany[Server] = Field(
        description="The primary, HOST[:PORT] or [V6]:PORT; further ones are tried next.", examples=["127.0.0.1:53"]
    )
    tsig_name: KeyName | None = Field(None, description="The name of the TSIG key.", examples=["ci-acme"])
    tsig_secret: SecretReference | None = Field(
        None, description="A reference to the TSIG key's secret, base64.", examples=["env:TSIG_SECRET"]
    )
    tsig_algorithm: Algorithm | None = Field(None, description="The TSIG key's algorithm; hmac-sha256 otherwise.")

    @model_validator(mode="after")
    def _whole_key(self) -> Rfc2136Settings:
        if (self.tsig_name is None) != (self.tsig_secret is None):
            missing = "tsig_name" if self.tsig_name is None else "tsig_secret"
            raise at({(missing,): "is required: tsig_name and tsig_secret belong together"})
        if self.tsig_name is None and self.tsig_algorithm is not None:
            raise at({("tsig_name",): "is required: tsig_algorithm says nothing without tsig_name and tsig_secret"})
        return self

    @property
    def algorithm(self) -> str:
        """The TSIG key's algorithm, in lower case."""
        return self.tsig_algorithm or "hmac-sha256"

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each server, in the order to try."""
        return tuple(split_host_port(text, PORT) for text in self.server)
