"""The write-ahead journal of TXT values: whatever kills a run, the next one knows what to remove.

Each run has a stream. A record says what is about to be written, what was placed, or what is gone; what is open is
what the records add up to. A stream that adds up to nothing is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from ci_acme.dataclass import dataclass, replace
from ci_acme.errors import StateError
from ci_acme.ports import Deadline, Placement, TxtValue, Zone
from ci_acme.state.engine import Conflict, Engine, Record

_PREFIX: Final = "journal/"
_ATTEMPTS: Final = 100


@dataclass(frozen=True, slots=True)
class OpenItem:
    """A TXT value that may still be there.

    `entry` is the config's DNS entry (its zone). `created` is None if the run died before it knew whether the value
    was written, and whether it had been there before.
    """

    run: str
    entry: str
    zone: Zone
    name: str
    value: str
    created: bool | None
    ref: str | None = None

    @property
    def placement(self) -> Placement:
        """The receipt with which a provider removes the value."""
        return Placement(self.zone, self.name, self.value, created=self.created is not False, ref=self.ref)


_Key = tuple[str, str, str, str]


class Journal:
    """A `ports.DnsJournal`: every call is one durable write, however many values it has. Thread-safe."""

    def __init__(self, engine: Engine, run: str) -> None:
        self._engine = engine
        self._run = run
        self._stream = _PREFIX + run

    def intend(self, entry: str, zone: Zone, values: Sequence[TxtValue]) -> None:
        """Durable before the values are written. Raises `StateError`."""
        if values:
            pairs = [{"name": value.name, "value": value.value} for value in values]
            self._append("intend", [{"entry": entry, "zone": [zone.id, zone.name], **pair} for pair in pairs])

    def adopt(
        self, entry: str, zone: Zone, values: Sequence[TxtValue], *, deadline: Deadline
    ) -> Collection[tuple[str, str]]:
        """None: who may take over from whom is for those who know which runs are over (`take_over`)."""
        del entry, zone, values, deadline
        return ()

    def take_over(self, items: Sequence[OpenItem]) -> None:
        """Items of other runs become this run's: first here, so that at no moment nobody knows of them."""
        for item in items:
            self.placed(item.entry, [item.placement])
            Journal(self._engine, item.run).released(item.entry, item.zone, [(item.name, item.value)])

    def placed(self, entry: str, placements: Sequence[Placement]) -> None:
        """The values are there. One that was there before (`created=False`) is not ours and is closed."""
        items = [
            {
                "entry": entry,
                "zone": [placement.zone.id, placement.zone.name],
                "name": placement.name,
                "value": placement.value,
                "created": placement.created,
                "ref": placement.ref,
            }
            for placement in placements
        ]
        if items:
            self._append("placed", items)

    def released(self, entry: str, zone: Zone, values: Sequence[tuple[str, str]]) -> None:
        """The values are gone, or were never ours. The stream goes with the last one."""
        gone = {(entry, zone.name, name, value) for name, value in values}
        items = [{"entry": entry, "zone": [zone.id, zone.name], "name": name, "value": value} for name, value in values]
        for _ in range(_ATTEMPTS):
            records = self._engine.records(self._stream)
            last = records[-1].number if records else 0
            try:
                if not _replay(self._run, records).keys() - gone:
                    return self._engine.drop(self._stream, expect_last=last)
                self._engine.append(self._stream, _record("released", items), expect_last=last)
            except Conflict:
                continue  # another thread wrote meanwhile
            return None
        raise StateError(f"the journal in {self._engine.where} changes all the time", fix="run ci-acme cleanup")

    def tidy(self) -> None:
        """Drop the stream if it adds up to nothing: all values were there before, and nobody released one."""
        records = self._engine.records(self._stream)
        if records and not _replay(self._run, records):
            with suppress(Conflict):
                self._engine.drop(self._stream, expect_last=records[-1].number)

    def open_items(self) -> list[OpenItem]:
        """What this run has not released."""
        return list(_replay(self._run, self._engine.records(self._stream)).values())

    def _append(self, what: str, items: Sequence[dict[str, Any]]) -> None:
        self._engine.append(self._stream, _record(what, items))


def open_items(engine: Engine) -> list[OpenItem]:
    """What any run has not released; `Journal(engine, item.run).released(…)` closes an item of another run."""
    runs = [stream.removeprefix(_PREFIX) for stream in engine.streams(_PREFIX)]
    return [item for run in runs for item in Journal(engine, run).open_items()]


def _record(what: str, items: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps({"what": what, "items": items}, separators=(",", ":")).encode()


def _replay(run: str, records: Iterable[Record]) -> dict[_Key, OpenItem]:
    """What the records add up to. Raises `StateError` for records that are not ours."""
    items: dict[_Key, OpenItem] = {}
    for record in records:
        try:
            document = json.loads(record.value)
            for raw in document["items"]:
                item = OpenItem(run, raw["entry"], Zone(*raw["zone"]), raw["name"], raw["value"], created=None)
                _apply(items, item, document["what"], raw)
        except (ValueError, KeyError, TypeError):
            raise StateError(
                f"record {record.number} of the journal of run {run} cannot be understood",
                fix="run the ci-acme that wrote it, or a newer one",
            ) from None
    return items


def _apply(items: dict[_Key, OpenItem], item: OpenItem, what: str, raw: Mapping[str, Any]) -> None:
    key = (item.entry, item.zone.name, item.name, item.value)
    before = items.get(key)
    if what == "intend":
        items.setdefault(key, item)
    elif what == "placed" and raw["created"]:
        items[key] = replace(item, created=True, ref=raw["ref"])
    elif what == "released" or (what == "placed" and before is not None and not before.created):
        items.pop(key, None)  # a value of ours that another order of this run found in place stays ours
