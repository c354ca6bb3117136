"""The command `permissions`: the least that each provider of this config has to be granted. Changes nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ci_acme import registry
from ci_acme.core.permissions import Grant, Issuer
from ci_acme.dataclass import dataclass, field
from ci_acme.dns.resolve import Target
from ci_acme.errors import CiAcmeError, Interrupted
from ci_acme.model.events import Warned
from ci_acme.model.names import is_suffix, is_wildcard
from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme.runner.jobs import Job, label_of
from ci_acme.runner.solvers import is_preauthorized, known_account, method_of, names_for_check
from ci_acme.spec import Kind

if TYPE_CHECKING:
    from ci_acme.runner.services import Services
    from ci_acme.settings import DnsSettings


@dataclass(slots=True)
class _Zone:
    """What is written through one DNS entry: record names, and for which certificates."""

    settings: DnsSettings
    apex: str
    names: list[str] = field(default_factory=list[str])
    uses: list[str] = field(default_factory=list[str])


def permissions(jobs: Sequence[Job], services: Services, *, online: bool) -> tuple[list[Grant], dict[str, list[str]]]:
    """The grants of DNS entries and stores, and CAA records by zone. `online`, CNAMEs of challenge names are
    followed, since it is their target that is written to, and CAs are asked for the name that CAA records have.
    """
    zones = _zones(jobs, services, follow=online)
    grants = [_dns_grant(zone) for zone in zones]
    for job in jobs:
        sections = services.config.certificates[job.spec.name].stores
        for store, settings in zip(job.stores, sections, strict=True):
            request = PermissionRequest(settings, certificate=job.spec.name)
            documents = _documents(Kind.STORE, settings.provider, request)
            grants.append(Grant("store", store.provider, label_of(store), (job.spec.name,), documents))
    return grants, _caa(jobs, services) if online else {}


def _dns_grant(zone: _Zone) -> Grant:
    names = tuple(sorted(dict.fromkeys(zone.names)))
    request = PermissionRequest(zone.settings, names=names, zone=zone.apex)
    documents = _documents(Kind.DNS, zone.settings.provider, request)
    return Grant("dns", zone.settings.provider, zone.settings.zone, tuple(dict.fromkeys(zone.uses)), documents)


def _documents(kind: Kind, provider: str, request: PermissionRequest) -> tuple[PolicyDocument, ...]:
    """What the provider prints, else the lines of its catalogue row."""
    row = registry.find(kind, provider)
    if row.policies is None:
        return (PolicyDocument("what it needs", "text", "\n".join(row.permissions)),)
    module, _, name = row.policies.partition(":")
    made: Callable[[PermissionRequest], Sequence[PolicyDocument]] = getattr(importlib.import_module(module), name)
    return tuple(made(request))


# --- the names that are written


def _zones(jobs: Sequence[Job], services: Services, *, follow: bool) -> list[_Zone]:
    zones: dict[tuple[str, int], _Zone] = {}
    wanted = _challenge_names(jobs, services)
    places = _places(list(wanted), services) if follow else {}
    for name, users in wanted.items():
        effective, apex = places.get(name, (name, ""))
        settings = _entry(services.config.dns, effective)
        if settings is None:
            services.notify(Warned(users[0], f"no DNS entry of the config serves {effective}"))
            continue
        for number, entry in enumerate((settings, *settings.also)):
            zone = zones.setdefault((settings.zone, number), _Zone(entry, apex or settings.zone))
            zone.names.append(effective)
            zone.uses += users
    return list(zones.values())


def _challenge_names(jobs: Sequence[Job], services: Services) -> dict[str, list[str]]:
    """The challenge names of all certificates, each with the certificates that use it."""
    found: dict[str, list[str]] = {}
    for job in jobs:
        for source in job.spec.sources:
            section = services.authority(source.authority)
            if is_preauthorized(section) or section.challenge == "dns-persist-01":
                continue
            name_of = names_for_check(source.authority, services)
            if name_of is None:
                text = f"the challenge names at {source.authority} depend on an account that is not known yet"
                services.notify(Warned(job.spec.name, text))
                continue
            for name in job.spec.names:
                found.setdefault(name_of(name), []).append(job.spec.name)
    return found


def _places(names: list[str], services: Services) -> dict[str, tuple[str, str]]:
    """The name that each challenge is written at, and its zone's apex; what cannot be looked up is left out."""
    try:
        located = services.dns.locate(names, services.clock)
    except Interrupted:
        raise
    except CiAcmeError as error:
        services.notify(Warned("", f"CNAMEs were not followed: {error.message}"))
        return {}
    lost = [name for name, target in located.items() if not isinstance(target, Target)]
    if lost:
        services.notify(Warned("", f"CNAMEs were not followed for {', '.join(lost)}: no answer from the DNS"))
    return {
        name: (target.name, target.authority.apex) for name, target in located.items() if isinstance(target, Target)
    }


def _entry(entries: Sequence[Any], name: str) -> DnsSettings | None:
    serving = [settings for settings in entries if settings.zone == "." or is_suffix(settings.zone, name)]
    return max(serving, key=lambda settings: len(settings.zone.strip(".")), default=None)


# --- CAA


def _caa(jobs: Sequence[Job], services: Services) -> dict[str, list[str]]:
    """Records for the registered domains of all names."""
    from ci_acme.core.permissions import caa_records
    from ci_acme.dns.registered import registered_domain

    plain: dict[str, list[Issuer]] = {}
    wild: dict[str, list[Issuer]] = {}
    issuers = {
        name: _issuers(name, services)
        for name in dict.fromkeys(source.authority for job in jobs for source in job.spec.sources)
    }
    for job in jobs:
        for source in job.spec.sources:
            for name in job.spec.names:
                zone = registered_domain(name)
                plain.setdefault(zone, [])
                (wild if is_wildcard(name) else plain).setdefault(zone, []).extend(issuers[source.authority])
    return {
        zone: caa_records(zone, found, wild.get(zone, [])) for zone, found in plain.items() if found or zone in wild
    }


def _issuers(authority: str, services: Services) -> list[Issuer]:
    """The first CAA identity of a CA, by its directory; none if it does not say or does not answer."""
    scope = services.scope("")
    try:
        directory = services.connections.directory(authority, scope)
    except Interrupted:
        raise
    except CiAcmeError as error:
        services.notify(Warned("", f"no CAA records for {authority}: {error.message}"))
        return []
    account = known_account(authority, services)
    return [Issuer(identity, account, method_of(authority, services)) for identity in directory.caa_identities[:1]]
