"""Which of a provider's zones a name belongs to: the one that the delegation leads to, or an error that explains.

A provider may hold several zones of one name, private ones, and zones that nobody delegates to; what is written there
is never seen by a CA. The decisions are here, without I/O: what the DNS says of a zone is asked through `Public`, and
only where the answer decides something.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol

from ci_acme.dataclass import dataclass, replace
from ci_acme.dns.desks import Choice
from ci_acme.dnswire import canonical, labels_of
from ci_acme.errors import CiAcmeError, DnsDelegationError, ZoneNotFound
from ci_acme.model.names import is_suffix, to_a_labels
from ci_acme.ports import Zone


class Public(Protocol):
    """What the DNS says of zones. Every call may cost questions."""

    def hosts(self, zone: str) -> Collection[str] | None:
        """The NS names of exactly this zone: none if there is no such zone, None if that cannot be found out."""
        ...

    def same_servers(self, zone: str, assigned: Collection[str]) -> bool:
        """Whether these hosts are, by other names, the servers of the zone (white-label name servers)."""
        ...

    def view(self, zone: str) -> str | None:
        """Why what this machine sees of the zone may not be what a CA sees (split horizon), None if nothing says so."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What is looked for: the zone of `name`. `apex` is the zone cut by the DNS, None if no name server could be asked.

    `pinned` says that the config names the zone (`zone_id`), `private` that it wants one that the internet does not
    see. `where` is the provider, for people.
    """

    name: str
    apex: str | None
    where: str
    private: bool = False
    pinned: bool = False


def choose(zones: Iterable[Zone], wish: Wish, public: Public) -> Choice:
    """The zone to write to.

    The longest public zone whose apex is that of the DNS and one of whose name servers is in the delegation. Raises
    `ZoneNotFound` if there is none, `DnsDelegationError` if there is one that a CA would not see, or more than one.
    """
    known = [_normal(zone) for zone in zones]
    if wish.pinned and known:
        return _pinned(known[0], wish, public)
    holding = [zone for zone in known if is_suffix(zone.name, wish.name)]
    holding.sort(key=lambda zone: (-_depth(zone.name), zone.id))
    private = [zone for zone in holding if not zone.public]
    if wish.private and private:
        return _private(private, wish)
    candidates = [zone for zone in holding if zone.public]
    if not candidates:
        raise _none(wish, private)
    if wish.apex is None:
        return _unasked(candidates, private, wish, public)
    exact = [zone for zone in candidates if zone.name == wish.apex]
    if not exact:
        raise _another_apex(candidates, wish, public)
    chosen = _verified(exact, private, wish, public)
    dead = [zone for zone in candidates if _depth(zone.name) > _depth(wish.apex)]
    unseen = [f"{_show(zone)} at {wish.where} is not delegated: nothing that stands there is seen" for zone in dead]
    twins = [zone for zone in private if _depth(zone.name) >= _depth(wish.apex)]
    unseen += [f"{wish.where} has {_show(zone)} as a private zone, too, which CAs do not see" for zone in twins]
    return replace(chosen, remarks=(*chosen.remarks, *unseen))


# --- the ways to a zone ------------------------------------------------------------------------------------------


def _pinned(zone: Zone, wish: Wish, public: Public) -> Choice:
    """The zone that the config names, whatever the DNS says: a migration may be under way."""
    if not is_suffix(zone.name, wish.name):
        raise ZoneNotFound(
            f"zone_id names {_show(zone)} at {wish.where}, and {wish.name} is not in it",
            fix="correct zone_id of the DNS entry, or remove it",
            details={"name": wish.name, "zone": zone.name, "zone_id": zone.id, "apex": wish.apex},
        )
    if wish.private or not zone.public or wish.apex is None:
        return Choice(zone)
    if zone.name != wish.apex:
        text = f"zone_id names {_show(zone)}, and {wish.name} is in the zone {wish.apex} as the DNS has it"
        return Choice(zone, (text,))
    hosts = public.hosts(zone.name) if zone.nameservers else None
    if hosts and not set(hosts) & set(zone.nameservers) and not public.same_servers(zone.name, zone.nameservers):
        text = f"zone_id names {_show(zone)}, served by {_list(zone.nameservers)}; it is delegated to {_list(hosts)}"
        return Choice(zone, (text,))
    return Choice(zone)


def _private(zones: Sequence[Zone], wish: Wish) -> Choice:
    """The longest private zone: no delegation leads there."""
    longest = [zone for zone in zones if _depth(zone.name) == _depth(zones[0].name)]
    if len(longest) > 1:
        raise _ambiguous(longest, wish, "private zones")
    return Choice(longest[0])


def _verified(zones: Sequence[Zone], private: Sequence[Zone], wish: Wish, public: Public) -> Choice:
    """The one of the zones of one apex that the delegation leads to. Nothing is asked if nothing depends on it."""
    silent = [zone for zone in zones if not zone.nameservers]
    telling = [zone for zone in zones if zone.nameservers]
    if not telling:
        if len(silent) > 1:
            raise _ambiguous(silent, wish, "zones")
        return Choice(silent[0])
    apex = zones[0].name
    hosts = public.hosts(apex)
    if not hosts:
        if len(zones) > 1:
            raise _ambiguous(zones, wish, "zones")
        return Choice(zones[0], (f"whether {apex} is delegated to {wish.where} could not be found out",))
    good = [zone for zone in telling if set(zone.nameservers) & set(hosts)]
    good = good or [zone for zone in telling if public.same_servers(apex, zone.nameservers)] or silent
    if len(good) > 1:
        raise _ambiguous(good, wish, "zones")
    if not good:
        raise _not_delegated(telling, hosts, private, wish, public)
    others = [zone for zone in zones if zone is not good[0]]
    return Choice(good[0], remarks=tuple(f"{_show(zone)} at {wish.where} is not delegated to" for zone in others))


def _unasked(candidates: Sequence[Zone], private: Sequence[Zone], wish: Wish, public: Public) -> Choice:
    """No name server could be asked for the apex: the longest zone that a resolver knows."""
    for name in dict.fromkeys(zone.name for zone in candidates):
        group = [zone for zone in candidates if zone.name == name]
        hosts = public.hosts(name)
        if hosts is None and len(group) > 1:
            raise _ambiguous(group, wish, "zones")
        if hosts is None:
            return Choice(group[0], (f"whether {name} is delegated to {wish.where} could not be found out",))
        if hosts:
            return _verified(group, private, wish, public)
    names = ", ".join(_show(zone) for zone in candidates)
    raise DnsDelegationError(
        f"{wish.where} has {names} for {wish.name}, and the DNS knows no such zone",
        fix="delegate the zone, or give the provider that serves the name",
        details=_details(candidates, wish, ()),
    )


# --- errors ------------------------------------------------------------------------------------------------------


def _none(wish: Wish, private: Sequence[Zone]) -> CiAcmeError:
    details = _details(private, wish, ())
    if private:
        shown = ", ".join(map(_show, private))
        return ZoneNotFound(
            f"{wish.where} has only private zones for {wish.name}: {shown}; public CAs do not see what stands there",
            fix="create the public zone, or say private: true in the DNS entry if the CA looks at the private one",
            details=details,
        )
    apex = f"; it is in the zone {wish.apex}, as the DNS has it" if wish.apex not in {None, "."} else ""
    return ZoneNotFound(
        f"{wish.where} has no zone for {wish.name}{apex}",
        fix="create the zone there, or correct the provider or the credentials of the DNS entry",
        details=details,
    )


def _another_apex(candidates: Sequence[Zone], wish: Wish, public: Public) -> CiAcmeError:
    """The DNS has a zone cut that none of the provider's zones is."""
    assert wish.apex is not None
    above = [zone for zone in candidates if _depth(zone.name) < _depth(wish.apex)]
    hosts = public.hosts(wish.apex) or ()
    served = f", served by {_list(hosts)}" if hosts else ""
    details = _details(candidates, wish, hosts)
    view = public.view(wish.apex)
    if above:
        text = (
            f"{wish.name} is in the zone {wish.apex}, which is delegated{served}; {wish.where} has only "
            f"{_show(above[0])} above it: what is written there for {wish.name} is never seen"
        )
        fix = f"add an entry to dns: with zone: {wish.apex} for the provider that serves it, or remove the delegation"
    else:
        text = (
            f"{wish.where} has {_show(candidates[-1])}, which is not delegated: "
            f"{wish.name} is in the zone {wish.apex}{served}"
        )
        wanted = _list(candidates[-1].nameservers)
        records = f" (NS {wanted})" if wanted else ""
        fix = (
            f"delegate {candidates[-1].name} in {wish.apex}{records}, or point the DNS entry at the provider of "
            f"{wish.apex}"
        )
    return _with_view(text, fix, details, view)


