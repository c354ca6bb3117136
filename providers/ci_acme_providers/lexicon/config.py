"""Settings of the `lexicon` DNS provider."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, model_validator

from ci_acme.settings import DnsSettings, SecretReference, at

OURS: Final = {
    "azure": "azure-dns",
    "cloudflare": "cloudflare",
    "ddns": "rfc2136",
    "digitalocean": "digitalocean",
    "googleclouddns": "google-cloud-dns",
    "hetzner": "hetzner",
    "ovh": "ovh",
    "powerdns": "powerdns",
    "route53": "route53",
}
"""Lexicon's names of what we have ourselves, and ours."""
_LOSING: Final = ("azure", "googleclouddns", "route53")
"""Those with which lexicon loses the values of others, and ours does not."""
_CONFIDENTIAL: Final = re.compile(r"token|secret|password|passwd|(^|_)key$|api_?key|credentials|private")


def _provider(name: str) -> str:
    if name in _LOSING:
        raise ValueError(f"loses the values of others there; write provider: {OURS[name]}")
    if name == "auto":
        raise ValueError("guesses the provider from the zone's name servers; name it")
    return name


LexiconProvider = Annotated[str, Field(pattern=r"^[a-z0-9]+$"), AfterValidator(_provider)]
OptionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]


class LexiconSettings(DnsSettings):
    """A provider of the library dns-lexicon, with the options that its page of lexicon's documentation names."""

    provider: str = "lexicon"
    lexicon_provider: LexiconProvider = Field(description="Lexicon's name of the provider.", examples=["gandi"])
    options: dict[OptionName, str | int | float | bool] = Field(
        default_factory=dict[OptionName, str | int | float | bool],
        description="The provider's options that are no secrets, by lexicon's names with underscores.",
        examples=[{"api_protocol": "rest"}],
    )
    secrets: dict[OptionName, SecretReference] = Field(
        default_factory=dict[OptionName, SecretReference],
        description="Options that are secrets: a reference for each.",
        examples=[{"auth_token": "env:DNS_TOKEN"}],
    )

    @model_validator(mode="after")
    def _separate(self) -> LexiconSettings:
        for name in self.options:
            if name in self.secrets:
                raise at({("options", name): "is among the secrets as well"})
            if _CONFIDENTIAL.search(name):
                raise at({("options", name): "looks like a secret: give it as a reference under secrets"})
        return self
