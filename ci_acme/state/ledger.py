"""What happened, as records that are only ever added; and what there is, one entry a certificate.

A record is one certificate of one run: its events are written together, durable at once. Streams are by month, so that
old ones can be dropped. Nothing that a run decides is read from them. No private key, no token, ever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ci_acme.dataclass import dataclass
from ci_acme.errors import StateError
from ci_acme.model.records import format_time, parse_time
from ci_acme.state.engine import ABSENT, Conflict, Engine

_STREAM: Final = "ledger/"
_ENTRY: Final = "inventory/"
_ATTEMPTS: Final = 50
SCHEMA: Final = "ci-acme/ledger/1"

KINDS: Final = ("order", "certificate", "renewal", "deployment", "failure", "refusal", "retirement")
"""What an event is: its `what`."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a certificate of the config in a run.

    `what` is one of `KINDS`, `facts` what else is known of it, `by` who asked (`ci_acme.hosts.identity`).
    """

    at: datetime
    run: str
    certificate: str
    what: str
    facts: Mapping[str, Any]
    by: Mapping[str, str]


class Ledger:
    """Records and inventory over an engine. Thread-safe. Every method raises `StateError`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(
        self, at: datetime, run: str, certificate: str, events: Sequence[Mapping[str, Any]], by: Mapping[str, str]
    ) -> None:
        """Add the events of one certificate in one run; each has a `what`."""
        document = {
            "schema": SCHEMA,
            "at": format_time(at),
            "run": run,
            "certificate": certificate,
            "by": dict(by),
            "events": [dict(event) for event in events],
        }
        self._engine.append(f"{_STREAM}{at:%Y-%m}", json.dumps(document, separators=(",", ":")).encode())

    def events(self, since: datetime | None = None) -> Iterator[Event]:
        """All events, or those from `since` on, oldest month first."""
        for stream in self._engine.streams(_STREAM):
            if since is not None and stream < f"{_STREAM}{since:%Y-%m}":
                continue
            for record in self._engine.records(stream):
                for event in _events(record.value, f"{stream} {record.number}"):
                    if since is None or event.at >= since:
                        yield event

    # --- what there is ---

    def entries(self) -> list[dict[str, Any]]:
        """The inventory: one entry for each certificate (name in the config, names, CA). See `put`."""
        found: list[dict[str, Any]] = []
        for key in self._engine.list(_ENTRY):
            entry = self._engine.read(key)
            document = None if entry is None else _document(entry.value)
            if document is not None:
                found.append(document)
        return found

    def put(self, document: Mapping[str, Any]) -> None:
        """Set the entry of a certificate, over what was known of it.

        `name`, `names` and `directory` say which. Of two runs the later certificate stays, by its begin of validity;
        the stores of the same certificate are joined.
        """
        key = _entry_key(document)
        for _ in range(_ATTEMPTS):
            entry = self._engine.read(key)
            merged = _merge(None if entry is None else _document(entry.value), document)
            value = json.dumps(merged, separators=(",", ":")).encode()
            try:
                self._engine.write(key, value, expect=ABSENT if entry is None else entry.version)
            except Conflict:
                continue
            return
        raise StateError(f"the inventory in {self._engine.where} changes all the time", fix="run again")

    def retire(
        self, name: str, names: Sequence[str], places: Sequence[tuple[str, str]], at: datetime, run: str
    ) -> None:
        """Take stores (provider, target) from the entries of a certificate; one that has none left is retired."""
        for key in self._engine.list(_ENTRY):
            self._change(key, lambda entry: _without(entry, name, names, places, format_time(at), run))

    def _change(self, key: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
        for _ in range(_ATTEMPTS):
            entry = self._engine.read(key)
            document = None if entry is None else _document(entry.value)
            changed = None if document is None else change(document)
            if entry is None or changed is None:
                return
            try:
                self._engine.write(key, json.dumps(changed, separators=(",", ":")).encode(), expect=entry.version)
            except Conflict:
                continue
            return
        raise StateError(f"the inventory in {self._engine.where} changes all the time", fix="run again")


def _without(
    entry: dict[str, Any], name: str, names: Sequence[str], places: Sequence[tuple[str, str]], at: str, run: str
) -> dict[str, Any] | None:
    """The entry without those stores; None if it is of another certificate or has none of them."""
    if entry.get("name") != name or sorted(entry.get("names", ())) != sorted(names) or entry.get("retired"):
        return None
    kept = [store for store in entry.get("stores", ()) if (store["provider"], store["target"]) not in places]
    if kept:
        return {**entry, "stores": kept} if len(kept) < len(entry.get("stores", ())) else None
    return {**entry, "retired": at, "retired_by": run}


def _entry_key(document: Mapping[str, Any]) -> str:
    identity = json.dumps([document["name"], sorted(document["names"]), document["directory"]])
    return _ENTRY + hashlib.sha256(identity.encode()).hexdigest()[:32]


def _merge(old: dict[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    if old is None:
        return dict(new)
    if old.get("sha256") != new.get("sha256"):
        return old if str(old.get("not_before", "")) > str(new.get("not_before", "")) else dict(new)
    stores = {(store["provider"], store["target"]): store for store in (*old.get("stores", ()), *new["stores"])}
    return {**old, **new, "stores": list(stores.values())}


def _document(value: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(value)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _events(value: bytes, where: str) -> Iterator[Event]:
    try:
        document = json.loads(value)
        at, run, certificate = parse_time(document["at"]), document["run"], document["certificate"]
        for facts in document["events"]:
            yield Event(at, run, certificate, facts["what"], facts, document["by"])
    except (ValueError, KeyError, TypeError):
        raise StateError(
            f"record {where} cannot be understood", fix="run the ci-acme that wrote it, or a newer one"
        ) from None
