"""`azure-dns`: challenge records in public zones of Azure DNS, safe beside others by ETags.

A record set is the unit of change: Azure has no batch. The names of one call are changed in parallel, each under the
ETag of its record set, so that nobody's values are lost whoever else writes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from ci_acme.errors import ConfigError, Interrupted, SecretError
from ci_acme.model.names import is_suffix
from ci_acme.ports import Concurrency, Deadline, DnsCapabilities, Placement, ProviderContext, TxtValue, Zone
from ci_acme_providers.azure import faults
from ci_acme_providers.azure.config import ZONE_ID, AzureDnsSettings
from ci_acme_providers.azure.patience import Options, Patience
from ci_acme_providers.azure.recordset import MOST_RECORDS, Placed, RecordSet
from ci_acme_providers.azure.session import Session

_THREADS: Final = 8
"""Names changed at once: a hundred in a few seconds, below the 200 writes a minute that a zone takes."""

T = TypeVar("T")


class _NotTried(Exception):
    """Another item had failed before this one's turn."""


class AzureDns:
    """`DnsProvider` over Azure Resource Manager."""

    def __init__(self, settings: AzureDnsSettings, context: ProviderContext) -> None:
        self._settings = settings
        self._context = context
        self._session = Session(settings, context)
        self._clients: dict[str, queue.LifoQueue[Any]] = {}
        self._lock = threading.Lock()
        self._listing = threading.Lock()
        self._listed: Sequence[Zone] | None = None

    @property
    def capabilities(self) -> DnsCapabilities:
        return DnsCapabilities(concurrency=Concurrency.CAS, max_values=MOST_RECORDS)

    @property
    def where(self) -> str:
        return "azure-dns"

    # --- zones

    def zones_for(self, name: str, apex: str | None, *, deadline: Deadline) -> Sequence[Zone]:
        """All zones above the name, of all groups; with a zone_id that one. `nameservers` are what Azure assigned."""
        settings = self._settings
        if settings.zone_id is not None:
            return [self._given(settings.zone_id)]
        if settings.resource_group is not None and apex is not None and self._listed is None:
            found = self._get(settings.resource_group, apex, deadline)
            if found is not None:
                return [found]
        return [zone for zone in self._list(deadline) if is_suffix(zone.name, name)]

    def _given(self, zone_id: str) -> Zone:
        match = ZONE_ID.match(zone_id)
        if match is not None:
            return Zone(id=zone_id, name=match["zone"].lower().rstrip("."))
        name = zone_id.lower().rstrip(".")
        group = f"/subscriptions/{self._subscription()}/resourceGroups/{self._settings.resource_group}"
        return Zone(id=f"{group}/providers/Microsoft.Network/dnsZones/{name}", name=name)

    def _get(self, group: str, apex: str, deadline: Deadline) -> Zone | None:
        """The zone at the cut, which whoever may read that zone alone can ask for; None if it is not here."""
        with self._client(self._subscription()) as client:
            try:
                return _zone(Patience(deadline).send(lambda o: client.zones.get(group, apex, **o)))
            except Exception as error:
                fault = faults.read(error)
                if fault.kind is faults.Kind.ABSENT:
                    return None
                raise faults.dns_error(fault, f"the zone {apex}", apex) from None

    def _list(self, deadline: Deadline) -> Sequence[Zone]:
        """Every zone of the group or subscription, asked for once: listing is limited to 60 times a minute."""
        with self._listing:
            if self._listed is not None:
                return self._listed
            group = self._settings.resource_group
            with self._client(self._subscription()) as client:
                zones = client.zones

                def ask(options: Options) -> list[Zone]:
                    found = zones.list(**options) if group is None else zones.list_by_resource_group(group, **options)
                    return [_zone(one) for one in found]

                try:
                    self._listed = Patience(deadline).send(ask)
                except Exception as error:
                    fault = faults.read(error)
                    raise faults.dns_error(fault, "the list of zones", self._settings.zone) from None
            return self._listed

    # --- changes

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        names: dict[str, list[TxtValue]] = {}
        for value in values:
            names.setdefault(value.name, []).append(value)

        def add(item: tuple[str, list[TxtValue]]) -> Placed:
            name, wanted = item
            seen = next((value.ttl for value in wanted if value.ttl is not None), None)
            with self._record_set(zone, name, deadline) as record_set:
                return record_set.add([value.value for value in wanted], seen or ttl, unseen=seen is None)

        placed = dict(zip(names, self._each(add, names.items()), strict=True))
        return [
            Placement(zone, value.name, value.value, value.value in placed[value.name].created, placed[value.name].ref)
            for value in values
        ]

    def wait_in_sync(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        return None

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        names: dict[tuple[Zone, str], list[Placement]] = {}
        for placement in placements:
            if placement.created:
                names.setdefault((placement.zone, placement.name), []).append(placement)

        def remove(item: tuple[tuple[Zone, str], list[Placement]]) -> None:
            (zone, name), ours = item
            with self._record_set(zone, name, deadline) as record_set:
                record_set.remove([one.value for one in ours], [one.ref for one in ours])

        self._each(remove, names.items())

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """Asks for changes on a condition that cannot hold: rights are judged for each name, and nothing changes."""

        def check(name: str) -> None:
            with self._record_set(zone, name, deadline) as record_set:
                record_set.check()

        self._each(check, list(dict.fromkeys(names)))

    # --- machinery

    def _each(self, work: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
        """Do the work for every item, several at once; the results in their order. Raises the first error."""
        todo = list(items)
        if len(todo) <= 1:
            return [work(item) for item in todo]
        failed = threading.Event()

        def one(item: Any) -> T:
            if failed.is_set():
                raise _NotTried
            try:
                return work(item)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(min(_THREADS, len(todo)), thread_name_prefix="azure-dns") as pool:
            futures = [pool.submit(one, item) for item in todo]
        errors = [error for error in (future.exception() for future in futures) if error is not None]
        told = [error for error in errors if not isinstance(error, _NotTried)]
        if told:
            raise next((error for error in told if isinstance(error, Interrupted)), told[0])
        return [future.result() for future in futures]

    @contextmanager
    def _record_set(self, zone: Zone, name: str, deadline: Deadline) -> Generator[RecordSet]:
        match = ZONE_ID.match(zone.id)
        if match is None:
            raise ConfigError(f"{zone.id} is no resource id of a zone of Azure DNS", fix="run again without it")
        with self._client(match["subscription"]) as client:
            yield RecordSet(
                client,
                match["group"],
                zone.name,
                name,
                self._session.cloud.text_characters,
                deadline,
                self._settings.on_last == "keep_empty",
            )

    @contextmanager
    def _client(self, subscription: str) -> Generator[Any]:
        """A client that no other thread uses meanwhile; they are kept, with their connections."""
        with self._lock:
            idle = self._clients.setdefault(subscription, queue.LifoQueue())
        try:
            client = idle.get_nowait()
        except queue.Empty:
            client = self._make(subscription)
        try:
            yield client
        finally:
            idle.put(client)

    def _make(self, subscription: str) -> Any:
        try:
            return self._session.dns(subscription, self._settings.endpoint)
        except SecretError as error:
            raise faults.dns_error(faults.read(error), "signing in", self._settings.zone) from None

    def _subscription(self) -> str:
        environ: Mapping[str, str] = self._context.environ
        found = self._settings.subscription or environ.get("AZURE_SUBSCRIPTION_ID")
        if found:
            return found
        raise ConfigError(
            "the Azure subscription of the DNS zones is not known",
            fix="set subscription of the DNS entry, or AZURE_SUBSCRIPTION_ID, or give the zone's resource id as "
            "zone_id",
        )


def _zone(one: Any) -> Zone:
    servers = tuple(server.rstrip(".").lower() for server in one.name_servers or ())
    public = str(getattr(one, "zone_type", None) or "Public").rpartition(".")[2].lower() != "private"
    return Zone(id=one.id, name=one.name.lower().rstrip("."), nameservers=servers, public=public)
