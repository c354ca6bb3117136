"""The requests: zones, TXT record sets, and changes to them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote as quote_url
from urllib.parse import urlsplit

from ci_acme.dataclass import dataclass, field
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext
from ci_acme.rest import Answer, RestClient, member
from ci_acme.wire import Unreachable
from ci_acme_providers.powerdns.config import PowerDnsSettings
from ci_acme_providers.powerdns.content import unquote
from ci_acme_providers.powerdns.faults import bad_key, fault, unreachable

_SINGLE: Final = 10
"""Up to so many names each is asked for; above, the whole zone is read at once."""


@dataclass(frozen=True, slots=True)
class TxtSet:
    """A TXT record set: its TTL, and its records as the server has them."""

    ttl: int
    records: tuple[dict[str, Any], ...]
    values: frozenset[str]
    """What is served: the values of the records that are not disabled."""


@dataclass(slots=True)
class Contents:
    """TXT record sets by name, as read; `kind` is the zone's."""

    kind: str = ""
    sets: dict[str, TxtSet] = field(default_factory=dict[str, TxtSet])

    def at(self, name: str) -> TxtSet | None:
        """The record set at a name."""
        return self.sets.get(name.lower())

    def values(self, name: str) -> frozenset[str]:
        """The values at a name."""
        found = self.at(name)
        return frozenset() if found is None else found.values


class Api:
    """One server. Raises `DnsError`s, `SecretError` and `Interrupted`. Thread-safe."""

    def __init__(self, settings: PowerDnsSettings, context: ProviderContext) -> None:
        self._settings = settings
        self._context = context
        self._client = RestClient(settings.base, ca_bundle=settings.ca_bundle, plain=settings.plain)
        self._lock = threading.Lock()
        self._key: Secret | None = None

    @property
    def host(self) -> str:
        """For people."""
        return urlsplit(self._settings.url).netloc

    def zone(self, name: str, deadline: Deadline) -> Mapping[str, Any] | None:
        """The zone with exactly this apex, None if there is none."""
        answer = self._send("GET", f"/zones?zone={quote_url(name)}.&dnssec=false", deadline)
        if not answer.ok:
            raise self.fault(answer, name)
        zones = answer.document if isinstance(answer.document, list) else []
        return next((zone for zone in zones if str(member(zone, "name")).rstrip(".").lower() == name), None)

    def read(self, zone: str, names: Iterable[str], deadline: Deadline) -> Contents:
        """The TXT record sets at these names, and perhaps at others."""
        contents = Contents()
        wanted = list(dict.fromkeys(names))
        if len(wanted) > _SINGLE:
            self._read_into(contents, zone, "", deadline)
            return contents
        for name in wanted:
            self._read_into(contents, zone, f"?rrset_name={quote_url(name)}.&rrset_type=TXT", deadline)
            if contents.sets.keys() - {one.lower() for one in wanted}:
                break  # an old server that does not know the parameters: this was the whole zone
        return contents

    def patch(self, zone: str, rrsets: Sequence[Mapping[str, Any]], deadline: Deadline) -> Answer | None:
        """Send changes, once; all or none are made. None if no answer came: they may have been made."""
        try:
            return self._exchange("PATCH", _path(zone), deadline, {"rrsets": rrsets}, retry=False)
        except Unreachable:
            return None

    def notify(self, zone: str, deadline: Deadline) -> None:
        """Let the primary tell its secondaries now, not a minute later; whether it does is not important."""
        try:
            self._exchange("PUT", f"{_path(zone)}/notify", deadline, None, retry=False)
        except Unreachable:
            return

    def fault(self, answer: Answer, zone: str) -> Exception:
        """The error for an answer."""
        return fault(answer, self.host, zone.rstrip("."), self._settings.api_key)

    def _read_into(self, contents: Contents, zone: str, query: str, deadline: Deadline) -> None:
        answer = self._send("GET", _path(zone) + query, deadline)
        if not answer.ok:
            raise self.fault(answer, zone)
        contents.kind = str(member(answer.document, "kind") or "")
        rrsets = member(answer.document, "rrsets")
        for rrset in rrsets if isinstance(rrsets, list) else ():
            records = member(rrset, "records")
            if member(rrset, "type") == "TXT" and isinstance(records, list):
                contents.sets[str(rrset.get("name")).rstrip(".").lower()] = _txt_set(rrset, records)

    def _send(self, method: str, path: str, deadline: Deadline) -> Answer:
        try:
            return self._exchange(method, path, deadline, None, retry=True)
        except Unreachable as error:
            raise unreachable(error) from None

    def _exchange(self, method: str, path: str, deadline: Deadline, body: Any, *, retry: bool) -> Answer:
        headers = {"X-API-Key": self._read_key()}
        return self._client.send(method, path, deadline=deadline, body=body, headers=headers, retry=retry)

    def _read_key(self) -> str:
        """The API key, read when it is first needed. Raises `SecretError`."""
        with self._lock:
            if self._key is None:
                self._key = self._context.secrets(self._settings.api_key)
            text = self._key.reveal().decode("utf-8", errors="replace").strip()
        if not text or not (text.isascii() and text.isprintable()):
            raise bad_key(self._settings.api_key)
        return text


def _path(zone: str) -> str:
    return f"/zones/{quote_url(zone, safe='=.')}"


def _txt_set(rrset: Mapping[str, Any], records: Sequence[Any]) -> TxtSet:
    ttl = member(rrset, "ttl")
    kept: tuple[dict[str, Any], ...] = tuple(
        {"content": record["content"], "disabled": bool(record.get("disabled"))}
        for record in records
        if isinstance(member(record, "content"), str)
    )
    values = frozenset(unquote(record["content"]) for record in kept if not record["disabled"])
    return TxtSet(ttl if isinstance(ttl, int) else 60, kept, values)
