"""Which hosted zones hold a name: all of them, private twins too, each with the name servers that it was given.

The core chooses among them by the delegation, and explains the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ci_acme.dataclass import replace
from ci_acme.dnswire import canonical, labels_of
from ci_acme.errors import DnsRefused
from ci_acme.ports import Deadline, Zone
from ci_acme_providers.aws.config import Route53Settings
from ci_acme_providers.aws.route53_api import Route53Api
from ci_acme_providers.aws.route53_sweep import sweep


def given(api: Route53Api, settings: Route53Settings, name: str, apex: str | None, deadline: Deadline) -> Zone:
    """The zone of `zone_id`, without listing. Where it may not even be looked at, it is taken to be what DNS says."""
    zone_id = _bare(settings.zone_id or "")
    try:
        return _zone(api.zone(zone_id, deadline))
    except DnsRefused:
        own = canonical(settings.zone)
        return Zone(zone_id, apex or (own if own != "." else name))


def find(api: Route53Api, name: str, apex: str | None, deadline: Deadline) -> Sequence[Zone]:
    """All zones of the account above the name; mostly one call, since a zone and those below it are listed together.

    Name servers are asked for, one call each, where they can decide: of the zones with the apex that the DNS has, of
    all if there is none or it is not known. A zone of a single label is looked for only if that is the apex.
    """
    labels = labels_of(name)
    suffixes = [".".join(labels[start:]) for start in range(len(labels))]
    wanted = [suffix for suffix in suffixes if "." in suffix or suffix == apex]
    listed = sweep(wanted, lambda start: api.zones(start, deadline))
    zones = [_zone(found) for suffix in wanted for found in listed[suffix]]
    exact = any(zone.name == apex and zone.public for zone in zones)
    return [
        _with_servers(api, zone, deadline) if zone.public and (zone.name == apex or not exact) else zone
        for zone in zones
    ]


def _with_servers(api: Route53Api, zone: Zone, deadline: Deadline) -> Zone:
    """The zone with its name servers, unless it is forbidden to ask for them."""
    try:
        return replace(zone, nameservers=_zone(api.zone(zone.id, deadline)).nameservers)
    except DnsRefused:
        return zone


def _zone(found: Mapping[str, Any]) -> Zone:
    return Zone(
        id=_bare(found["Id"]),
        name=canonical(found["Name"]),
        nameservers=tuple(found.get("NameServers", ())),
        public=not found.get("Config", {}).get("PrivateZone", False),
    )


def _bare(zone_id: str) -> str:
    return zone_id.rpartition("/")[2]
