"""What the API key of a PowerDNS allows, and what a proxy in front of it may cut that down to."""

from __future__ import annotations

from collections.abc import Sequence

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.powerdns.config import PowerDnsSettings


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """The requests that a proxy has to let through. PowerDNS itself has one key for everything."""
    settings = request.settings
    assert isinstance(settings, PowerDnsSettings)
    zone = request.zone if request.zone not in {"", "."} else "ZONE"
    path = f"/api/v1/servers/{settings.server_id}/zones"
    names = "\n".join(f"  {name}." for name in request.names)
    listing = "" if settings.zone_id is not None else f"  GET   {path}?zone={zone}.\n"
    text = (
        "An API key of PowerDNS may do everything on the whole server. A proxy in front of it has to let through:\n"
        f"{listing}  GET   {path}/{zone}.\n  PATCH {path}/{zone}.\n  PUT   {path}/{zone}./notify\n"
        f"and in a PATCH only the type TXT at these names:\n{names}\n"
        "A narrower key without a proxy: DNS UPDATE with TSIG (provider: rfc2136) and, per zone,\n"
        f"  pdnsutil set-meta {zone} TSIG-ALLOW-DNSUPDATE KEY"
    )
    return [PolicyDocument("the API key", "text", text)]
