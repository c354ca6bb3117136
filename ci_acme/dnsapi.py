"""What DNS providers' REST APIs have in common: the adapter, calls and their doubts, the search for zones, TXT data."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from ci_acme.errors import DnsRefused, DnsUnreachable, SecretError, ZoneNotFound
from ci_acme.model.secret import Secret
from ci_acme.ports import (
    Concurrency,
    Deadline,
    DnsCapabilities,
    Placement,
    ProviderContext,
    TxtValue,
    Zone,
)
from ci_acme.recordset import MARK, Outcome, Record, Wanted, ensure, release
from ci_acme.rest import Answer, RestClient
from ci_acme.wire import Unreachable

_FEW: Final = 3
"""How many names are looked up one by one before the whole zone is tried."""
_WORKERS: Final = 6

Item = TypeVar("Item")
Result = TypeVar("Result")


class Lost(Exception):
    """No clear answer came to a change: it may have been carried out."""


class RecordProvider(ABC):
    """A `DnsProvider` whose API keeps single records; a subclass is also the `RecordApi` of `ci_acme.recordset`.

    `where` is for people. `min_ttl` is the least TTL that the provider takes: a lower one is raised to it.
    """

    min_ttl: int = 60
    keeps_notes: bool = False

    def __init__(self, where: str, zone_id: str | None, context: ProviderContext) -> None:
        self._where = where
        self._zone_id = zone_id
        self._note = f"{MARK} {context.run}"[:100]
        self._unusable: dict[str, str] = {}

    @property
    def capabilities(self) -> DnsCapabilities:
        """Values are added and removed one by one, so that writers do not disturb each other."""
        return DnsCapabilities(concurrency=Concurrency.PER_VALUE)

    @property
    def where(self) -> str:
        """The provider, and its endpoint if that is not the usual one."""
        return self._where

    @property
    def note(self) -> str | None:
        """Who made a record, where the provider keeps comments."""
        return self._note if self.keeps_notes else None

    def zones_for(self, name: str, apex: str | None, *, deadline: Deadline) -> Sequence[Zone]:
        """See `DnsProvider`. What may not be seen is passed over, unless nothing is found."""
        if self._zone_id is not None:
            return [self.pinned(self._zone_id, name, apex, deadline)]
        refusals: list[DnsRefused] = []

        def look(one: str) -> Sequence[Zone]:
            try:
                return self.zones_at(one, deadline)
            except DnsRefused as error:
                refusals.append(error)
                return []

        zones = zones_above(name, apex, look)
        if not zones and refusals:
            raise refusals[0]
        if not any(zone.public for zone in zones):
            reasons = [self._unusable[zone.id] for zone in zones if zone.id in self._unusable]
            raise ZoneNotFound(
                f"{self.where} has no zone for {name} that our credentials can change"
                + (f": {'; '.join(reasons)}" if reasons else ""),
                fix="create the zone there and delegate it, or correct the credentials of the DNS entry",
                details={"name": name},
            )
        return zones

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        """See `DnsProvider`."""
        return ensure(self, zone, values, ttl=ttl, deadline=deadline)

    def wait_in_sync(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:  # noqa: B027 - most have none
        """There is no signal: the name servers themselves are asked."""

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        """See `DnsProvider`."""
        release(self, placements, deadline=deadline)

    def fit(self, ttl: int) -> int:
        """The nearest TTL that the provider takes."""
        return max(ttl, self.min_ttl)

    def settle(self, zone: Zone, *, deadline: Deadline) -> None:  # noqa: B027 - most are done when they answer
        """A change is over when it is answered."""

    def publish(self, zone: Zone, *, deadline: Deadline) -> None:  # noqa: B027 - most need none
        """A change is served without a further call."""

    def pinned(self, zone_id: str, name: str, apex: str | None, deadline: Deadline) -> Zone:
        """The zone of a configured `zone_id`, without listing."""
        return Zone(id=zone_id, name=zone_id.lower().rstrip("."))

    @abstractmethod
    def zones_at(self, apex: str, deadline: Deadline) -> Sequence[Zone]:
        """All zones with exactly this apex. One that cannot be used is not public; `_unusable` says why, by its id."""

    @abstractmethod
    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """See `DnsProvider`."""

    @abstractmethod
    def find(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> Sequence[Record]:
        """See `RecordApi`."""

    @abstractmethod
    def create(self, zone: Zone, wanted: Sequence[Wanted], outcome: Outcome, *, deadline: Deadline) -> None:
        """See `RecordApi`."""

    @abstractmethod
    def delete(self, zone: Zone, records: Sequence[Record], *, deadline: Deadline) -> bool:
        """See `RecordApi`."""


class SecretText:
    """A secret that fits a header, read when it is first needed. Raises `SecretError`."""

    def __init__(self, reference: str, context: ProviderContext) -> None:
        self._reference = reference
        self._context = context
        self._lock = threading.Lock()
        self._secret: Secret | None = None

    def read(self) -> str:
        """The text, without blanks around it."""
        with self._lock:
            if self._secret is None:
                self._secret = self._context.secrets(self._reference)
            text = self._secret.reveal().strip()
        if not text or not text.isascii() or any(octet <= 0x20 or octet == 0x7F for octet in text):
            raise SecretError(
                f"the secret at {self._reference} is not a token: it is empty or has blanks or other bytes in it",
                fix="store the token alone, as the provider shows it",
                details={"reference": self._reference},
            )
        return text.decode("ascii")

    def bearer(self, method: str, url: str, body: bytes | None) -> Mapping[str, str]:
        """`ci_acme.rest.Authorise` with a bearer token (RFC 6750)."""
        return {"Authorization": f"Bearer {self.read()}"}


def where_of(provider: str, client: RestClient, usual: str) -> str:
    """The provider's name, with the host of an endpoint that is not the usual one."""
    return provider if client.base == usual else f"{provider} ({client.host})"


