"""DNS providers, and the solver of one order's challenges."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from typing import Protocol, runtime_checkable

from ci_acme.dataclass import dataclass, field
from ci_acme.ports.time import Deadline


class Concurrency(Enum):
    """What a DNS provider promises to writers that do not know of each other."""

    PER_VALUE = "per-value"
    """The server adds and removes single values atomically (RFC 2136, Cloudflare, DigitalOcean)."""
    CAS = "cas"
    """Compare-and-swap; the adapter re-reads and retries (Route 53, Cloud DNS, Azure)."""
    BLIND = "blind"
    """Read-modify-write without a condition: correct only under a lease."""
    RING = "ring"
    """k slots, the oldest is evicted (acme-dns)."""
    OPAQUE = "opaque"
    """Unknown: a hook."""


@dataclass(frozen=True, slots=True)
class DnsCapabilities:
    """What a DNS adapter can promise.

    `in_sync_signal`: `wait_in_sync` returns only when all of the provider's servers have the change.
    `max_values`: how many values one name can hold, None for no known bound.
    """

    concurrency: Concurrency
    in_sync_signal: bool = False
    max_values: int | None = None
    can_remove: bool = True


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone at a provider: `name` is its apex (A-labels), `id` the provider's handle (`name` where it has none).

    `nameservers` are the hosts that the provider has assigned to the zone (A-labels, no trailing dot), empty if it does
    not tell: the core compares them with the delegation. `public` is False for a zone that the internet does not see.
    """

    id: str
    name: str
    nameservers: tuple[str, ...] = field(default=(), compare=False)
    public: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class TxtValue:
    """One TXT value at one name (absolute, no trailing dot, after CNAMEs); `value` is unquoted.

    `ttl` is the TTL of the RRset that is there already, so that a neighbour's TTL is kept; None if there is none.
    """

    name: str
    value: str
    ttl: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """A receipt for one value: what `release` needs, also in another process. JSON-serialisable by its fields.

    `created` is False for a value that was there before us: it belongs to somebody else and is never released.
    `ref` is the provider's handle of the record or change, if it has one.
    """

    zone: Zone
    name: str
    value: str
    created: bool
    ref: str | None = None


@runtime_checkable
class DnsProvider(Protocol):
    """Publishes and removes single TXT values in the zones of one account or server.

    An adapter MAY have `nameservers: Sequence[str]` (host[:port]): authoritative servers of its zones, which are asked
    when no resolver knows a zone (a private one, a test). An adapter whose `zones_for` asks nobody MAY be a
    `ProvesCredentials`.
    """

    @property
    def capabilities(self) -> DnsCapabilities: ...

    @property
    def where(self) -> str:
        """Where changes go, for people: `127.0.0.1:5353`, `route53`. Never a credential."""
        ...

    def zones_for(self, name: str, apex: str | None, *, deadline: Deadline) -> Sequence[Zone]:
        """Every zone of this provider that holds `name`: all apexes above it, all zones of one apex, private ones too.

        The core chooses: the longest public one that the delegation leads to. `apex` is the zone cut that the
        authoritative servers name, None if they could not be asked; an adapter MAY look for nothing but that. A
        `zone_id` in the config MUST be taken as it is, without listing. MUST NOT change anything. Empty, or
        `ZoneNotFound` with better advice, if there is none. Raises `DnsCredentialsError`, `DnsUnreachable`.
        """
        ...

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        """Make every value present, in one change, and return a receipt for each.

        MUST leave all other values at the names alone; MUST be idempotent: a value that is there already is success,
        with `created=False` where the provider can tell. A conflict means re-read. SHOULD be a single request however
        many values there are. Raises `DnsCredentialsError`, `DnsRefused`, `DnsUnreachable`.
        """
        ...

    def wait_in_sync(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        """Wait for the provider's own signal, if it has one; else return at once."""
        ...

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        """Remove the values with `created=True` by name and value, in one change a zone; absent is success.

        MUST work in a new process, and MUST NOT touch any other value.
        """
        ...

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """Prove, without changing anything, that the credentials may write at `names` as far as that can be known."""
        ...


@runtime_checkable
class ProvesCredentials(Protocol):
    """A provider that can tell a wrong credential by one cheap question."""

    def prove_credentials(self, zone: Zone, *, deadline: Deadline) -> None:
        """Ask a question that changes nothing. Raises `DnsCredentialsError` only if the server says that it is wrong.

        MUST be quick: what is not answered within two seconds is no answer, and never an error.
        """
        ...


@dataclass(frozen=True, slots=True)
class Challenge:
    """One TXT value for `identifier`; `name` is where it belongs before CNAMEs are followed."""

    identifier: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class StandingChallenge(Challenge):
    """A challenge that a record which stands there for long answers (dns-persist-01): it is looked at, never written.

    Right is a record for one of `issuers` with exactly our `account` URL; `value` is one that is right.
    """

    issuers: tuple[str, ...]
    account: str
    wildcard: bool


class ChallengeSolver(Protocol):
    """Publishes the TXT values of one order, tells when each can be validated, and removes them."""

    def prepare(self, names: Sequence[str]) -> None:
        """Begin to find the zones of these challenge names in the background; returns at once and never raises."""
        ...

    def solve(
        self, challenges: Sequence[Challenge], ready: Callable[[Sequence[Challenge]], None], *, deadline: Deadline
    ) -> None:
        """Publish all values, call `ready` with those that every authoritative server has, and return when all are.

        `ready` is called from this thread, as soon as possible, with each challenge exactly once. Raises `DnsError`s.
        """
        ...

    def cleanup(self) -> None:
        """Remove what was published, on a shielded clock, within a few seconds. Idempotent; never raises."""
        ...

    @property
    def changes(self) -> int:
        """How many change requests were sent to DNS providers so far for these challenges."""
        ...

    @property
    def propagation(self) -> str | None:
        """How it was known that the records are there: `authoritative`, `doh`, `signal` or `wait`, the weakest of
        those that served; None if none was written.
        """
        ...


class DnsJournal(Protocol):
    """The write-ahead record of TXT values: durable before the call that it announces."""

    def intend(self, entry: str, zone: Zone, values: Sequence[TxtValue]) -> None:
        """The values are about to be written through an entry of the config: its zone, or `ZONE#N` in its `also`."""
        ...

    def adopt(
        self, entry: str, zone: Zone, values: Sequence[TxtValue], *, deadline: Deadline
    ) -> Collection[tuple[str, str]]:
        """Of values that were found in place, the (name, value) pairs that runs which are over have left.

        They are this run's from now on: nobody removes them as leftovers while it needs them.
        """
        ...

    def placed(self, entry: str, placements: Sequence[Placement]) -> None:
        """They are there; `created` says which are ours."""
        ...

    def released(self, entry: str, zone: Zone, values: Sequence[tuple[str, str]]) -> None:
        """The (name, value) pairs are gone, or were never ours."""
        ...
