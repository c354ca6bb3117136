"""Which hosted zones hold a name: all of them, private twins too, each with the name servers that it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ci_acme.dnswire import canonical, labels_of
from ci_acme.errors import DnsRefused, ZoneNotFound
from ci_acme.model.names import is_suffix
from ci_acme.ports import Deadline, Zone
from ci_acme_providers.aws.config import Route53Settings
from ci_acme_providers.aws.route53_api import Route53Api
from ci_acme_providers.aws.route53_sweep import sweep


def given(api: Route53Api, settings: Route53Settings, name: str, apex: str | None, deadline: Deadline) -> Zone:
    """The zone of `zone_id`, without listing. Where it may not even be looked at, it is taken to be what DNS says.

    Raises `ZoneNotFound` if it does not hold the name.
    """
    zone_id = (settings.zone_id or "").rpartition("/")[2]
    try:
        found = api.zone(zone_id, deadline)
    except DnsRefused:
        own = canonical(settings.zone)
        return Zone(zone_id, apex or (own if own != "." else name))
    zone = _zone(found)
    if not is_suffix(zone.name, name):
        raise ZoneNotFound(
            f"the hosted zone {zone_id} is {zone.name}, which does not hold {name}",
            fix=f"give the id of the zone {apex or 'of that name'} as zone_id of the DNS entry, or none",
            details={"name": name, "zone": zone.name, "zone_id": zone_id},
        )
    return zone


def find(api: Route53Api, name: str, apex: str | None, deadline: Deadline) -> Sequence[Zone]:
    """All zones of the account with the apex, or, where it is not known, with any apex above the name.

    Raises `ZoneNotFound` that names what the account has instead.
    """
    labels = labels_of(name)
    suffixes = [".".join(labels[start:]) for start in range(len(labels))]
    wanted = [apex] if apex is not None else suffixes
    listed = sweep(wanted, lambda start: api.zones(start, deadline))
    zones = [_detailed(api, found, deadline) for one in wanted for found in listed[one]]
    if zones:
        return zones
    if apex is not None:
        _explain(name, apex, sweep(suffixes, lambda start: api.zones(start, deadline)))
    raise ZoneNotFound(
        f"Route 53 has no hosted zone for {name} in this account",
        fix="create the zone there, or use credentials of the account that has it",
        details={"name": name, "apex": apex},
    )


def _explain(name: str, apex: str, listed: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Raise `ZoneNotFound` if the account has another zone around the name."""
    others = [one for found in listed.values() for one in found]
    if not others:
        return
    names = ", ".join(f"{_bare(one['Id'])} ({one['Name'].removesuffix('.')})" for one in others)
    raise ZoneNotFound(
        f"{name} is in the zone {apex}, which this account does not have in Route 53; it has {names}, where the record "
        "would never be seen",
        fix=f"add a dns entry for {apex} with the provider that serves it, or create that hosted zone",
        details={"name": name, "apex": apex, "zones": [_bare(one["Id"]) for one in others]},
    )


def _detailed(api: Route53Api, found: Mapping[str, Any], deadline: Deadline) -> Zone:
    """The zone with its name servers, which private ones have not, and which may be forbidden to ask for."""
    zone = _zone(found)
    if not zone.public:
        return zone
    try:
        return _zone(api.zone(zone.id, deadline))
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