# --- calls -------------------------------------------------------------------------------------------------------


def look_up(
    names: Sequence[str], one: Callable[[str], Iterable[Record]], whole: Callable[[], Iterable[Record] | None]
) -> list[Record]:
    """The records at these names: for many in one look at the whole zone, if `whole` can (None: it is too large).

    Pages are never put together: a record that moves to another page while they are read would be missed.
    """
    wanted = set(names)
    records = whole() if len(wanted) > _FEW else None
    if records is None:
        records = [record for found in parallel(sorted(wanted), lambda name: list(one(name))) for record in found]
    return [record for record in records if record.name in wanted]


def parallel(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """The results in order, made by a few threads. After an error no more are begun; it is raised."""
    if len(items) < 2:
        return [work(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(_WORKERS, len(items)), thread_name_prefix="records") as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def zones_above(name: str, apex: str | None, look: Callable[[str], Sequence[Zone]]) -> list[Zone]:
    """The zones that hold `name`: those at the apex that the name servers tell, else at every name above.

    `look` gives the zones with one apex.
    """
    found = list(look(apex)) if apex is not None else []
    if found:
        return found
    labels = name.split(".")
    above = [".".join(labels[start:]) for start in range(max(1, len(labels) - 1))]
    return [zone for zones in parallel([one for one in above if one != apex], look) for zone in zones]


def ask(client: RestClient, where: str, method: str, path: str, *, deadline: Deadline, **more: Any) -> Answer:
    """A request that may be sent twice. Raises `DnsUnreachable` without a clear answer."""
    try:
        answer = client.send(method, path, deadline=deadline, **more)
    except Unreachable as error:
        raise _silent(where, str(error)) from None
    if answer.status >= 500:
        raise _silent(where, f"{client.host} answers {answer.status}")
    return _not_throttled(where, answer)


def change(client: RestClient, where: str, method: str, path: str, *, deadline: Deadline, **more: Any) -> Answer:
    """A request that must not be sent twice. Raises `Lost` without a clear answer."""
    try:
        answer = client.send(method, path, deadline=deadline, once=True, **more)
    except Unreachable as error:
        raise Lost(str(error)) from None
    if answer.status >= 500:
        raise Lost(f"{client.host} answers {answer.status}")
    return _not_throttled(where, answer)


def _not_throttled(where: str, answer: Answer) -> Answer:
    if answer.status == 429:
        raise DnsUnreachable(
            f"{where} throttles our requests (429) for longer than there is time",
            fix="run the command again later, or with fewer names at once",
            details={"retry_after": answer.headers.get("retry-after", "")},
        )
    return answer


def _silent(where: str, why: str) -> DnsUnreachable:
    return DnsUnreachable(
        f"the API of {where} does not answer: {why}", fix="check that this machine may reach it, and run again"
    )


# --- text --------------------------------------------------------------------------------------------------------


def relative(name: str, zone: str) -> str:
    """A name as the zone's file has it, `@` for the apex."""
    return "@" if name == zone else name.removesuffix(f".{zone}")


def absolute(name: str, zone: str) -> str:
    """The inverse of `relative`, lower case."""
    name = name.lower().rstrip(".")
    return zone if name in {"@", "", zone} else f"{name}.{zone}"


def quote(value: str) -> str:
    """A TXT value as character strings in quotes (RFC 1035 section 5.1), each of at most 255 octets."""
    data = value.encode()
    parts = [data[start : start + 255] for start in range(0, len(data), 255)] or [b""]
    return " ".join('"' + "".join(_escape(octet) for octet in part) + '"' for part in parts)


def unquote(text: str) -> str:
    """The value of TXT data, which an API may give with or without quotes."""
    if not text.startswith('"'):
        return text
    out = bytearray()
    data = text.encode()
    inside = False
    position = 0
    while position < len(data):
        octet = data[position]
        if octet == 0x22:
            inside = not inside
        elif inside and octet == 0x5C and data[position + 1 : position + 4].isdigit():
            out.append(int(data[position + 1 : position + 4]) & 0xFF)
            position += 3
        elif inside and octet == 0x5C:
            out += data[position + 1 : position + 2]
            position += 1
        elif inside:
            out.append(octet)
        position += 1
    return out.decode(errors="replace")


def _escape(octet: int) -> str:
    if octet in b'"\\':
        return "\\" + chr(octet)
    return chr(octet) if 0x20 <= octet < 0x7F else f"\\{octet:03}"


def said(text: object) -> str:
    """What a server said, fit for one line of an error."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text))[:200].strip()
