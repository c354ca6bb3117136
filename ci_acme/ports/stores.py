"""Certificate stores."""

from __future__ import annotations

from enum import Enum
from typing import Protocol, runtime_checkable

from ci_acme.dataclass import dataclass
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata, PendingOrder
from ci_acme.ports.time import Deadline


@dataclass(frozen=True, slots=True)
class StoreCapabilities:
    """What a store can promise.

    `holds_pending`: `stage` keeps a key durably before a certificate exists. `returns_key`: `read_bundle` works, so
    that another store can be served from this one. `max_bytes` bounds one bundle, None for no bound: a bundle of the
    certificate's key type that will not fit is refused by `probe`.
    """

    holds_pending: bool
    returns_key: bool
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing is stored under the target. `tombstone` says that it was deleted and the platform still keeps it
    (`deleted, recoverable until 2026-12-01`): `publish` revives it.
    """

    tombstone: str | None = None


@dataclass(frozen=True, slots=True)
class Unusable:
    """Something is there and it is not a certificate of ours that can be judged. It is replaced only by a good one."""

    reason: str


@dataclass(frozen=True, slots=True)
class Present:
    """A certificate is stored. `metadata` is None if it was lost or written by others.

    `certificate` and `chain` are PEM, `chain` may be empty; `certificate` is None where it can be read only together
    with the key: then `metadata` is there and of it.
    `lacks` names what the config asks for and is not there although key and certificate are (`bundle.p12 missing`):
    publishing again what `read_bundle` gives repairs that without a new order.
    """

    certificate: bytes | None
    chain: bytes
    metadata: Metadata | None
    version: str | None
    lacks: str | None = None


StoreState = Absent | Unusable | Present


class Retired(Enum):
    """What `retire` found."""

    REMOVED = "removed"
    """It was there and is gone, or is a tombstone by now."""
    ABSENT = "absent"
    """There was nothing of ours."""


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
        """What is there, without reading the private key's bytes, with the right to read metadata alone if the platform
        has one. Raises `StoreReadError` if that cannot be known.
        """
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

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Remove the certificate, its key and what is staged, as the platform deletes; nothing there is success.

        With `purge` the platform's recovery period is skipped where it can be. MUST NOT remove what is not ours (no
        metadata of ci-acme): that raises `DeliveryError`, as does a failure.
        """
        ...
