"""What a provider says about itself: data only, so that listing providers imports none of them."""

from __future__ import annotations

from enum import Enum
from typing import Final

from ci_acme.dataclass import dataclass


class Kind(Enum):
    """The families of providers."""

    DNS = "dns"
    STORE = "store"
    SECRETS = "secrets"
    SIGNER = "signer"


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """A catalogue row.

    `adapter` and `settings` are import strings `package.module:Name`: the adapter is called as `adapter(settings,
    context)`; the settings class is a pydantic model derived from `ci_acme.settings`. `extra` is the Python extra that
    brings its dependencies, None for none. `permissions` are what it needs at the platform, for people to read;
    `policies` is the import string of a function `PermissionRequest -> Sequence[PolicyDocument]` that imports no SDK.
    A row of the kind `secrets` has a `ports.SecretSource` as its adapter and no settings.
    """

    name: str
    kind: Kind
    adapter: str
    settings: str
    summary: str
    extra: str | None = None
    permissions: tuple[str, ...] = ()
    policies: str | None = None


PLANNED: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.DNS: (),
    Kind.STORE: (),
    Kind.SECRETS: (),
    Kind.SIGNER: ("aws-kms", "gcp-kms", "azure-key", "vault-transit"),
}
"""Names of the contract that this version knows and does not have yet; a row in a catalogue takes a name over."""
