"""The token that Cloudflare has to give, for exactly one entry of the config."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.cloudflare.config import CloudflareSettings

_DNS_WRITE: Final = {"id": "4755a26eedb94da69e1066d98aa820be", "name": "DNS Write"}
_ZONE_READ: Final = {"id": "c8fed203ed3043cba015a93ad1616f1f", "name": "Zone Read"}
"""Permission groups, as Cloudflare's API numbers them."""


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """The token in words for the dashboard, and as the body of `POST /user/tokens`."""
    settings = request.settings
    assert isinstance(settings, CloudflareSettings)
    zone = request.zone or settings.zone
    groups = [_DNS_WRITE] if settings.zone_id else [_DNS_WRITE, _ZONE_READ]
    lines = [
        "Permissions:     Zone / DNS / Edit",
        *(() if settings.zone_id else ("                 Zone / Zone / Read   (not needed with zone_id)",)),
        f"Zone resources:  Include / Specific zone / {zone}",
        "Cloudflare has no permission for single names: the token can change every record of the zone.",
    ]
    body: dict[str, Any] = {
        "name": f"ci-acme {zone}",
        "policies": [
            {
                "effect": "allow",
                "resources": {f"com.cloudflare.api.account.zone.{settings.zone_id or 'ZONE_ID'}": "*"},
                "permission_groups": groups,
            }
        ],
    }
    return [
        PolicyDocument(f"Cloudflare API token for {zone}", "text", "\n".join(lines) + "\n"),
        PolicyDocument(f"Body of POST /user/tokens for {zone}", "json", json.dumps(body, indent=2) + "\n"),
    ]
