"""`lexicon`: the bridge to the providers of dns-lexicon that have no adapter of their own.

Lexicon knows no conditions, no batches and few errors: many of its providers read a record set and write it back, its
methods answer False for a failure, and its requests have no time limit. Therefore BLIND; every write is checked by a
listing and made again if it was lost, and every call ends at the deadline.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from ci_acme.errors import ConfigError, DnsCredentialsError, DnsError, DnsRefused, DnsUnreachable, ZoneNotFound
from ci_acme.model.names import ROOT, is_suffix
from ci_acme.ports import Concurrency, Deadline, DnsCapabilities, Placement, ProviderContext, TxtValue, Zone
from ci_acme_providers.lexicon.config import OURS, LexiconSettings
from ci_acme_providers.lexicon.faults import fault
from ci_acme_providers.lexicon.session import Operations, Session
from ci_acme_providers.lexicon.writer import Item, Writer

_TRIES: Final = 6
_BASE: Final = 0.25
_MOST: Final = 8.0


class Lexicon:
    """`DnsProvider` by a provider of dns-lexicon."""

    def __init__(self, settings: LexiconSettings, context: ProviderContext) -> None:
        self._settings = settings
        self._context = context
        self._session = Session(settings.lexicon_provider)
        self._secrets: dict[str, bytes] | None = None
        ours = OURS.get(settings.lexicon_provider)
        if ours is not None:
            context.warn(
                f"lexicon is used for {settings.zone} where provider: {ours} would keep the values of others safe"
            )

    @property
    def capabilities(self) -> DnsCapabilities:
        return DnsCapabilities(concurrency=Concurrency.BLIND)

    @property
    def where(self) -> str:
        return f"lexicon:{self._settings.lexicon_provider}"

    def zones_for(self, name: str, apex: str | None, *, deadline: Deadline) -> Sequence[Zone]:
        zone = (self._settings.zone_id or apex or self._settings.zone).strip().rstrip(".").lower()
        if zone in {"", ROOT} or not is_suffix(zone, name):
            raise ZoneNotFound(
                f"the zone of {name} is not known, and lexicon cannot look for it",
                fix="give the zone's name as zone, or as zone_id, of the DNS entry",
                details={"name": name, "zone": zone},
            )
        return [Zone(id=zone, name=zone)]

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        by_ttl: dict[int, list[Item]] = {}
        for value in values:
            by_ttl.setdefault(ttl if value.ttl is None else value.ttl, []).append((value.name, value.value))
        writer = Writer(self._settings.lexicon_provider)
        for seconds, items in by_ttl.items():
            self._run(zone, seconds, writer, partial(writer.add, items), deadline)
        return [Placement(zone, v.name, v.value, created=(v.name, v.value) not in writer.before) for v in values]

    def wait_in_sync(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        return None

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        zones: dict[Zone, list[Item]] = {}
        for placement in placements:
            if placement.created:
                zones.setdefault(placement.zone, []).append((placement.name, placement.value))
        for zone, items in zones.items():
            writer = Writer(self._settings.lexicon_provider)
            self._run(zone, self._settings.ttl, writer, partial(writer.remove, items), deadline)
            if writer.lost:
                names = ", ".join(sorted({name for name, _ in writer.lost}))
                self._context.warn(f"{self.where} removed values of others with ours at {names}")

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """Log in and list: whether it may write, lexicon can only try."""
        writer = Writer(self._settings.lexicon_provider)
        self._run(zone, self._settings.ttl, writer, partial(writer.look, [(names[0], "")]), deadline)

    def _run(
        self, zone: Zone, ttl: int, writer: Writer, work: Callable[[Operations], None], deadline: Deadline
    ) -> None:
        """Do the work, again if what failed may pass. Raises our errors: that nothing was written, only if so."""
        for attempt in range(_TRIES):
            try:
                return self._session.run(zone.name, ttl, self._options(), work, deadline)
            except Exception as error:
                ours = fault(error, self._settings.lexicon_provider, zone.name, (self._secrets or {}).values())
            pause = random.uniform(0, min(_MOST, _BASE * 2**attempt))  # noqa: S311 - spreads load, guards nothing
            if not isinstance(ours, DnsUnreachable) or attempt == _TRIES - 1 or deadline.remaining() <= pause:
                if writer.wrote and isinstance(ours, DnsRefused | DnsCredentialsError | ZoneNotFound | ConfigError):
                    ours = DnsError(ours.message, fix=ours.fix, details=ours.details)
                raise ours
            deadline.clock.sleep(pause)
        return None

    def _options(self) -> Mapping[str, Any]:
        """Lexicon's options, with the secrets read when they are first needed. Raises `SecretError`."""
        if self._secrets is None:
            self._secrets = {
                name: self._context.secrets(reference).reveal() for name, reference in self._settings.secrets.items()
            }
        revealed = {name: value.decode("utf-8", errors="replace").strip() for name, value in self._secrets.items()}
        return {**self._settings.options, **revealed}
