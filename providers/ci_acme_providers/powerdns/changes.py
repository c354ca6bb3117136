"""A change of TXT values, made until it is seen to be made: by single records, or by whole record sets."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ci_acme.dataclass import dataclass
from ci_acme.errors import ConfigError, DnsCredentialsError, DnsError, DnsRefused, ZoneNotFound
from ci_acme.ports import Deadline, Zone
from ci_acme.rest import Answer
from ci_acme_providers.powerdns.api import Api, Contents, TxtSet
from ci_acme_providers.powerdns.content import quote, unquote
from ci_acme_providers.powerdns.faults import BUSY, words

_TRIES: Final = 60
_BASE: Final = 0.05
_MOST: Final = 2.0
_PRIMARY: Final = frozenset({"master", "primary", "producer"})


@dataclass(frozen=True, slots=True)
class Item:
    """A value, and the TTL that its record set gets if there is none yet."""

    name: str
    value: str
    ttl: int


class Change:
    """Values of one zone that shall be `present`, or absent.

    `single` is whether the server knows EXTEND and PRUNE; None, until that is known, and then it is tried.
    """

    def __init__(self, api: Api, zone: Zone, items: Sequence[Item], *, present: bool, single: bool | None) -> None:
        self.single = single
        self._api = api
        self._zone = zone
        self._present = present
        self._todo = list(items)
        self._contents = Contents()
        self._answer: Answer | None = None
        self._doubtful = False
        """Whether something was sent that may have been carried out."""

    def make(self, deadline: Deadline) -> set[Item]:
        """Make it; the values that are known to have been there before.

        Raises `DnsError`s: those that say that nothing was written only if that is certain.
        """
        before: set[Item] = set()
        for attempt in range(_TRIES):
            try:
                found = self._step(deadline)
            except (DnsRefused, DnsCredentialsError, ZoneNotFound, ConfigError) as error:
                if not self._doubtful:
                    raise
                raise DnsError(error.message, fix=error.fix, details=error.details) from None
            before |= found
            if not self._todo:
                break
            if deadline.expired:
                raise self._given_up()
            if attempt or not (self._answer is not None and self._answer.ok):
                _pause(attempt, deadline)
        else:
            raise self._given_up()
        if self._present and self._contents.kind.lower() in _PRIMARY:
            self._api.notify(self._zone.id, deadline)
        return before

    def _step(self, deadline: Deadline) -> set[Item]:
        """Send what is still to be done, and look; what was found before anything was sent."""
        if self.single is not False:
            self._send_single(deadline)
        names = [item.name for item in self._todo]
        self._contents = self._api.read(self._zone.id, names, deadline)
        done = {item for item in self._todo if (item.value in self._contents.values(item.name)) == self._present}
        self._todo = [item for item in self._todo if item not in done]
        before = set() if self._doubtful else done
        if self._todo and self.single is False:
            self._send_sets(deadline)
        return before

    def _send_single(self, deadline: Deadline) -> None:
        """EXTEND or PRUNE; that the server does not understand them settles that it has none."""
        change = "EXTEND" if self._present else "PRUNE"
        rrsets = [single(change, item, self._contents.at(item.name)) for item in self._todo]
        answer = self._answer = self._api.patch(self._zone.id, rrsets, deadline)
        if answer is None or answer.ok or answer.status in BUSY:
            self._doubtful = True
            self.single = self.single or (True if answer is not None and answer.ok else None)
        elif not_understood(answer):
            self.single = False
        elif "different ttl" not in words(answer).lower():  # else the next try has the TTL that is there
            raise self._api.fault(answer, self._zone.id)

    def _send_sets(self, deadline: Deadline) -> None:
        """REPLACE each record set by what it was a moment ago, with or without our values."""
        by_name: dict[str, list[Item]] = {}
        for item in self._todo:
            by_name.setdefault(item.name, []).append(item)
        rrsets = [
            _replaced(name, items, self._contents.at(name), present=self._present) for name, items in by_name.items()
        ]
        answer = self._answer = self._api.patch(self._zone.id, rrsets, deadline)
        if answer is not None and not answer.ok and answer.status not in BUSY:
            raise self._api.fault(answer, self._zone.id)
        self._doubtful = True

    def _given_up(self) -> Exception:
        if self._answer is not None and self._answer.status in BUSY:
            return self._api.fault(self._answer, self._zone.id)
        names = sorted({item.name for item in self._todo})
        return DnsError(
            f"PowerDNS at {self._api.host} does not keep the change of {', '.join(names[:3])}",
            fix="find who else writes whole record sets there at the same time, and run the command again",
            details={"server": self._api.host, "zone": self._zone.name, "names": names},
        )


def not_understood(answer: Answer) -> bool:
    """Whether the server does not know EXTEND and PRUNE (4.7: `Changetype not understood`)."""
    return answer.status in {400, 422} and "changetype" in words(answer).lower()


def single(change: str, item: Item, there: TxtSet | None = None) -> dict[str, Any]:
    """A change of one record; one that is added takes the TTL of those that are there."""
    ttl = item.ttl if there is None else there.ttl
    records = [{"content": quote(item.value), "disabled": False}]
    return {"name": f"{item.name}.", "type": "TXT", "ttl": ttl, "changetype": change, "records": records}


def _replaced(name: str, items: Sequence[Item], there: TxtSet | None, *, present: bool) -> dict[str, Any]:
    ours = {item.value for item in items}
    records: list[Mapping[str, Any]] = [
        record
        for record in (() if there is None else there.records)
        if unquote(record["content"]) not in ours or (record["disabled"] and not present)
    ]
    if present:
        records += [{"content": quote(value), "disabled": False} for value in dict.fromkeys(i.value for i in items)]
    ttl = items[0].ttl if there is None else there.ttl
    return {"name": f"{name}.", "type": "TXT", "ttl": ttl, "changetype": "REPLACE", "records": records}


def _pause(attempt: int, deadline: Deadline) -> None:
    """Full jitter, so that writers that met do not meet again."""
    seconds = random.uniform(0, min(_MOST, _BASE * 2 ** min(attempt, 10)))  # noqa: S311 - spreads load, guards nothing
    deadline.clock.sleep(min(seconds, deadline.remaining()))