def _not_delegated(
    zones: Sequence[Zone], hosts: Collection[str], private: Sequence[Zone], wish: Wish, public: Public
) -> CiAcmeError:
    apex = zones[0].name
    theirs = "; ".join(f"{_show(zone)} has {_list(zone.nameservers)}" for zone in zones)
    twins = [zone.id for zone in private if zone.name == apex]
    also = f"; there is a private zone of this name, too ({', '.join(twins)})" if twins else ""
    text = (
        f"the delegation of {apex} leads to {_list(hosts)}, and not to {wish.where}: {theirs}{also}; "
        "what is written there is never seen"
    )
    fix = (
        f"give the provider or account that serves {apex}, or change its NS records at the registrar; "
        f"zone_id: {zones[0].id} takes the zone as it is"
    )
    return _with_view(text, fix, _details(zones, wish, hosts), public.view(apex))


def _with_view(text: str, fix: str, details: dict[str, Any], view: str | None) -> CiAcmeError:
    if view is not None:
        text, fix = f"{text} ({view})", f"name public resolvers in resolver.nameservers; or {fix}"
        details["split_horizon"] = view
    return DnsDelegationError(text, fix=fix, details=details)


def _ambiguous(zones: Sequence[Zone], wish: Wish, what: str) -> CiAcmeError:
    ids = [zone.id for zone in zones]
    shown = "; ".join(
        f"{zone.id} ({_list(zone.nameservers)})" if zone.nameservers and zone.public else zone.id for zone in zones
    )
    return DnsDelegationError(
        f"{wish.where} has {len(zones)} {what} {zones[0].name} for {wish.name}, and nothing says which: {shown}",
        fix=f"say which one in the DNS entry: zone_id: {' or '.join(ids)}",
        details=_details(zones, wish, ()),
    )


def _details(zones: Sequence[Zone], wish: Wish, hosts: Collection[str]) -> dict[str, Any]:
    return {
        "name": wish.name,
        "apex": wish.apex,
        "zones": [
            {"id": zone.id, "name": zone.name, "public": zone.public, "nameservers": list(zone.nameservers)}
            for zone in zones
        ],
        "expected": sorted({host for zone in zones for host in zone.nameservers}),
        "actual": sorted(hosts),
    }


# --- names -------------------------------------------------------------------------------------------------------


def _normal(zone: Zone) -> Zone:
    """The zone with its names in the one form that is compared."""
    return replace(zone, name=_plain(zone.name), nameservers=tuple(_plain(host) for host in zone.nameservers))


def _plain(name: str) -> str:
    try:
        return canonical(to_a_labels(name.rstrip(".") or "."))
    except ValueError:  # no domain name: it will be a suffix of nothing
        return canonical(name)


def _depth(name: str) -> int:
    return len(labels_of(name))


def _show(zone: Zone) -> str:
    return zone.name if zone.id == zone.name else f"{zone.name} ({zone.id})"


def _list(hosts: Iterable[str]) -> str:
    return ", ".join(sorted(hosts))
