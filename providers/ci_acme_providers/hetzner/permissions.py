"""The token that Hetzner has to give."""

from __future__ import annotations

from collections.abc import Sequence

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.hetzner.config import HetznerSettings


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """The one kind of token that can write."""
    settings = request.settings
    assert isinstance(settings, HetznerSettings)
    zone = request.zone or settings.zone
    lines = [
        f"Hetzner Console, the project that has {zone}, Security, API tokens: Generate API token",
        "Permission:  Read & Write",
        "Hetzner has no narrower permission: the token can change everything in the project, servers too. Keep the",
        "zone, or one that _acme-challenge is an alias (CNAME) into, in a project of its own.",
    ]
    return [PolicyDocument(f"Hetzner API token for {zone}", "text", "\n".join(lines) + "\n")]
