"""The policy that exactly one store of a config needs, in Vault's own language."""

from __future__ import annotations

from collections.abc import Sequence

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.vault.config import VaultSettings
from ci_acme_providers.vault.faults import rule


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """A policy to write, and a smaller one for jobs that only plan. The mount is taken for the path's first part."""
    settings = request.settings
    assert isinstance(settings, VaultSettings)
    mount, _, secret = settings.path.partition("/")
    secret = secret or "NAME"
    more = [
        *(["create"] if settings.delete_version_after is not None else []),
        *(["delete"] if request.retire else []),
    ]
    rules = [
        rule(f"{mount}/data/{secret}", "create", "update", "read"),
        rule(f"{mount}/metadata/{secret}", "read", "update", "patch", *more),
    ]
    if request.retire:
        rules.append(rule(f"{mount}/delete/{secret}", "update"))
    if settings.pending:
        rules.append(rule(f"{mount}/data/{secret}-ci-acme-pending", "create", "update", "read"))
        rules.append(rule(f"{mount}/metadata/{secret}-ci-acme-pending", "read", "delete"))
    return [
        PolicyDocument(f"Vault policy to write {settings.path}", "text", "\n".join(rules) + "\n"),
        PolicyDocument(
            f"Vault policy to plan with {settings.path}: no key can be read",
            "text",
            rule(f"{mount}/metadata/{secret}", "read") + "\n",
        ),
    ]
