"""The secret sources of the catalogue: what stands before the colon of a reference."""

from __future__ import annotations

from typing import Final

from ci_acme.spec import Kind, ProviderSpec

SOURCES: Final = (
    ProviderSpec(
        name="azure-key-vault",
        kind=Kind.SECRETS,
        adapter="ci_acme_providers.azure.secret_source:read_secret",
        settings="ci_acme_providers.azure.config:AzureAccess",
        summary="azure-key-vault:VAULT/NAME, a secret of Azure Key Vault",
        extra="azure",
        permissions=("Microsoft.KeyVault/vaults/secrets/getSecret/action at the secret",),
    ),
    ProviderSpec(
        name="gcp-secret-manager",
        kind=Kind.SECRETS,
        adapter="ci_acme_providers.gcp.secret_source:read",
        settings="ci_acme_providers.gcp.config:GoogleAccess",
        summary="secrets in Google Secret Manager",
        extra="gcp",
        permissions=("on the secret: secretmanager.versions.access",),
    ),
    ProviderSpec(
        name="vault",
        kind=Kind.SECRETS,
        adapter="ci_acme_providers.vault.source:read",
        settings="ci_acme_providers.vault.config:VaultAccess",
        summary="vault:PATH#FIELD, a field of a secret of Vault or OpenBao",
        extra="vault",
        permissions=("read on MOUNT/data/PATH",),
    ),
    ProviderSpec(
        name="aws-secrets-manager",
        kind=Kind.SECRETS,
        adapter="ci_acme_providers.aws.secret_source:read",
        settings="ci_acme_providers.aws.config:AwsAccess",
        summary="aws-secrets-manager:NAME, or NAME#FIELD of a JSON secret",
        extra="aws",
        permissions=("secretsmanager:GetSecretValue on the secret",),
    ),
)
