"""Settings of HashiCorp Vault and OpenBao."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator

from ci_acme.settings import SecretReference, Settings, ShapedSettings, at

OWN_FIELD = "ci_acme_metadata"
"""The field beside the certificate's own that says what the version holds."""


def _check_path(text: str) -> str:
    path = text.strip("/")
    if not path or any(part in {"", ".", ".."} for part in path.split("/")):
        raise ValueError("must be a path such as secret/web/tls: the mount, and the secret in it")
    return path


Path = Annotated[str, AfterValidator(_check_path)]


def _url(text: str) -> str:
    from ci_acme.rest import api_url

    return api_url(text)


Url = Annotated[str, AfterValidator(_url)]


class VaultAccess(Settings):
    """Where Vault is and who asks; every field may stay away where the environment says it."""

    address: Url | None = Field(None, description="https://HOST:PORT; VAULT_ADDR or BAO_ADDR otherwise.")
    namespace: str | None = Field(None, min_length=1, description="The namespace; VAULT_NAMESPACE otherwise.")
    ca_bundle: str | None = Field(None, min_length=1, description="Roots to trust, PEM; VAULT_CACERT otherwise.")
    token: SecretReference | None = Field(
        None, description="A reference to a token; without a role, VAULT_TOKEN or BAO_TOKEN."
    )
    role: str | None = Field(
        None,
        min_length=1,
        description="The role to log in to with the CI system's identity token; VAULT_ROLE otherwise.",
    )
    role_id: SecretReference | None = Field(None, description="A reference to the role id of an AppRole.")
    secret_id: SecretReference | None = Field(None, description="A reference to the secret id of the AppRole.")
    auth_mount: str | None = Field(
        None, min_length=1, description="Where the login method is mounted: jwt (VAULT_AUTH_PATH), or approle."
    )
    audience: str | None = Field(
        None, min_length=1, description="The audience of the identity token; the address otherwise."
    )


class VaultSettings(ShapedSettings, VaultAccess):
    """A secret of a KV engine, version 2. Each field of the shape is a field of the secret."""

    TARGET: ClassVar[str] = "path"

    provider: str = "vault"
    path: Path = Field(description="The mount and the secret in it: secret/web/tls.")
    pending: bool = Field(
        default=True,
        description="Keep the key of an order under way at PATH-ci-acme-pending, until its certificate is stored.",
    )
    delete_version_after: str | None = Field(
        None,
        pattern=r"^([0-9]+(h|m|s))+$",
        description="Let Vault delete each version by itself after this time (2160h): for abandoned environments.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> VaultSettings:
        if (self.role_id is None) != (self.secret_id is None):
            raise at({("role_id" if self.role_id is None else "secret_id",): "is required for an AppRole"})
        ways = [name for name in ("token", "role", "role_id") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise at({(ways[1],): f"stands in place of {ways[0]}"})
        if OWN_FIELD in self.made.fields:
            raise at({("fields", OWN_FIELD): "is taken by ci-acme"})
        return self
