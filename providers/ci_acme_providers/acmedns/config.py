"""Settings of the `acme-dns` DNS provider."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from ci_acme.errors import ConfigError
from ci_acme.model.names import ROOT, normalize_host, split_host_port
from ci_acme.rest import require_https
from ci_acme.settings import DnsSettings, Flag, SecretReference, at

PORT = 53


def _server(text: str) -> str:
    split_host_port(text, PORT)
    return text


class AcmeDnsSettings(DnsSettings):
    """One registration at an acme-dns server, which serves two values at one name of its own.

    `zone` is the server's domain, as challenge names are looked up there by CNAME: `auth.example.org`.
    """

    provider: str = "acme-dns"
    url: str = Field(description="The server's web address.", examples=["https://auth.example.org"])
    username: SecretReference = Field(description="A reference to the registration's `username`.")
    password: SecretReference = Field(description="A reference to the registration's `password`.")
    subdomain: str = Field(
        pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$",
        description="The registration's `subdomain`.",
        examples=["8e5700ea-a4bf-41c7-8a77-e990661dcc6a"],
    )
    full_domain: Annotated[str, AfterValidator(normalize_host)] | None = Field(
        None, description="The registration's `fulldomain`; without it, the subdomain in `zone`."
    )
    nameserver: Annotated[str, AfterValidator(_server)] | None = Field(
        None, description="Where the server answers DNS, HOST[:PORT]; without it, the host of `url`."
    )
    plain: Flag = Field(default=False, description="Allow http to another machine: the password can be read there.")
    ca_bundle: Path | None = Field(None, description="A PEM file that the server's certificate is trusted by.")

    @model_validator(mode="after")
    def _usable(self) -> AcmeDnsSettings:
        try:
            require_https(self.url, plain=self.plain)
        except ConfigError:
            raise at(
                {("url",): "must be an https URL; http elsewhere than to this machine needs plain: true"}
            ) from None
        if self.full_domain is None and self.zone == ROOT:
            raise at({("full_domain",): "is required where zone does not name the server's domain"})
        return self

    @property
    def alias(self) -> str:
        return self.target

    @property
    def target(self) -> str:
        """The name that challenge names have to be a CNAME of."""
        if self.full_domain is not None:
            return self.full_domain
        subdomain = self.subdomain.lower()
        return self.zone if self.zone.partition(".")[0] == subdomain else f"{subdomain}.{self.zone}"

    @property
    def server(self) -> tuple[str, int]:
        """Host and port of the DNS side."""
        return split_host_port(self.nameserver or urlsplit(self.url).hostname or "", PORT)
