"""One TXT record set of Azure DNS, changed under its ETag: read, change, and again if somebody was faster."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from ci_acme.dataclass import dataclass, field
from ci_acme.errors import DnsError, DnsRefused, DnsUnreachable
from ci_acme.ports import Deadline
from ci_acme_providers.azure import faults
from ci_acme_providers.azure.patience import Options, Patience, jitter

MOST_RECORDS: Final = 20
"""Of a record set, as Azure documents it."""
_STRING: Final = 255
_ROUNDS: Final = 200
_MOST_PAUSE: Final = 2.0
"""Seconds between two rounds: a record set that holds 20 values has about as many writers, of half a second each."""
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"
"""An ETag that no record set has."""
_SOLE: Final = re.compile(r"sole:(\d+):(.+)\Z", re.DOTALL)


class Beaten(Exception):
    """The record set is not what it was when it was read."""


@dataclass(frozen=True, slots=True)
class Found:
    """A record set as it was read. `records` are the SDK's, so that a neighbour's are written back as they were."""

    etag: str
    ttl: int
    records: tuple[Any, ...]
    metadata: Any

    @property
    def values(self) -> list[str]:
        """The values, each of its strings joined."""
        return ["".join(record.value or ()) for record in self.records]


@dataclass(frozen=True, slots=True)
class Placed:
    """Which values we have created, and the handle if the whole record set is ours (`sole:COUNT:ETAG`)."""

    created: frozenset[str] = frozenset()
    ref: str | None = None


@dataclass(slots=True)
class RecordSet:
    """One name of one zone. `client` is a `DnsManagementClient`; `characters` bounds all values together."""

    client: Any
    group: str
    zone: str
    name: str
    characters: int
    deadline: Deadline
    keep_empty: bool = False
    _created: set[str] = field(default_factory=set[str])

    @property
    def relative(self) -> str:
        """The name as the API wants it."""
        return "@" if self.name == self.zone else self.name.removesuffix(f".{self.zone}")

    def add(self, wanted: Sequence[str], ttl: int, *, unseen: bool) -> Placed:
        """Make the values present. `unseen`: nothing was served at the name, so that a first write needs no look.

        Raises `DnsError`s.
        """
        found = None if unseen and not self.keep_empty else self._read()
        for attempt in range(_ROUNDS):
            missing = [value for value in dict.fromkeys(wanted) if found is None or value not in found.values]
            if not missing:
                return self._placed(found)
            patience = Patience(self.deadline)
            try:
                self._created |= set(missing)
                return self._placed(self._write(found, missing, ttl, patience))
            except Beaten:
                if not patience.doubtful:  # else it may have been our own write, whose answer was lost
                    self._created -= set(missing)
            found = self._read()
            self._wait(attempt)
        raise self._contended()

    def remove(self, values: Sequence[str], refs: Sequence[str | None]) -> None:
        """Make the values absent, whatever else is there. Raises `DnsError`s."""
        gone = set(values)
        etag = self._sole(gone, refs)
        if etag is not None and self._drop(etag, None):
            return
        for attempt in range(_ROUNDS):
            found = self._read()
            if found is None or not gone & set(found.values):
                return
            rest = [record for record in found.records if "".join(record.value or ()) not in gone]
            if self._replace(found, rest) if rest else self._drop(found.etag, found):
                return
            self._wait(attempt)
        raise self._contended()

    def check(self) -> None:
        """Prove the rights to read, write and delete, by changes on a condition that nothing fulfils."""
        self._read()
        attempts: list[Callable[[Options], object]] = [
            lambda o: self._put(self._body((), 60, None), o, if_match=_NOBODY)
        ]
        if not self.keep_empty:
            attempts.append(lambda o: self._delete(_NOBODY, o))
        for attempt in attempts:
            try:
                Patience(self.deadline).send(attempt)
            except Exception as error:
                fault = faults.read(error)
                if fault.kind is not faults.Kind.PRECONDITION and not self._merely_absent(fault):
                    raise self._error(fault) from None

    # --- the API

    def _read(self) -> Found | None:
        """What is there; None if there is no record set."""
        sets = self.client.record_sets
        try:
            one = Patience(self.deadline).send(lambda o: sets.get(self.group, self.zone, self.relative, "TXT", **o))
        except Exception as error:
            fault = faults.read(error)
            if self._merely_absent(fault):
                return None
            raise self._error(fault) from None
        return _found(one)

    def _write(self, found: Found | None, missing: Sequence[str], ttl: int, patience: Patience) -> Found:
        """Add values to what was found. A neighbour's TTL stays. Raises `Beaten`."""
        from azure.mgmt.dns.models import TxtRecord

        records = [*(found.records if found is not None else ()), *(TxtRecord(value=_strings(v)) for v in missing)]
        self._check_room(records, found)
        kept = found.ttl if found is not None and found.records else ttl
        body = self._body(records, kept, found)
        condition = {"if_none_match": "*"} if found is None else {"if_match": found.etag}
        try:
            return _found(patience.send(lambda o: self._put(body, o, **condition)))
        except Exception as error:
            raise self._beaten_or_fault(error) from None

    def _replace(self, found: Found, records: Sequence[Any]) -> bool:
        """Write other records over what was found; False if it has changed meanwhile."""
        body = self._body(records, found.ttl, found)
        return self._conditionally(lambda o: self._put(body, o, if_match=found.etag))

    def _drop(self, etag: str, found: Found | None) -> bool:
        """Remove the record set, or leave it empty; False if it has changed meanwhile."""
        if self.keep_empty:
            return self._empty(etag, found)
        try:
            Patience(self.deadline).send(lambda o: self._delete(etag, o))
        except Exception as error:
            fault = faults.read(error)
            if fault.code == "ScopeLocked":  # a lock against deletion lets records be emptied
                return self._empty(etag, found)
            if fault.kind is faults.Kind.PRECONDITION:
                return False
            if not self._merely_absent(fault):
                raise self._error(fault) from None
        return True

    def _empty(self, etag: str, found: Found | None) -> bool:
        body = self._body((), 60 if found is None else found.ttl, found)
        return self._conditionally(lambda o: self._put(body, o, if_match=etag))

    def _conditionally(self, call: Callable[[Options], object]) -> bool:
        try:
            Patience(self.deadline).send(call)
        except Exception as error:
            try:
                raise self._beaten_or_fault(error) from None
            except Beaten:
                return False
        return True

    def _put(self, body: Any, options: Options, **condition: str) -> Any:
        sets = self.client.record_sets
        return sets.create_or_update(self.group, self.zone, self.relative, "TXT", body, **condition, **options)

    def _delete(self, etag: str, options: Options) -> None:
        self.client.record_sets.delete(self.group, self.zone, self.relative, "TXT", if_match=etag, **options)

    @staticmethod
    def _body(records: Sequence[Any], ttl: int, found: Found | None) -> Any:
        from azure.mgmt.dns.models import RecordSet as Model

        return Model(ttl=ttl, txt_records=list(records), metadata=found.metadata if found is not None else None)

    # --- judging

    def _beaten_or_fault(self, error: Exception) -> Exception:
        fault = faults.read(error)
        if fault.kind is faults.Kind.PRECONDITION or self._merely_absent(fault):
            return Beaten()
        return self._error(fault)

    def _error(self, fault: faults.Fault) -> DnsError:
        return faults.dns_error(fault, f"TXT at {self.name}", self.zone)

    @staticmethod
    def _merely_absent(fault: faults.Fault) -> bool:
        """Whether the record set is not there, though its zone is."""
        return fault.kind is faults.Kind.ABSENT and not fault.parent_is_absent

    def _check_room(self, records: Sequence[Any], found: Found | None) -> None:
        """Raises `DnsRefused` for what the record set cannot hold, before Azure does."""
        others = 0 if found is None else len(found.records)
        size = sum(len("".join(record.value)) for record in records)
        if len(records) <= MOST_RECORDS and size <= self.characters:
            return
        limit = f"{MOST_RECORDS} values" if len(records) > MOST_RECORDS else f"{self.characters} characters"
        raise DnsRefused(
            f"Azure DNS holds at most {limit} at {self.name}, where {others} values stand already",
            fix="remove values that nobody needs any more, or wait until other runs have removed theirs",
            details={"name": self.name, "values": others, "characters": size},
        )

    def _placed(self, found: Found | None) -> Placed:
        if found is None:
            return Placed(frozenset(self._created))
        ours = set(found.values) == self._created
        return Placed(frozenset(self._created), f"sole:{len(self._created)}:{found.etag}" if ours else None)

    @staticmethod
    def _sole(gone: set[str], refs: Sequence[str | None]) -> str | None:
        """The ETag of a record set that held these values of ours and nothing else."""
        match = _SOLE.match(refs[0] or "") if refs and len(set(refs)) == 1 else None
        return match[2] if match is not None and int(match[1]) == len(gone) else None

    def _wait(self, attempt: int) -> None:
        """Full jitter between rounds. Raises `DnsUnreachable` when the time is up."""
        pause = jitter(attempt, _MOST_PAUSE)
        if self.deadline.remaining() <= pause:
            raise self._contended()
        self.deadline.clock.sleep(pause)

    def _contended(self) -> DnsUnreachable:
        return DnsUnreachable(
            f"others change {self.name} all the time: our change did not get a turn",
            fix="run again, or let fewer jobs work at the same name",
            details={"name": self.name},
        )


def _found(one: Any) -> Found:
    return Found(one.etag or "", one.ttl or 60, tuple(one.txt_records or ()), one.metadata)


def _strings(value: str) -> list[str]:
    """Strings of at most 255 characters: the API does not split."""
    return [value[start : start + _STRING] for start in range(0, len(value), _STRING)] or [""]
