"""Clients of Azure's SDKs, with the credentials of this run. The SDKs are imported when a client is made."""

from __future__ import annotations

import logging
from typing import Any, Final
from urllib.parse import urlsplit

from ci_acme.ports import ProviderContext
from ci_acme_providers.azure.clouds import Cloud, cloud_for
from ci_acme_providers.azure.config import AzureAccess
from ci_acme_providers.azure.credentials import SharedCredential, credential_for, trust_of
from ci_acme_providers.azure.patience import OFF

_LOOPBACK: Final = ("127.", "localhost", "::1")


class Session:
    """Makes clients for one adapter; thread-safe. Raises `SecretError` where there are no credentials."""

    def __init__(self, access: AzureAccess, context: ProviderContext) -> None:
        self.cloud: Final[Cloud] = cloud_for(access.cloud, context.environ)
        for name in ("azure", "msal"):  # their warnings repeat a server's words, and come as errors of ours as well
            log = logging.getLogger(name)
            log.setLevel(max(log.level, logging.ERROR))
        self._access = access
        self._context = context

    def dns(self, subscription: str, endpoint: str | None) -> Any:
        """A `DnsManagementClient`; one thread uses it at a time."""
        from azure.mgmt.dns import DnsManagementClient

        return DnsManagementClient(
            self._credential(),
            subscription,
            base_url=endpoint or self.cloud.management,
            credential_scopes=[self.cloud.scope],
            **self._options(),
        )

    def certificates(self, vault: str) -> Any:
        """A `CertificateClient` of a vault (its name or URL)."""
        from azure.keyvault.certificates import CertificateClient

        url = self.vault_url(vault)
        return CertificateClient(url, self._credential(), **self._options(), **_challenge(url))

    def secrets(self, vault: str) -> Any:
        """A `SecretClient` of a vault (its name or URL)."""
        from azure.keyvault.secrets import SecretClient

        url = self.vault_url(vault)
        return SecretClient(url, self._credential(), **self._options(), **_challenge(url))

    def vault_url(self, vault: str) -> str:
        """Where a vault is."""
        return vault if vault.startswith("https://") else f"https://{vault}.{self.cloud.vaults}"

    def _credential(self) -> SharedCredential:
        return credential_for(self._access, self._context)

    def _options(self) -> dict[str, Any]:
        return {**OFF, **trust_of(self._access, self._context.environ)}


def vault_name(vault: str) -> str:
    """What a vault is called: the name, or the first label of its URL's host, with the port if there is one."""
    if not vault.startswith("https://"):
        return vault
    parts = urlsplit(vault)
    host = parts.hostname or ""
    return parts.netloc if host.startswith(_LOOPBACK) else host.partition(".")[0]


def _challenge(url: str) -> dict[str, Any]:
    """A vault names the resource that a token is wanted for; the SDK checks that it is that of the vault's host.

    A vault on this machine (a test) has no such host. Elsewhere the check stands: a stranger's server that asked for a
    token of Azure's vaults would get one.
    """
    host = urlsplit(url).hostname or ""
    return {"verify_challenge_resource": False} if host.startswith(_LOOPBACK) else {}
