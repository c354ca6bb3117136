"""`acme-dns`: two values at one name of a server that does nothing else.

Each value that is written takes the place of the older of two; nothing can be removed, and `release` therefore does
nothing: the values are overwritten by the next ones. The server dates its slots by the second and takes the first of
two that are equally old, so that a second value in the same second can hit the first: what is there is looked at over
DNS before and after, and what was lost is written again a second later.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from ci_acme.errors import ConfigError, DnsCredentialsError, DnsError, DnsRefused
from ci_acme.model.names import is_suffix
from ci_acme.ports import Concurrency, Deadline, DnsCapabilities, Placement, ProviderContext, TxtValue, Zone
from ci_acme.rest import Answer, RestClient
from ci_acme.wire import Unreachable
from ci_acme_providers.acmedns import faults
from ci_acme_providers.acmedns.config import AcmeDnsSettings
from ci_acme_providers.acmedns.look import look

_SLOTS: Final = 2
_ROUNDS: Final = 6
_SECOND: Final = 1.05
"""Seconds until the server's clock, which counts whole ones, has moved on."""
_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{43}\Z")


class AcmeDns:
    """`DnsProvider` for one registration at an acme-dns server."""

    def __init__(self, settings: AcmeDnsSettings, context: ProviderContext) -> None:
        self._settings = settings
        self._context = context
        self._client = RestClient(settings.url, ca_bundle=settings.ca_bundle, plain=settings.plain)
        self._lock = threading.Lock()
        self._headers: Mapping[str, str] | None = None
        self._silent = False
        host, port = settings.server
        self.nameservers: Final = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}",)

    @property
    def capabilities(self) -> DnsCapabilities:
        return DnsCapabilities(concurrency=Concurrency.RING, max_values=_SLOTS, can_remove=False)

    @property
    def where(self) -> str:
        return urlsplit(self._settings.url).netloc

    def zones_for(self, name: str, apex: str | None, *, deadline: Deadline) -> Sequence[Zone]:
        target = self._settings.target
        if name != target:
            raise faults.no_alias(name, self._settings)
        zone = apex if apex is not None and is_suffix(apex, target) else target.partition(".")[2]
        return [Zone(id=self._settings.zone_id or zone, name=zone)]

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        wanted = self._judge(values)
        with self._lock:
            before = self._look(deadline) or frozenset()
            self._write(wanted, before, deadline)
        return [Placement(zone, one.name, one.value, created=one.value not in before) for one in values]

    def wait_in_sync(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        return None

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        """Nothing: the server cannot remove a value, it forgets it when two newer ones have come."""

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """Send a value that is none: the server judges the credentials first, and then refuses the value."""
        for name in names:
            if name != self._settings.target:
                raise faults.no_alias(name, self._settings)
        answer = self._post("none", deadline)
        if answer.status != 400:
            raise faults.fault(answer, self._settings, self.where)

    # --- values

    def _judge(self, values: Sequence[TxtValue]) -> list[str]:
        """The values to write. Raises `ZoneNotFound` and `DnsRefused` for what cannot be."""
        for one in values:
            if one.name != self._settings.target:
                raise faults.no_alias(one.name, self._settings)
            if not _VALUE.match(one.value):
                raise faults.not_a_digest(self._settings)
        wanted = list(dict.fromkeys(one.value for one in values))
        if len(wanted) > _SLOTS:
            raise faults.too_many(wanted, self._settings)
        return wanted

    def _write(self, wanted: Sequence[str], before: frozenset[str], deadline: Deadline) -> None:
        """Write what is missing until all is there. Raises `DnsError`s: that nothing was written, only if so."""
        missing = [value for value in wanted if value not in before]
        written = False
        for _ in range(_ROUNDS):
            if not missing:
                return
            if written or (self._silent and len(missing) > 1):
                deadline.clock.sleep(min(_SECOND, deadline.remaining()))
            twice = False
            for value in missing:
                try:
                    twice = self._update(value, deadline)
                except (DnsRefused, DnsCredentialsError, ConfigError) as error:
                    if not written:
                        raise
                    raise DnsError(error.message, fix=error.fix, details=error.details) from None
                written = True
            missing = self._missing(wanted, missing[-1], deadline, twice=twice)
        raise faults.evicted(missing, self._settings)

    def _missing(self, wanted: Sequence[str], last: str, deadline: Deadline, *, twice: bool) -> list[str]:
        """What is to be written again: what is not seen, or else what `last` has hit if it went out `twice`."""
        found = self._look(deadline)
        if found is not None:
            return [value for value in wanted if value not in found]
        return [value for value in wanted if value != last] if twice else []

    def _look(self, deadline: Deadline) -> frozenset[str] | None:
        """What is served; None where that cannot be seen, which is told once."""
        if self._silent:
            return None
        found = look(self._settings.target, self._settings.server, deadline)
        if found is None:
            self._silent = True
            self._context.warn(
                f"acme-dns at {self.nameservers[0]} does not answer DNS: values are written without looking at what is "
                "there; set nameserver of the DNS entry"
            )
        return found

    # --- requests

    def _update(self, value: str, deadline: Deadline) -> bool:
        """Write one value; whether it may have gone out twice. Raises `DnsError`s."""
        answer = self._post(value, deadline)
        if not answer.ok:
            raise faults.fault(answer, self._settings, self.where)
        return answer.again

    def _post(self, value: str, deadline: Deadline) -> Answer:
        body = {"subdomain": self._settings.subdomain, "txt": value}
        headers = self._credentials()
        try:
            return self._client.send("POST", "/update", deadline=deadline, body=body, headers=headers)
        except Unreachable as error:
            raise faults.unreachable(error) from None

    def _credentials(self) -> Mapping[str, str]:
        """The headers, read when they are first needed. Raises `SecretError`."""
        if self._headers is None:
            references = {"X-Api-User": self._settings.username, "X-Api-Key": self._settings.password}
            headers: dict[str, str] = {}
            for name, reference in references.items():
                text = self._context.secrets(reference).reveal().decode("utf-8", errors="replace").strip()
                if not text or not (text.isascii() and text.isprintable()):
                    raise faults.bad_credential(reference)
                headers[name] = text
            self._headers = headers
        return self._headers
