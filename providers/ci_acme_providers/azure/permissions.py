"""What Azure has to grant, for exactly one config: custom roles, where to assign them, and how a CI job signs in.

A custom role can be *assigned* at a record set, a certificate or a secret, and be *assignable* no lower than in a
resource group: the role and its assignments are two documents.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.azure.clouds import CLOUDS
from ci_acme_providers.azure.config import (
    ZONE_ID,
    AzureAccess,
    AzureDnsSettings,
    KeyVaultSecretSettings,
    KeyVaultSettings,
    VaultTarget,
)
from ci_acme_providers.azure.session import vault_name

SUBSCRIPTION: Final = "SUBSCRIPTION"
GROUP: Final = "RESOURCE-GROUP"
_TXT: Final = "Microsoft.Network/dnsZones/TXT"
_ZONE_READ: Final = "Microsoft.Network/dnsZones/read"
_CERTIFICATES: Final = "Microsoft.KeyVault/vaults/certificates"
_SECRETS: Final = "Microsoft.KeyVault/vaults/secrets"


def dns(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """A role for TXT record sets, assigned at each of them; and one to find the zone, where no zone_id is given."""
    settings = request.settings
    assert isinstance(settings, AzureDnsSettings)
    subscription, group, zone = _place(settings, request.zone)
    actions = [f"{_TXT}/read", f"{_TXT}/write", *([] if settings.on_last == "keep_empty" else [f"{_TXT}/delete"])]
    scope = f"/subscriptions/{subscription}/resourceGroups/{group}"
    zone_scope = f"{scope}/providers/Microsoft.Network/dnsZones/{zone}"
    scopes = [f"{zone_scope}/TXT/{_relative(name, zone)}" for name in request.names]
    documents = [
        _role("ci-acme challenge records", "Writes the TXT records of ACME challenges.", scope, actions=actions),
        _assignments("ci-acme challenge records", scopes),
    ]
    if settings.zone_id is None:
        found_at = zone_scope if settings.resource_group is not None else f"/subscriptions/{subscription}"
        title = "ci-acme zone discovery"
        assignable = scope if settings.resource_group is not None else found_at
        documents += [
            _role(title, "Finds DNS zones; a zone_id in the config does without.", assignable, actions=[_ZONE_READ]),
            _assignments(title, [found_at]),
        ]
    return [*documents, *_sign_in(settings)]


def key_vault(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """A role for one certificate of a vault."""
    settings = request.settings
    assert isinstance(settings, KeyVaultSettings)
    rights = ["read", "import/action", "update/action", "recover/action", *(["delete"] if request.retire else [])]
    data = [f"{_CERTIFICATES}/{right}" for right in rights]
    documents = _vault("ci-acme certificate", settings, "certificates", data)
    more = (
        f"To serve other stores from this one, the key has to be read: {_SECRETS}/getSecret/action at\n"
        f"{_object('secrets', settings)}\n"
        f"To purge (retire --purge): {_CERTIFICATES}/purge/action.\n"
        "A vault with access policies instead of roles: certificate get, import, update, recover"
        f"{', delete' if request.retire else ''}."
    )
    return [*documents, PolicyDocument("what else may be wanted", "text", more), *_sign_in(settings)]


def key_vault_secret(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """A role for one secret of a vault."""
    settings = request.settings
    assert isinstance(settings, KeyVaultSecretSettings)
    rights = [
        "readMetadata/action",
        "setSecret/action",
        "update/action",
        "recover/action",
        *(["delete"] if request.retire else []),
    ]
    documents = _vault("ci-acme secret", settings, "secrets", [f"{_SECRETS}/{right}" for right in rights])
    more = (
        f"To read back what was written, and to serve other stores from this one: {_SECRETS}/getSecret/action.\n"
        f"To purge (retire --purge): {_SECRETS}/purge/action.\n"
        "A vault with access policies instead of roles: secret list, set, recover"
        f"{', delete' if request.retire else ''}."
    )
    return [*documents, PolicyDocument("what else may be wanted", "text", more), *_sign_in(settings)]


# --- documents


def _vault(title: str, settings: VaultTarget, family: str, data: Sequence[str]) -> list[PolicyDocument]:
    what = f"Writes {family} of key vaults that hold TLS certificates."
    role = _role(title, what, f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}", data=data)
    return [role, _assignments(title, [_object(family, settings)])]


def _object(family: str, settings: VaultTarget) -> str:
    """The scope of an object in a vault, for a shell: the vault's id is asked for by its name."""
    vault, name = settings.where
    return f"$(az keyvault show --name {vault_name(vault)} --query id --output tsv)/{family}/{name}"


def _role(
    title: str, description: str, scope: str, *, actions: Sequence[str] = (), data: Sequence[str] = ()
) -> PolicyDocument:
    document = {
        "Name": title,
        "IsCustom": True,
        "Description": description,
        "Actions": list(actions),
        "NotActions": [],
        "DataActions": list(data),
        "NotDataActions": [],
        "AssignableScopes": [scope],
    }
    return PolicyDocument(f"the role {title}: az role definition create", "json", json.dumps(document, indent=2))


def _assignments(title: str, scopes: Sequence[str]) -> PolicyDocument:
    lines = [f'az role assignment create --assignee CLIENT --role "{title}" --scope "{scope}"' for scope in scopes]
    return PolicyDocument(f"where the role {title} is assigned", "text", "\n".join(lines))


def _sign_in(access: AzureAccess) -> list[PolicyDocument]:
    """The federated credential, unless the config has another way."""
    if access.client_secret is not None or access.managed_identity:
        return []
    parameters = {
        "name": "ci-acme",
        "issuer": "https://token.actions.githubusercontent.com",
        "subject": "repo:OWNER/REPOSITORY:ref:refs/heads/BRANCH",
        "audiences": [CLOUDS[access.cloud or "public"].audience],
    }
    text = (
        f"az ad app federated-credential create --id {access.client or 'CLIENT'} --parameters "
        f"'{json.dumps(parameters)}'\n"
        "Issuer and subject are GitHub's; GitLab's are https://gitlab.com and "
        "project_path:GROUP/PROJECT:ref_type:branch:ref:BRANCH. Some repositories have ids in their subject: where it "
        "does not match, the error of ci-acme has the one that the job presented."
    )
    return [PolicyDocument("how a CI job signs in without a secret", "text", text)]


def _place(settings: AzureDnsSettings, apex: str) -> tuple[str, str, str]:
    """Subscription, group and zone, with placeholders for what the config does not say."""
    match = ZONE_ID.match(settings.zone_id or "")
    if match is not None:
        return match["subscription"], match["group"], match["zone"]
    return settings.subscription or SUBSCRIPTION, settings.resource_group or GROUP, settings.zone_id or apex


def _relative(name: str, zone: str) -> str:
    return "@" if name == zone else name.removesuffix(f".{zone}")
