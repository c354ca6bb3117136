"""The alerts of `monitor`, as values, and the document that holds them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ci_acme.core.inventory import Row, show
from ci_acme.dataclass import dataclass, field
from ci_acme.model.records import format_time

MONITOR_SCHEMA: Final = "ci-acme/monitor/1"

KINDS: Final = ("expiry", "renewal-failed", "spike", "drift", "unknown-issuance", "endpoint", "source")
SEVERITIES: Final = ("critical", "warning", "notice")
"""A notice is said and does not fire: the exit status stays 0."""

CODES: Final[Mapping[str, tuple[str, str]]] = {
    "expiry.expired": ("expiry", "it has ended"),
    "expiry.soon": ("expiry", "little of its life is left, and it was not renewed"),
    "expiry.overdue": ("expiry", "it is due for longer than `overdue`, and was not renewed"),
    "renewal.failed": ("renewal-failed", "the last orders failed or were refused; a single failure is a notice"),
    "renewal.undelivered": ("renewal-failed", "a new certificate did not reach a store"),
    "spike.repeated": ("spike", "the same names were ordered again and again within 24 hours"),
    "spike.failures": ("spike", "orders of a name fail again and again within an hour"),
    "spike.unusual": ("spike", "many more new certificates than at the same time of earlier days"),
    "drift.missing": ("drift", "a store has no certificate; critical if none has"),
    "drift.unusable": ("drift", "a store holds something that is no certificate with its key"),
    "drift.other": ("drift", "a store holds another certificate than the other stores"),
    "drift.older": ("drift", "the stores hold an older certificate than the records in state know"),
    "drift.names": ("drift", "the certificate is for other names than the config says"),
    "drift.authority": ("drift", "the certificate is from a CA that the config does not have for it"),
    "drift.profile": ("drift", "the certificate has another profile than the config says"),
    "drift.key": ("drift", "the certificate's key is of another type than the config says"),
    "drift.key_age": ("drift", "the key is older than `key_age`"),
    "drift.foreign": ("drift", "the certificate was not put there by ci-acme"),
    "drift.revoked": ("drift", "the certificate was revoked and is still there"),
    "drift.incomplete": ("drift", "something beside a good certificate is missing in the store"),
    "issuance.unknown": ("unknown-issuance", "a certificate for our names is in the CT logs that no run asked for"),
    "issuance.same_key": ("unknown-issuance", "another certificate for a key of ours is in the CT logs"),
    "endpoint.other": ("endpoint", "a server serves another certificate than the stores hold"),
    "endpoint.expired": ("endpoint", "a server serves a certificate that has ended"),
    "endpoint.name": ("endpoint", "no certificate of the config is for the name of the server"),
    "source.store": ("source", "a store could not be read"),
    "source.state": ("source", "the records in state could not be read"),
    "source.empty": ("source", "there are no records in state, so that failures and spikes are not seen (a notice)"),
    "source.ct": ("source", "the API of the CT logs could not be asked"),
    "source.endpoint": ("source", "a server could not be reached"),
}
"""Code: its kind, and what it says. Codes are part of the contract with users and are never renamed."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody should look at. `subject` is what it is about: a store, a name, a domain, a server.

    `since` is when it began, as far as that can be known; `details` are facts for machines.
    """

    code: str
    severity: str
    subject: str
    message: str
    fix: str
    certificate: str | None = None
    owner: str | None = None
    since: datetime | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return CODES[self.code][0]

    @property
    def fires(self) -> bool:
        """Whether it changes the exit status."""
        return self.severity != "notice"

    @property
    def fingerprint(self) -> str:
        """The same for the same alert in every run, so that whoever forwards alerts can tell old ones from new ones."""
        identity = "\0".join((self.code, self.certificate or "", self.subject))
        return hashlib.sha256(identity.encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """The entry of `alerts`."""
        return {
            "alert": self.kind,
            "code": self.code,
            "severity": self.severity,
            "certificate": self.certificate,
            "subject": self.subject,
            "owner": self.owner,
            "message": self.message,
            "fix": self.fix,
            "since": show(self.since),
            "details": dict(self.details),
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True, slots=True)
class Looked:
    """How much of a source was looked at; None where it was not asked, because the config does not want it."""

    certificates: int = 0
    stores: int = 0
    records: int | None = None
    ct: int | None = None
    endpoints: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The entry `looked_at`."""
        return {
            "certificates": self.certificates,
            "stores": self.stores,
            "records": self.records,
            "ct": self.ct,
            "endpoints": self.endpoints,
        }


@dataclass(frozen=True, slots=True)
class Served:
    """What a server served. `certificate` is the one of the config that it was compared with."""

    address: str
    certificate: str | None
    matches: bool
    serial: str | None = None
    not_after: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """The entry of `endpoints`."""
        return {
            "address": self.address,
            "certificate": self.certificate,
            "matches": self.matches,
            "serial": self.serial,
            "not_after": show(self.not_after),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All that a monitor found, the worst first. `failing` counts the failed orders in a row, by certificate."""

    at: datetime
    alerts: tuple[Alert, ...]
    rows: tuple[Row, ...]
    looked: Looked
    endpoints: tuple[Served, ...] = ()
    failing: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def firing(self) -> int:
        """How many alerts fire."""
        return sum(alert.fires for alert in self.alerts)

    def as_dict(self, exit_code: int) -> dict[str, Any]:
        """The document of `monitor`."""
        return {
            "schema": MONITOR_SCHEMA,
            "command": "monitor",
            "exit_code": exit_code,
            "changed": False,
            "generated": format_time(self.at),
            "firing": self.firing,
            "alerts": [alert.as_dict() for alert in self.alerts],
            "looked_at": self.looked.as_dict(),
            "certificates": [row.as_dict() for row in self.rows],
            "endpoints": [one.as_dict() for one in self.endpoints],
        }


def ordered(alerts: Iterable[Alert], ignore: Sequence[str] = ()) -> tuple[Alert, ...]:
    """The worst first, then by kind and certificate; each once; without the kinds and codes that are not wanted."""
    wanted = {a.fingerprint: a for a in alerts if a.kind not in ignore and a.code not in ignore}
    return tuple(
        sorted(
            wanted.values(),
            key=lambda a: (SEVERITIES.index(a.severity), KINDS.index(a.kind), a.certificate or "", a.code, a.subject),
        )
    )
