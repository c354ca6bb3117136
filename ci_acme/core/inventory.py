"""What certificates there are: what the stores of the config hold, joined with what the ledger knows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ci_acme.dataclass import dataclass, replace
from ci_acme.model.records import format_time, parse_time

INVENTORY_SCHEMA: Final = "ci-acme/inventory/1"

STATES: Final = ("valid", "due", "expired", "revoked", "partial", "missing", "unreadable", "replaced", "retired")
"""`revoked`: the next run makes a new one; `partial`: not every store has it; `missing`: none has; `replaced`: its
stores have another one by now."""


@dataclass(frozen=True, slots=True)
class Place:
    """One store of a certificate.

    `state` is `held`, `other` (another certificate), `absent`, `unusable`, `unreadable`, or `unknown` where only the
    ledger tells.
    """

    provider: str
    target: str
    state: str
    serial: str | None = None
    version: str | None = None

    @property
    def label(self) -> str:
        """`file:certs/web`."""
        return f"{self.provider}:{self.target}"

    def as_dict(self) -> dict[str, Any]:
        """The entry of `stores`."""
        return {
            "provider": self.provider,
            "target": self.target,
            "state": self.state,
            "serial": self.serial,
            "version": self.version,
        }


@dataclass(frozen=True, slots=True)
class Row:
    """One certificate. Unknown facts are None. `source` is `stores`, `ledger`, or `both`."""

    name: str
    names: tuple[str, ...]
    state: str
    source: str
    directory: str
    authority: str | None = None
    owner: str | None = None
    issuer: str | None = None
    serial: str | None = None
    sha256: str | None = None
    key: str | None = None
    profile: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    renew_after: datetime | None = None
    run: str | None = None
    stores: tuple[Place, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The entry of `certificates`."""
        return {
            "name": self.name,
            "state": self.state,
            "names": list(self.names),
            "issuer": self.issuer,
            "serial": self.serial,
            "sha256": self.sha256,
            "not_before": show(self.not_before),
            "not_after": show(self.not_after),
            "renew_after": show(self.renew_after),
            "owner": self.owner,
            "authority": self.authority,
            "directory": self.directory,
            "profile": self.profile,
            "key": self.key,
            "run": self.run,
            "source": self.source,
            "stores": [place.as_dict() for place in self.stores],
        }


def document(rows: Sequence[Row], now: datetime) -> dict[str, Any]:
    """The JSON document of `inventory`."""
    return {
        "schema": INVENTORY_SCHEMA,
        "generated": format_time(now),
        "certificates": [row.as_dict() for row in rows],
    }


def join(held: Sequence[Row], entries: Iterable[Mapping[str, Any]], now: datetime) -> list[Row]:
    """The config's certificates as their stores have them, then those that only the ledger knows.

    Stores win: the ledger adds to a certificate of the config only what no store said, and one whose store holds
    another certificate by now is `replaced`.
    """
    rest: list[Row] = []
    known = [row for row in (from_entry(entry, now) for entry in entries) if row is not None]
    by_identity = {(row.name, frozenset(row.names), row.directory): row for row in known}
    rows = [_completed(row, by_identity.pop((row.name, frozenset(row.names), row.directory), None)) for row in held]
    labels = {place.label for row in held for place in row.stores}
    serials = {row.serial for row in rows if row.serial is not None}
    for row in by_identity.values():
        if row.serial in serials:
            continue
        taken = row.state != "retired" and any(place.label in labels for place in row.stores)
        rest.append(replace(row, state="replaced") if taken else row)
    return [*rows, *sorted(rest, key=lambda row: (row.name, row.names))]


def _completed(row: Row, entry: Row | None) -> Row:
    if entry is None:
        return row
    if row.serial is not None:
        return replace(row, source="both", run=row.run or entry.run)
    state = entry.state if entry.state == "retired" and row.state == "missing" else row.state
    return replace(entry, state=state, stores=row.stores, owner=row.owner or entry.owner, source="ledger")


def from_entry(entry: Mapping[str, Any], now: datetime) -> Row | None:
    """A row from an entry of the ledger's inventory; None for one that cannot be understood."""
    try:
        not_after, renew_after = _time(entry, "not_after"), _time(entry, "renew_after")
        return Row(
            name=str(entry["name"]),
            names=tuple(str(name) for name in entry["names"]),
            state="retired" if entry.get("retired") else life(not_after, renew_after, now),
            source="ledger",
            directory=str(entry["directory"]),
            authority=entry.get("authority"),
            owner=entry.get("owner"),
            issuer=entry.get("issuer"),
            serial=entry.get("serial"),
            sha256=entry.get("sha256"),
            key=entry.get("key"),
            profile=entry.get("profile"),
            not_before=_time(entry, "not_before"),
            not_after=not_after,
            renew_after=renew_after,
            run=entry.get("run"),
            stores=tuple(
                Place(store["provider"], store["target"], "unknown", version=store.get("version"))
                for store in entry["stores"]
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _time(entry: Mapping[str, Any], name: str) -> datetime | None:
    return parse_time(entry[name]) if entry.get(name) else None


def life(not_after: datetime | None, renew_after: datetime | None, now: datetime) -> str:
    """`valid`, `due` or `expired`; `missing` for a certificate without an end."""
    if not_after is None:
        return "missing"
    if now >= not_after:
        return "expired"
    return "due" if renew_after is not None and now >= renew_after else "valid"


def expiring(rows: Iterable[Row], within: timedelta, now: datetime) -> list[Row]:
    """Those in use that end within that time, or have ended; the soonest first."""
    in_use = [row for row in rows if row.not_after is not None and row.state not in {"replaced", "retired"}]
    soon = [row for row in in_use if row.not_after is not None and row.not_after <= now + within]
    return sorted(soon, key=lambda row: row.not_after or now)


def show(time: datetime | None) -> str | None:
    """RFC 3339, or None."""
    return None if time is None else format_time(time)
