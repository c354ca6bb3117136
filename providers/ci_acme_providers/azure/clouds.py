"""The national clouds of Azure: where each signs in, is managed, and keeps its vaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from ci_acme.dataclass import dataclass

CloudName = Literal["public", "china", "us-government"]


@dataclass(frozen=True, slots=True)
class Cloud:
    """`scope` is what a token for the management API is asked for; `audience` is that of a CI job's identity token;
    `text_characters` bounds a TXT record set.
    """

    authority: str
    management: str
    scope: str
    vaults: str
    audience: str
    text_characters: int


CLOUDS: Final[Mapping[CloudName, Cloud]] = {
    "public": Cloud(
        "https://login.microsoftonline.com",
        "https://management.azure.com",
        "https://management.azure.com/.default",
        "vault.azure.net",
        "api://AzureADTokenExchange",
        4096,
    ),
    "china": Cloud(
        "https://login.chinacloudapi.cn",
        "https://management.chinacloudapi.cn",
        "https://management.chinacloudapi.cn/.default",
        "vault.azure.cn",
        "api://AzureADTokenExchangeChina",
        1024,
    ),
    "us-government": Cloud(
        "https://login.microsoftonline.us",
        "https://management.usgovcloudapi.net",
        "https://management.core.usgovcloudapi.net/.default",
        "vault.usgovcloudapi.net",
        "api://AzureADTokenExchangeUSGov",
        1024,
    ),
}
"""Hosts as azure-core and azure-identity have them; the characters are documented limits of Azure DNS."""


def cloud_for(name: CloudName | None, environ: Mapping[str, str]) -> Cloud:
    """The cloud that the config names, else the one whose sign-in host AZURE_AUTHORITY_HOST is, else the public one."""
    if name is not None:
        return CLOUDS[name]
    host = environ.get("AZURE_AUTHORITY_HOST", "").rstrip("/").removeprefix("https://")
    return next((cloud for cloud in CLOUDS.values() if cloud.authority == f"https://{host}"), CLOUDS["public"])
