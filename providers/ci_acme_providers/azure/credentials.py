"""As whom Azure is asked: chosen from what is present, so that nothing is probed and nothing is guessed.

In this order: the secret that the config refers to; for a client and tenant (settings, else AZURE_CLIENT_ID and
AZURE_TENANT_ID) the token in AZURE_FEDERATED_TOKEN_FILE, the identity token of the CI job, AZURE_CLIENT_SECRET; a
managed identity that the config or the environment announces; the Azure CLI.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ci_acme.errors import SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import ProviderContext
from ci_acme_providers.azure.clouds import cloud_for
from ci_acme_providers.azure.config import AzureAccess

_VARIABLES: Final = (
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "REQUESTS_CA_BUNDLE",
    "IDENTITY_ENDPOINT",
    "MSI_ENDPOINT",
    "PATH",
)
_CLI_SECONDS: Final = 30
_lock = threading.Lock()
_shared: dict[tuple[object, ...], SharedCredential] = {}


class SharedCredential:
    """A credential of azure-identity that many threads use and that fetches one token at a time."""

    def __init__(self, credential: Any) -> None:
        self._credential = credential
        self._lock = threading.Lock()

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """The protocol of azure-core."""
        with self._lock:
            return self._credential.get_token(*scopes, **options)

    def get_token_info(self, *scopes: str, options: Any = None) -> Any:
        """The protocol of azure-core."""
        with self._lock:
            return self._credential.get_token_info(*scopes, options=options)


def credential_for(access: AzureAccess, context: ProviderContext) -> SharedCredential:
    """The credential, the same for all adapters of a run that sign in alike. Raises `SecretError`."""
    said = (access.tenant, access.client, access.client_secret, access.managed_identity)
    how = (access.cloud, access.authority, access.ca_bundle, context.identity, context.secrets)
    key = (*said, *how, *(context.environ.get(name) for name in _VARIABLES))
    with _lock:
        if key not in _shared:
            logging.getLogger("azure").addHandler(logging.NullHandler())  # what fails is told once, by us
            _shared[key] = SharedCredential(_Choice(access, context).make())
        return _shared[key]


def trust_of(access: AzureAccess, environ: Mapping[str, str]) -> dict[str, str]:
    """The transport's options for TLS: another CA bundle, if there is one."""
    bundle = access.ca_bundle or environ.get("REQUESTS_CA_BUNDLE")
    return {"connection_verify": str(bundle)} if bundle else {}


class _Choice:
    """One choice of a credential."""

    def __init__(self, access: AzureAccess, context: ProviderContext) -> None:
        self._access = access
        self._context = context
        self._cloud = cloud_for(access.cloud, context.environ)
        self._client = access.client or context.environ.get("AZURE_CLIENT_ID")
        self._tenant = access.tenant or context.environ.get("AZURE_TENANT_ID")
        self._why: list[SecretError] = []

    def make(self) -> Any:
        """A credential of azure-identity. Raises `SecretError`."""
        if self._access.client_secret is not None:
            return self._with_secret(self._context.secrets(self._access.client_secret))
        found = self._managed() if self._access.managed_identity else self._principal() or self._announced()
        if found is None and self._access.client is None:
            found = self._command_line()
        if found is None:
            raise self._nothing()
        return found

    def _principal(self) -> Any:
        """The application `client`, by whatever proves that we are it; None if nothing does."""
        if not self._client or not self._tenant:
            return None
        environ = self._context.environ
        if path := environ.get("AZURE_FEDERATED_TOKEN_FILE"):
            return self._with_assertion(lambda: _read(path))
        try:
            first = self._context.identity(self._cloud.audience)
        except SecretError as error:
            self._why.append(error)
        else:
            return self._with_assertion(_Fresh(first, lambda: self._context.identity(self._cloud.audience)))
        if secret := environ.get("AZURE_CLIENT_SECRET"):
            return self._with_secret(Secret(secret.encode()))
        return None

    def _with_assertion(self, assertion: Callable[[], str]) -> Any:
        from azure.identity import ClientAssertionCredential

        return ClientAssertionCredential(self._tenant or "", self._client or "", func=assertion, **self._options())

    def _with_secret(self, secret: Secret) -> Any:
        if not self._tenant:
            raise SecretError("the Entra tenant of client is not known", fix="set tenant, or AZURE_TENANT_ID")
        from azure.identity import ClientSecretCredential

        text = secret.reveal().decode(errors="replace").strip()
        return ClientSecretCredential(self._tenant, self._client or "", text, **self._options())

    def _announced(self) -> Any:
        environ = self._context.environ
        return self._managed() if environ.get("IDENTITY_ENDPOINT") or environ.get("MSI_ENDPOINT") else None

    def _managed(self) -> Any:
        from azure.identity import ManagedIdentityCredential

        return ManagedIdentityCredential(client_id=self._client)

    def _command_line(self) -> Any:
        """What `az login` left; None without the program."""
        if shutil.which("az", path=self._context.environ.get("PATH")) is None:
            return None
        from azure.identity import AzureCliCredential

        return AzureCliCredential(tenant_id=self._access.tenant or "", process_timeout=_CLI_SECONDS)

    def _options(self) -> dict[str, Any]:
        """Of the connection to the sign-in host."""
        own = self._access.authority or self._context.environ.get("AZURE_AUTHORITY_HOST")
        known = own is None or own.rstrip("/").removeprefix("https://") == self._cloud.authority.removeprefix(
            "https://"
        )
        return {
            "authority": self._cloud.authority if own is None else own,
            "disable_instance_discovery": not known,
            "retry_total": 0,  # `patience` asks again
            "connection_timeout": 10,
            "read_timeout": 20,
            **trust_of(self._access, self._context.environ),
        }

    def _nothing(self) -> SecretError:
        reasons = "; ".join(error.message for error in self._why)
        fixes = "; ".join(error.fix for error in self._why)
        if self._client and not self._tenant:
            return SecretError(
                f"the application {self._client} has no tenant to sign in to", fix="set tenant, or AZURE_TENANT_ID"
            )
        if self._client:
            return SecretError(
                f"nothing proves that we are the application {self._client}: {reasons}",
                fix=f"{fixes}; or refer to a secret of it by client_secret",
            )
        return SecretError(
            "there are no Azure credentials",
            fix="set client and tenant (or AZURE_CLIENT_ID and AZURE_TENANT_ID) of an application that trusts this "
            "job's identity token, or managed_identity: true, or run az login",
        )


class _Fresh:
    """An assertion each time it is called: the one that was fetched to see whether there is any, then new ones."""

    def __init__(self, first: Secret, fetch: Callable[[], Secret]) -> None:
        self._first: Secret | None = first
        self._fetch = fetch

    def __call__(self) -> str:
        token, self._first = self._first or self._fetch(), None
        return token.reveal().decode("ascii")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise SecretError(
            f"the token file {path} cannot be read", fix="correct AZURE_FEDERATED_TOKEN_FILE, or unset it"
        ) from None
