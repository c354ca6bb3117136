"""`google-cloud-dns`: challenge records by one atomic change a zone.

A change deletes record sets exactly as they were read and adds them anew with our values: it fails as a whole if a
neighbour wrote in between, and is made again from what is there then.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from ci_acme.errors import CiAcmeError, DnsRefused, DnsUnreachable
from ci_acme.ports import Concurrency, Deadline, DnsCapabilities, Placement, ProviderContext, TxtValue, Zone
from ci_acme_providers.gcp import rrsets
from ci_acme_providers.gcp.api import Call, backoff
from ci_acme_providers.gcp.clouddns_client import open_api
from ci_acme_providers.gcp.config import GoogleCloudDnsSettings
from ci_acme_providers.gcp.faults import Refusal, Trouble, dns_fault
from ci_acme_providers.gcp.needs import DNS_CHANGE, DNS_GET, DNS_LIST, DNS_READ, DNS_ZONE
from ci_acme_providers.gcp.rrsets import RecordSet
from ci_acme_providers.gcp.session import GoogleSession

_PERMANENT: Final = frozenset({"cnameResourceRecordSetConflict"})
_NAMES: Final = 400
"""Names in one change: its quota is 1,000 additions, and 100,000 bytes of record data with those of neighbours."""
_READERS: Final = 8
_TTL: Final = ";ttl="
_SIGNAL: Final = (0.1, 3.0)
"""Seconds between two looks at a change: at first, and at most."""

Sets = dict[str, "RecordSet | None"]
Result = TypeVar("Result")


class GoogleCloudDns:
    """`DnsProvider` over Cloud DNS."""

    def __init__(self, settings: GoogleCloudDnsSettings, context: ProviderContext) -> None:
        self._settings = settings
        self._session = GoogleSession(settings, context)
        self._api = open_api(self._session)

    @property
    def capabilities(self) -> DnsCapabilities:
        """`done` says that the servers were told, not that they serve it: no signal of all servers."""
        return DnsCapabilities(concurrency=Concurrency.CAS, in_sync_signal=False, max_values=100)

    @property
    def where(self) -> str:
        project = self._settings.zone_place[0] or self._session.known_project
        return f"google-cloud-dns ({project})" if project else "google-cloud-dns"

    # --- zones

    def zones_for(self, name: str, apex: str | None, *, deadline: Deadline) -> Sequence[Zone]:
        """The zones of the apex; those of every suffix of the name where there is none of it."""
        if self._settings.zone_id is not None:
            return [self._pinned(apex, deadline)]
        suffixes = _suffixes(name)
        if apex is not None:
            found = self._zones_of(apex, deadline)
            if found:
                return found
            suffixes = [suffix for suffix in suffixes if suffix != apex]
        return [
            zone for zones in _together(lambda suffix: self._zones_of(suffix, deadline), suffixes) for zone in zones
        ]

    def _zones_of(self, apex: str, deadline: Deadline) -> list[Zone]:
        found: list[Zone] = []
        for page in self._pages(f"{self._project()}/managedZones", {"dnsName": f"{apex}."}, deadline, DNS_LIST, ""):
            found += [_zone(item) for item in page.get("managedZones") or () if _dns_name(item) == apex]
        return found

    def _pinned(self, apex: str | None, deadline: Deadline) -> Zone:
        """The zone of the config. Its name needs a right on that zone alone, and none if the apex is known anyway."""
        identifier = str(self._settings.zone_place[1])
        guess = Zone(identifier, apex or self._settings.zone)
        try:
            document = self._api.call(Call("GET", self._zone_path(guess)), deadline=deadline)
        except Refusal as error:
            if error.denied and error.code == 403 and guess.name != ".":
                return guess
            raise self._fault(error, "read the zone", DNS_GET, guess) from None
        except Trouble as error:
            raise self._fault(error, "read the zone", DNS_GET, guess) from None
        zone = _zone(document)
        return Zone(identifier, zone.name, zone.nameservers, zone.public)

    # --- values

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        """One change; record sets are read before it only where the core has seen one."""
        by_name = _grouped(values)
        placed: dict[tuple[str, str], Placement] = {}
        for names in _batches(list(by_name)):
            part = {name: by_name[name] for name in names}
            placed |= {(item.name, item.value): item for item in self._ensure(zone, part, ttl, deadline)}
        return [placed[value.name, value.value] for value in values]

    def _ensure(
        self, zone: Zone, wanted: Mapping[str, Sequence[TxtValue]], ttl: int, deadline: Deadline
    ) -> list[Placement]:
        texts = {name: [value.value for value in values] for name, values in wanted.items()}
        seen = self._read(zone, [name for name in wanted if any(v.ttl is not None for v in wanted[name])], deadline)
        ours: set[tuple[str, str]] = set()
        ref: str | None = None
        for attempt in itertools.count():
            after: Sets = {}
            for name in wanted:
                self._check_plain(seen.get(name), zone)
                after[name] = rrsets.joined(seen.get(name), name, texts[name], ttl) or seen.get(name)
            body = rrsets.change((seen.get(name), after[name]) for name in wanted)
            if not body:
                break
            fresh = {(name, text) for name in wanted for text in texts[name] if not _holds(seen.get(name), text)}
            done, doubtful = self._change(zone, body, "add challenge records", attempt, deadline)
            if done is not None or doubtful:
                ours |= fresh
            if done is not None:
                ref = str(done.get("id") or "") or None
                break
            seen = self._read(zone, list(wanted), deadline)
        return [
            Placement(zone, name, text, (name, text) in ours, _receipt(ref, seen.get(name), ttl))
            for name in wanted
            for text in texts[name]
        ]

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        """One change a zone; it is tried from the receipts alone first, as nobody else has written in most cases."""
        zones: dict[Zone, list[Placement]] = {}
        for placement in placements:
            if placement.created:
                zones.setdefault(placement.zone, []).append(placement)
        for zone, items in zones.items():
            by_name = _grouped(items)
            for names in _batches(list(by_name)):
                self._release(zone, {name: by_name[name] for name in names}, deadline)

    def _release(self, zone: Zone, gone: Mapping[str, Sequence[Placement]], deadline: Deadline) -> None:
        guessed = {name: _guess(name, items) for name, items in gone.items()}
        seen = self._read(zone, [name for name, guess in guessed.items() if guess is None], deadline) | {
            name: guess for name, guess in guessed.items() if guess is not None
        }
        for attempt in itertools.count():
            pairs: list[tuple[RecordSet | None, RecordSet | None]] = []
            for name, items in gone.items():
                current = seen.get(name)
                rest = None if current is None else rrsets.without(current, [item.value for item in items])
                pairs.append((current, rest))
            body = rrsets.change(pairs)
            if not body:
                return
            done, _ = self._change(zone, body, "remove challenge records", attempt, deadline)
            if done is not None:
                return
            seen = self._read(zone, list(gone), deadline)

    def _change(
        self, zone: Zone, body: Mapping[str, Any], doing: str, attempt: int, deadline: Deadline
    ) -> tuple[Mapping[str, Any] | None, bool]:
        """Make one change. None for a conflict: what is there has to be read again; then whether it may be made."""
        try:
            document = self._api.call(Call("POST", f"{self._zone_path(zone)}/changes", {}, body), deadline=deadline)
        except Refusal as error:
            if not _is_conflict(error):
                raise self._fault(error, doing, DNS_CHANGE, zone) from None
            doubtful = error.doubtful
        except Trouble as error:
            raise self._fault(error, doing, DNS_CHANGE, zone) from None
        else:
            return document, False
        pause = backoff(attempt)
        if deadline.remaining() <= pause:
            raise DnsUnreachable(
                f"cannot {doing} in {zone.name}: other writers were faster each time",
                fix="run again; let fewer jobs write at the same name at once",
                details={"zone": zone.id},
            )
        if attempt > 0 and not doubtful:
            deadline.clock.sleep(pause)
        return None, doubtful

    # --- the signal, and rights

    def wait_in_sync(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        """Wait until the changes are `done`: the request to update the servers was sent. No proof that they have it."""
        changes = dict.fromkeys((item.zone, _change_of(item.ref)) for item in placements if _change_of(item.ref))
        for zone, identifier in changes:
            pause, most = _SIGNAL
            while True:
                try:
                    path = f"{self._zone_path(zone)}/changes/{identifier}"
                    document = self._api.call(Call("GET", path), deadline=deadline)
                except Trouble:
                    return  # the core asks the servers themselves
                if document.get("status") != "pending" or deadline.remaining() <= pause:
                    break
                deadline.clock.sleep(pause)
                pause = min(pause * 1.6, most)

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """Ask which permissions there are; where even that is not permitted, or unknown, read a record set at least."""
        wanted = [*DNS_READ, *DNS_CHANGE]
        path = f"{self._zone_path(zone)}:testIamPermissions"
        try:
            document = self._api.call(Call("POST", path, {}, {"permissions": wanted}), deadline=deadline)
        except Refusal as error:
            if not (error.unknown or error.code == 403) or error.disabled:
                raise self._fault(error, "ask for permissions", DNS_ZONE, zone) from None
            self._read(zone, list(names[:1]), deadline)
            return
        except Trouble as error:
            raise self._fault(error, "ask for permissions", DNS_ZONE, zone) from None
        missing = [name for name in wanted if name not in (document.get("permissions") or ())]
        if missing:
            raise DnsRefused(
                f"the credentials may not change {zone.name} in Cloud DNS: {', '.join(missing)} missing",
                fix=f"grant {', '.join(missing)} on the managed zone {zone.id} (ci-acme permissions prints the role)"
                f"{'; or correct zone_id: there may be no such zone' if len(missing) == len(wanted) else ''}",
                details={"zone": zone.id, "missing": missing},
            )

    # --- reading

    def _read(self, zone: Zone, names: Sequence[str], deadline: Deadline) -> Sets:
        """The TXT record sets at the names, None where there is none."""
        found = _together(lambda name: self._read_one(zone, name, deadline), names)
        return dict(zip(names, found, strict=True))

    def _read_one(self, zone: Zone, name: str, deadline: Deadline) -> RecordSet | None:
        query = {"name": f"{name}.", "type": "TXT"}
        for page in self._pages(f"{self._zone_path(zone)}/rrsets", query, deadline, DNS_READ, zone.id):
            for document in page.get("rrsets") or ():
                record_set = RecordSet.of(document)
                if document.get("type") == "TXT" and record_set.name == name.lower():
                    return record_set
        return None

    def _pages(
        self, path: str, query: Mapping[str, str], deadline: Deadline, needed: Sequence[str], zone: str
    ) -> Iterator[Mapping[str, Any]]:
        token: str | None = None
        while True:
            params = {**query, "pageToken": token} if token else dict(query)
            try:
                page = self._api.call(Call("GET", path, params), deadline=deadline)
            except Trouble as error:
                raise dns_fault(
                    error, f"read {path.rpartition('/')[2]} of Cloud DNS", needed=needed, zone=zone
                ) from None
            yield page
            token = page.get("nextPageToken")
            if not token:
                return

    # --- helpers

    def _project(self) -> str:
        try:
            return f"projects/{self._settings.zone_place[0] or self._session.project()}"
        except Trouble as error:
            raise dns_fault(error, "find the project", needed=(), zone="") from None

    def _zone_path(self, zone: Zone) -> str:
        return f"{self._project()}/managedZones/{zone.id}"

    def _fault(self, error: Exception, doing: str, needed: Sequence[str], zone: Zone) -> CiAcmeError:
        return dns_fault(error, f"{doing} in {zone.name}", needed=needed, zone=zone.id)

    def _check_plain(self, current: RecordSet | None, zone: Zone) -> None:
        if current is not None and current.routed:
            raise DnsRefused(
                f"a routing policy answers for TXT at {current.name}, so that no value can be added there",
                fix="remove the routing policy at the name, or delegate the name by a CNAME",
                details={"zone": zone.id, "name": current.name},
            )


def _is_conflict(error: Refusal) -> bool:
    """Whether what is there is not what was read. 404 is that of a deletion, or there is no such zone."""
    if error.reason in _PERMANENT:
        return False
    return error.code in {409, 412} or (error.code == 404 and "entity.change" in error.message)


def _suffixes(name: str) -> list[str]:
    """The name and everything above it, the longest first."""
    labels = name.rstrip(".").lower().split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]


def _dns_name(document: Mapping[str, Any]) -> str:
    return str(document.get("dnsName", "")).rstrip(".").lower()


def _zone(document: Mapping[str, Any]) -> Zone:
    """A zone that the internet sees is public and answered by Cloud DNS itself."""
    elsewhere = ("forwardingConfig", "peeringConfig", "privateVisibilityConfig", "serviceDirectoryConfig")
    public = document.get("visibility", "public") == "public" and not any(document.get(key) for key in elsewhere)
    servers = tuple(str(server).rstrip(".").lower() for server in document.get("nameServers") or ())
    return Zone(str(document.get("name") or document.get("id")), _dns_name(document), servers, public)


def _grouped(items: Sequence[Any]) -> dict[str, list[Any]]:
    by_name: dict[str, list[Any]] = {}
    for item in items:
        by_name.setdefault(item.name, []).append(item)
    return by_name


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + _NAMES] for start in range(0, len(names), _NAMES))


def _holds(current: RecordSet | None, text: str) -> bool:
    return current is not None and text in current.values


def _receipt(change: str | None, before: RecordSet | None, ttl: int) -> str | None:
    """The change's id; with the TTL where the whole set is ours, so that `release` need not read it."""
    if change is None:
        return None
    return change if before is not None else f"{change}{_TTL}{ttl}"


def _change_of(ref: str | None) -> str:
    return (ref or "").partition(_TTL)[0]


def _guess(name: str, items: Sequence[Placement]) -> RecordSet | None:
    """The set as `ensure` made it, if it made all of it."""
    changes = {item.ref for item in items}
    ref = changes.pop() if len(changes) == 1 else None
    ttl = (ref or "").partition(_TTL)[2]
    if not ttl.isdigit():
        return None
    return RecordSet(name, int(ttl), tuple(rrsets.quoted(text) for text in dict.fromkeys(i.value for i in items)))


def _together(work: Callable[[str], Result], items: Sequence[str]) -> list[Result]:
    """The results for all items, a few at a time."""
    if len(items) <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(_READERS, len(items))) as pool:
        return list(pool.map(work, items))
