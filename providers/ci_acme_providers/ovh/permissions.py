"""What OVHcloud's credentials have to be granted, for exactly one entry of the config."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.ovh.config import OvhSettings

_REGIONS: Final = {"ovh-eu": "eu", "ovh-ca": "ca", "ovh-us": "us"}


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """The access rules of a consumer key, or the IAM policy of a service account. There is none for single names."""
    settings = request.settings
    assert isinstance(settings, OvhSettings)
    zone = settings.zone_id or request.zone or settings.zone
    if settings.oauth is None:
        return [PolicyDocument(f"Body of POST /auth/credential for {zone}", "json", _rules(settings, zone))]
    return [PolicyDocument(f"IAM policy of the service account for {zone}", "json", _policy(settings, zone))]


def _rules(settings: OvhSettings, zone: str) -> str:
    base = f"/domain/zone/{zone}"
    rules = [
        *([] if settings.zone_id else [("GET", base)]),
        ("GET", f"{base}/record"),
        ("GET", f"{base}/record/*"),
        ("POST", f"{base}/record"),
        ("DELETE", f"{base}/record/*"),
        ("POST", f"{base}/refresh"),
    ]
    body = {"accessRules": [{"method": method, "path": path} for method, path in rules]}
    return json.dumps(body, indent=2) + "\n"


def _policy(settings: OvhSettings, zone: str) -> str:
    region = _REGIONS.get(settings.endpoint, "eu")
    actions = [
        *([] if settings.zone_id else ["get"]),
        "record/get",
        "record/create",
        "record/delete",
        "refresh",
    ]
    body = {
        "name": f"ci-acme-{zone}",
        "identities": ["urn:v1:REGION:identity:credential:ACCOUNT/oauth2-CLIENT_ID".replace("REGION", region)],
        "resources": [{"urn": f"urn:v1:{region}:resource:dnsZone:{zone}"}],
        "permissions": {"allow": [{"action": f"dnsZone:apiovh:{action}"} for action in actions]},
    }
    return json.dumps(body, indent=2) + "\n"
