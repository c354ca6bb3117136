"""Settings of the providers that leave the work to somebody else: a program (`hook`) or a web server (`httpreq`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ci_acme.errors import ConfigError
from ci_acme.rest import require_https
from ci_acme.settings import Count, DnsSettings, Flag, ListOrOne, Seconds, SecretReference, at


def _mode(value: Any) -> Any:
    if isinstance(value, str) and value.strip().lower() == "raw":
        raise ValueError(
            "the raw mode wants the challenge's token and key authorization, which a DNS provider never sees; "
            "take the default mode: the name and the value of the TXT record"
        )
    return value


Mode = Annotated[Literal["default"], BeforeValidator(_mode)]
"""lego's mode: the TXT record's name and value. Its other one, `RAW`, is refused with the reason."""
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class HookSettings(DnsSettings):
    """A program that is called as `PROGRAM present|cleanup FQDN VALUE`, as lego's `exec` calls it."""

    provider: str = "hook"
    program: str = Field(
        min_length=1,
        description="The program: a path, or a name that is looked up in PATH. No shell is involved.",
        examples=["./dns-hook"],
    )
    environment: Annotated[tuple[VariableName, ...], ListOrOne()] = Field(
        (),
        description="Names of environment variables that it gets beside PATH, HOME, LANG and TZ, if they are set.",
        examples=[["DNS_TOKEN"]],
    )
    timeout: Seconds = Field(60.0, gt=0, le=3600, description="Seconds that one call may take.")
    parallel: Count = Field(
        1, ge=1, le=64, description="How many calls may run at once; those for one name never run at once."
    )
    mode: Mode = Field("default", description="What it is called with: the record's name and value.")


class HttpreqSettings(DnsSettings):
    """A web server that takes POST `/present` and `/cleanup` with `fqdn` and `value`, as of lego's `httpreq`."""

    provider: str = "httpreq"
    endpoint: str = Field(description="The server's URL, above /present and /cleanup.", examples=["https://dns.corp"])
    username: SecretReference | None = Field(None, description="A reference to the user of basic authentication.")
    password: SecretReference | None = Field(None, description="A reference to the password of basic authentication.")
    per_value: Flag = Field(
        default=False, description="The server promises to add and remove single values, whoever else does."
    )
    plain: Flag = Field(default=False, description="Allow http to another machine: what is sent can be read there.")
    ca_bundle: Path | None = Field(None, description="A PEM file that the server's certificate is trusted by.")
    mode: Mode = Field("default", description="What is sent: the record's name and value.")

    @model_validator(mode="after")
    def _usable(self) -> HttpreqSettings:
        if (self.username is None) != (self.password is None):
            missing = "username" if self.username is None else "password"
            raise at({(missing,): "is required: username and password belong together"})
        try:
            require_https(self.endpoint, plain=self.plain)
        except ConfigError:
            raise at({("endpoint",): "must be an https URL; http elsewhere than to this machine needs plain"}) from None
        if "@" in self.endpoint:
            raise at({("endpoint",): "must not hold a user: give username and password as references"})
        return self
