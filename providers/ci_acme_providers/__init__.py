"""The built-in providers. Only the catalogue is here: importing it imports none of them."""

from __future__ import annotations

from typing import Final

from ci_acme.spec import Kind, ProviderSpec

CATALOGUE: Final = (
    ProviderSpec(
        name="rfc2136",
        kind=Kind.DNS,
        adapter="ci_acme_providers.rfc2136.adapter:Rfc2136",
        settings="ci_acme_providers.rfc2136.config:Rfc2136Settings",
        summary="DNS UPDATE (RFC 2136) with TSIG: BIND, Knot, PowerDNS, Windows DNS",
        permissions=(
            "update-policy { grant KEY name _acme-challenge.www.example.com. TXT; };  // a grant for each name",
        ),
        policies="ci_acme_providers.rfc2136.permissions:policies",
    ),
    ProviderSpec(
        name="cloudflare",
        kind=Kind.DNS,
        adapter="ci_acme_providers.cloudflare.adapter:Cloudflare",
        settings="ci_acme_providers.cloudflare.config:CloudflareSettings",
        summary="Cloudflare, by API token",
        permissions=("Zone / DNS / Edit on the one zone", "Zone / Zone / Read on it, unless zone_id is given"),
        policies="ci_acme_providers.cloudflare.permissions:policies",
    ),
    ProviderSpec(
        name="digitalocean",
        kind=Kind.DNS,
        adapter="ci_acme_providers.digitalocean.adapter:DigitalOcean",
        settings="ci_acme_providers.digitalocean.config:DigitalOceanSettings",
        summary="DigitalOcean DNS, by personal access token",
        permissions=("domain:read", "domain:create", "domain:delete"),
        policies="ci_acme_providers.digitalocean.permissions:policies",
    ),
    ProviderSpec(
        name="hetzner",
        kind=Kind.DNS,
        adapter="ci_acme_providers.hetzner.adapter:Hetzner",
        settings="ci_acme_providers.hetzner.config:HetznerSettings",
        summary="Hetzner DNS, by the Cloud API (not the former DNS Console)",
        permissions=("an API token with Read & Write of the project that has the zone",),
        policies="ci_acme_providers.hetzner.permissions:policies",
    ),
    ProviderSpec(
        name="ovh",
        kind=Kind.DNS,
        adapter="ci_acme_providers.ovh.adapter:Ovh",
        settings="ci_acme_providers.ovh.config:OvhSettings",
        summary="OVHcloud DNS, by consumer key or service account",
        permissions=(
            "GET /domain/zone/ZONE, unless zone_id is given",
            "GET and POST /domain/zone/ZONE/record",
            "GET and DELETE /domain/zone/ZONE/record/*",
            "POST /domain/zone/ZONE/refresh",
        ),
        policies="ci_acme_providers.ovh.permissions:policies",
    ),
    ProviderSpec(
        name="route53",
        kind=Kind.DNS,
        adapter="ci_acme_providers.aws.route53:Route53",
        settings="ci_acme_providers.aws.config:Route53Settings",
        summary="Amazon Route 53",
        extra="aws",
        permissions=(
            "route53:ChangeResourceRecordSets on the hosted zone, for TXT, CREATE and DELETE, at the challenge names",
            "route53:ListResourceRecordSets and route53:GetHostedZone on the hosted zone",
            "route53:GetChange on change/*",
            "route53:ListHostedZonesByName, unless zone_id is given",
        ),
        policies="ci_acme_providers.aws.permissions:policies",
    ),
    ProviderSpec(
        name="file",
        kind=Kind.STORE,
        adapter="ci_acme_providers.files.adapter:FileStore",
        settings="ci_acme_providers.files.config:FileSettings",
        summary="a directory, replaced as one",
        permissions=("write to the directory",),
    ),
    ProviderSpec(
        name="azure-dns",
        kind=Kind.DNS,
        adapter="ci_acme_providers.azure.dns:AzureDns",
        settings="ci_acme_providers.azure.config:AzureDnsSettings",
        summary="Azure DNS: public zones, safe beside other writers by ETags",
        extra="azure",
        permissions=(
            "Microsoft.Network/dnsZones/TXT/read, write and delete at each record set (TXT/_acme-challenge.www)",
            "Microsoft.Network/dnsZones/read at the zone, unless the config has its zone_id",
        ),
        policies="ci_acme_providers.azure.permissions:dns",
    ),
    ProviderSpec(
        name="azure-key-vault",
        kind=Kind.STORE,
        adapter="ci_acme_providers.azure.key_vault:KeyVault",
        settings="ci_acme_providers.azure.config:KeyVaultSettings",
        summary="a certificate of Azure Key Vault, imported as a new version",
        extra="azure",
        permissions=(
            "Microsoft.KeyVault/vaults/certificates/read, import/action, update/action at the certificate",
            "Microsoft.KeyVault/vaults/certificates/recover/action, to write where one was deleted",
            "Microsoft.KeyVault/vaults/certificates/delete, to retire",
        ),
        policies="ci_acme_providers.azure.permissions:key_vault",
    ),
    ProviderSpec(
        name="azure-key-vault-secret",
        kind=Kind.STORE,
        adapter="ci_acme_providers.azure.key_vault_secret:KeyVaultSecret",
        settings="ci_acme_providers.azure.config:KeyVaultSecretSettings",
        summary="a secret of Azure Key Vault, in a shape of your choice",
        extra="azure",
        permissions=(
            "Microsoft.KeyVault/vaults/secrets/readMetadata/action, setSecret/action, update/action at the secret",
            "Microsoft.KeyVault/vaults/secrets/recover/action, to write where one was deleted",
            "Microsoft.KeyVault/vaults/secrets/delete, to retire",
        ),
        policies="ci_acme_providers.azure.permissions:key_vault_secret",
    ),
    ProviderSpec(
        name="azure-key-vault",
        kind=Kind.SECRETS,
        adapter="ci_acme_providers.azure.secret_source:read_secret",
        settings="ci_acme_providers.azure.config:AzureAccess",
        summary="azure-key-vault:VAULT/NAME, a secret of Azure Key Vault",
        extra="azure",
        permissions=("Microsoft.KeyVault/vaults/secrets/getSecret/action at the secret",),
    ),
)
