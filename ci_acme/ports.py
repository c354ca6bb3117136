"""The Protocols that providers implement, and the small values they exchange with the core.

MUST, SHOULD and MAY are used as in RFC 2119. A provider raises only errors of `ci_acme.errors`; anything else is a
defect. Nothing here does I/O. `ci_acme.testing` has the contract suites that a provider must pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol, runtime_checkable

from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata, PendingOrder
from ci_acme.model.secret import Secret

# --- time --------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Time as a parameter: every wait of the product goes through `sleep`, every deadline through `monotonic`."""

    def now(self) -> datetime:
        """The wall clock, aware UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait. MUST raise `Interrupted` at once when the run is told to stop, unless the clock is shielded."""
        ...

    def check(self) -> None:
        """Raise `Interrupted` if the run was told to stop; called before anything that takes long."""
        ...

    def shielded(self) -> Clock:
        """The same clock for cleaning up: it does not hear that the run shall stop."""
        ...


class Deadline:
    """A point in time on a clock's monotonic scale."""

    __slots__ = ("_at", "clock")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock = clock
        self._at = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._at - self.clock.monotonic())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining() <= 0

    def within(self, seconds: float) -> Deadline:
        """A deadline at most `seconds` away, and never later than this one."""
        return Deadline(self.clock, min(seconds, self.remaining()))


# --- secrets -----------------------------------------------------------------------------------------------------

SecretReader = Callable[[str], Secret]
"""Reads a secret reference (`env:NAME`, `file:PATH`, …) at the last moment. Raises `SecretError`."""


@dataclass(frozen=True, slots=True)
class ProviderContext:
    """What every adapter is made with, beside its settings. `certificate` is the name in the config, for stores."""

    secrets: SecretReader
    clock: Clock
    certificate: str = ""


# --- DNS ---------------------------------------------------------------------------------------------------------


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
    """A zone at a provider: `name` is its apex (A-labels), `id` the provider's handle (`name` where it has none)."""

    id: str
    name: str


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
    when no resolver knows a zone (a private one, a test).
    """

    @property
    def capabilities(self) -> DnsCapabilities: ...

    @property
    def where(self) -> str:
        """Where changes go, for people: `127.0.0.1:5353`, `route53`. Never a credential."""
        ...

    def find_zone(self, name: str, apex: str | None, *, deadline: Deadline) -> Zone:
        """The zone of this provider that holds `name`.

        `apex` is the zone cut that the authoritative servers name (from SOA), None if they could not be asked. MUST
        prefer the longest zone, and MUST NOT change anything. Raises `ZoneNotFound`, `DnsCredentialsError`,
        `DnsUnreachable`.
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


class DnsJournal(Protocol):
    """The write-ahead record of TXT values: durable before the call that it announces."""

    def intend(self, entry: str, zone: Zone, values: Sequence[TxtValue]) -> None:
        """The values are about to be written through the config's DNS entry `entry` (its zone)."""
        ...

    def placed(self, entry: str, placements: Sequence[Placement]) -> None:
        """They are there; `created` says which are ours."""
        ...

    def released(self, entry: str, zone: Zone, values: Sequence[tuple[str, str]]) -> None:
        """The (name, value) pairs are gone, or were never ours."""
        ...


# --- stores ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoreCapabilities:
    """What a store can promise.

    `holds_pending`: `stage` keeps a key durably before a certificate exists. `returns_key`: `read_bundle` works, so
    that another store can be served from this one. `max_bytes` bounds one bundle, None for no bound.
    """

    holds_pending: bool
    returns_key: bool
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing is stored under the target."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """Something is there and it is not a certificate of ours that can be judged. It is replaced only by a good one."""

    reason: str


@dataclass(frozen=True, slots=True)
class Present:
    """A certificate is stored. PEM; `chain` may be empty. `metadata` is None if it was lost or written by others.

    `lacks` names what the config asks for and is not there although key and certificate are (`bundle.p12 missing`):
    publishing again what `read_bundle` gives repairs that without a new order.
    """

    certificate: bytes
    chain: bytes
    metadata: Metadata | None
    version: str | None
    lacks: str | None = None


StoreState = Absent | Unusable | Present


@runtime_checkable
class CertificateStore(Protocol):
    """One target of one certificate: a directory, a secret, an ARN."""

    @property
    def provider(self) -> str: ...

    @property
    def target(self) -> str:
        """What the result document shows: `certs/preview`. Never a credential."""
        ...

    @property
    def capabilities(self) -> StoreCapabilities: ...

    def read(self, *, deadline: Deadline) -> StoreState:
        """What is there, without reading the private key's bytes. Raises `StoreReadError` if that cannot be known."""
        ...

    def probe(self, *, deadline: Deadline) -> None:
        """Prove, leaving nothing behind, that a bundle can be written now. Raises `StoreNotWritable`."""
        ...

    def stage(self, pending: PendingOrder, *, deadline: Deadline) -> None:
        """Keep an order under way durably (on disk: fsynced) and invisible to readers. Replaces an earlier one.

        Called only if `capabilities.holds_pending`. Raises `DeliveryError`.
        """
        ...

    def staged(self, *, deadline: Deadline) -> PendingOrder | None:
        """What `stage` kept; None if nothing or unreadable."""
        ...

    def unstage(self, *, deadline: Deadline) -> None:
        """Forget what `stage` kept; nothing there is success."""
        ...

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        """Key and chain, to serve another store. None if the store does not give keys back."""
        ...

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """Replace what is there by this bundle, as one, then read it back; return the new version, if it has one.

        On any failure the old bundle MUST still serve whole. Raises `DeliveryError`.
        """
        ...

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        """Replace the metadata only. Failing is not worth failing a run for; raises `DeliveryError`."""
        ...


class ProviderModule(Protocol):
    """How adapters are made: `settings` is the validated config section, a model of the provider's `config.py`."""

    def __call__(self, settings: object, context: ProviderContext) -> object: ...


# --- account keys ------------------------------------------------------------------------------------------------


class Signer(Protocol):
    """An account key that can sign, wherever it lives."""

    @property
    def alg(self) -> str:
        """JWS algorithm: ES256, ES384, RS256."""
        ...

    @property
    def jwk(self) -> Mapping[str, str]:
        """The public key as a JWK with exactly the members of RFC 7638 section 3.2."""
        ...

    def sign(self, data: bytes) -> bytes:
        """A JWS signature over `data`: raw r||s for EC (RFC 7518 section 3.4)."""
        ...
