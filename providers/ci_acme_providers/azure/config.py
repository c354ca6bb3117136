"""Settings of the Azure providers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from ci_acme.settings import DnsSettings, SecretReference, Settings, ShapedSettings, StoreSettings, at
from ci_acme.shapes import ShapeName
from ci_acme_providers.azure.clouds import CloudName

ZONE_ID: Final = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.Network/dnsZones/(?P<zone>[^/]+)\Z",
    re.IGNORECASE,
)
_VAULT: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]\Z")
_OBJECT: Final = re.compile(r"[A-Za-z0-9-]{1,127}\Z")


def _https(text: str) -> str:
    if not re.match(r"https://[^/\s]", text):
        raise ValueError("must be an https URL: Azure's clients send tokens over nothing else")
    return text.rstrip("/")


Url = Annotated[str, AfterValidator(_https)]


class AzureAccess(Settings):
    """As whom Azure is asked; every field may stay away where the environment says it."""

    tenant: str | None = Field(
        None, min_length=1, description="The Entra tenant (directory) of `client`; AZURE_TENANT_ID otherwise."
    )
    client: str | None = Field(
        None,
        min_length=1,
        description="The application (client) id to sign in as, with the CI system's identity token; AZURE_CLIENT_ID "
        "otherwise.",
    )
    client_secret: SecretReference | None = Field(
        None, description="A reference to a secret of `client`, where there is no identity token to sign in with."
    )
    managed_identity: bool = Field(
        default=False,
        description="Use the managed identity of this machine, of `client` if that is given. Without it, a managed "
        "identity is used where the environment announces one, and no machine is ever probed for it.",
    )
    cloud: CloudName | None = Field(None, description="The national cloud; `public` without a word.")
    authority: Url | None = Field(None, description="Another sign-in host; AZURE_AUTHORITY_HOST otherwise.")
    ca_bundle: Path | None = Field(
        None, description="PEM file of the CAs to trust instead of the usual ones: a proxy, a test server."
    )

    @model_validator(mode="after")
    def _whole_client(self) -> AzureAccess:
        if self.client_secret is not None and self.client is None:
            raise at({("client",): "is required: client_secret belongs to an application"})
        if self.client_secret is not None and self.managed_identity:
            raise at({("managed_identity",): "excludes client_secret: one of the two proves who we are"})
        return self


class AzureDnsSettings(DnsSettings, AzureAccess):
    """A public zone of Azure DNS."""

    provider: str = "azure-dns"
    zone_id: str | None = Field(
        None,
        description="The zone's resource id, or its name where resource_group is given: skips discovery, and needs no "
        "permission to list.",
        examples=["/subscriptions/ID/resourceGroups/dns/providers/Microsoft.Network/dnsZones/example.com"],
    )
    subscription: str | None = Field(
        None, min_length=1, description="The subscription; AZURE_SUBSCRIPTION_ID otherwise."
    )
    resource_group: str | None = Field(None, min_length=1, description="The resource group of the zone.")
    endpoint: Url | None = Field(None, description="Another URL of Azure Resource Manager: a test server.")
    on_last: Literal["delete", "keep_empty"] = Field(
        "delete",
        description="What becomes of a record set when its last value goes: `keep_empty` leaves it without records, "
        "so that a role that is assigned to it stays, and needs no permission to delete.",
    )

    @model_validator(mode="after")
    def _zone_can_be_found(self) -> AzureDnsSettings:
        zone = self.zone_id
        if zone is None or ZONE_ID.match(zone):
            return self
        if "/privatednszones/" in zone.lower():
            raise at({("zone_id",): "is a private zone (another service), which no public CA can see"})
        if "/" in zone:
            raise at({("zone_id",): "is no resource id of a zone: /subscriptions/…/Microsoft.Network/dnsZones/NAME"})
        if self.resource_group is None:
            raise at({("resource_group",): "is required: zone_id is a name, which several groups may have"})
        return self


def split_target(vault: str | None, name: str) -> tuple[str, str]:
    """The vault (its name, or its https URL) and the name in it; `name` may be VAULT/NAME. Raises `ValueError`."""
    if vault is None:
        vault, _, name = name.rpartition("/")
    if not vault:
        raise ValueError("the vault is missing: give it as vault, or write VAULT/NAME")
    if not vault.startswith("https://") and not _VAULT.match(vault):
        raise ValueError("the vault is no name of 3 to 24 letters, digits and hyphens, and no https URL")
    if not _OBJECT.match(name):
        raise ValueError("a name in a vault has 1 to 127 letters, digits and hyphens, and nothing else")
    return vault.rstrip("/"), name


class VaultTarget(StoreSettings, AzureAccess):
    """A name in a key vault."""

    vault: str | None = Field(
        None, min_length=1, description="The vault's name, or its https URL.", examples=["web-prod"]
    )
    name: str = Field(
        min_length=1, description="The name in the vault; VAULT/NAME where vault is not given.", examples=["web-tls"]
    )

    @model_validator(mode="after")
    def _target_is_one(self) -> VaultTarget:
        try:
            split_target(self.vault, self.name)
        except ValueError as error:
            raise at({("name",): str(error)}) from None
        return self

    @property
    def where(self) -> tuple[str, str]:
        """The vault and the name in it."""
        return split_target(self.vault, self.name)


class KeyVaultSettings(VaultTarget):
    """A certificate of Key Vault; every renewal is imported as a new version."""

    provider: str = "azure-key-vault"
    format: Literal["pkcs12", "pem"] = Field(
        "pkcs12",
        description="What the vault gives to those who read key and certificate as a secret: Application Gateway, "
        "Front Door and App Service read `pkcs12`.",
    )
    exportable: bool = Field(
        default=True, description="Whether the key may be read out of the vault; services of Azure need that."
    )


class KeyVaultSecretSettings(VaultTarget, ShapedSettings):
    """A secret of Key Vault that holds key and certificate in a shape of your choice."""

    SHAPE: ClassVar[ShapeName] = "json"

    provider: str = "azure-key-vault-secret"
