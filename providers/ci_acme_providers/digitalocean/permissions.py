"""The token that DigitalOcean has to give."""

from __future__ import annotations

from collections.abc import Sequence

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.digitalocean.config import DigitalOceanSettings


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """The scopes of a personal access token."""
    settings = request.settings
    assert isinstance(settings, DigitalOceanSettings)
    zone = settings.zone_id or request.zone or settings.zone
    lines = [
        "Custom scopes:  domain:read",
        "                domain:create",
        "                domain:delete",
        f"Scopes are for the whole team: the token can change every domain, not {zone} alone. To confine it, put the",
        "domain, or one that _acme-challenge is an alias (CNAME) into, in a team of its own.",
    ]
    return [PolicyDocument(f"DigitalOcean token for {zone}", "text", "\n".join(lines) + "\n")]
