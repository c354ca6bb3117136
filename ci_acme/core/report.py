"""The result document (`ci-acme/result/1`) and the values it is made of. No host syntax, no secret."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from ci_acme.core.budget import OrderKind
from ci_acme.dataclass import dataclass, field
from ci_acme.errors import CiAcmeError, worst_exit_status
from ci_acme.model.material import CertificateFacts
from ci_acme.model.records import format_time

RESULT_SCHEMA: Final = "ci-acme/result/1"


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """What happened at one store. `action` is written, delivered, kept, removed, absent, failed or would-write."""

    provider: str
    target: str
    action: str
    version: str | None = None
    error: CiAcmeError | None = None

    def as_dict(self) -> dict[str, Any]:
        """The entry of `stores`."""
        document: dict[str, Any] = {
            "provider": self.provider,
            "target": self.target,
            "version": self.version,
            "action": self.action,
        }
        if self.error is not None:
            document["error"] = self.error.as_dict()
        return document


@dataclass(slots=True)
class Outcome:
    """One certificate's result. Unknown facts stay None; `error` decides the exit status.

    `propagation` is how it was known that challenge records were there. `kind` is what the order is, or would be, to
    the CA; `revocation` what `retire --revoke` came to.
    """

    name: str
    names: tuple[str, ...]
    authority: str
    key: str
    action: str = "failed"
    reason: str = ""
    profile: str | None = None
    owner: str | None = None
    serial: str | None = None
    sha256: str | None = None
    spki_sha256: str | None = None
    tbs_sha256: str | None = None
    issuer: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    renew_after: datetime | None = None
    order: str | None = None
    stores: list[StoreOutcome] = field(default_factory=list)
    acme_requests: int = 0
    dns_changes: int = 0
    propagation: str | None = None
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("total", "dns", "acme", "stores"), 0.0))
    warnings: list[str] = field(default_factory=list)
    cost: dict[str, Any] | None = None
    kind: OrderKind | None = None
    revocation: dict[str, Any] | None = None
    error: CiAcmeError | None = None

    @property
    def changed(self) -> bool:
        """Whether a store has something new, or less."""
        return any(store.action in {"written", "delivered", "removed"} for store in self.stores)

    def take(self, facts: CertificateFacts) -> None:
        """Fill in serial, digests, issuer and dates."""
        self.serial = facts.serial
        self.sha256 = facts.sha256
        self.spki_sha256 = facts.spki_sha256
        self.tbs_sha256 = facts.tbs_sha256
        self.issuer = facts.issuer
        self.not_before = facts.not_before
        self.not_after = facts.not_after

    def as_dict(self) -> dict[str, Any]:
        """The entry of `certificates`."""
        document: dict[str, Any] = {
            "name": self.name,
            "action": self.action,
            "reason": self.reason,
            "names": list(self.names),
            "authority": self.authority,
            "profile": self.profile,
            "key": self.key,
            "owner": self.owner,
            "serial": self.serial,
            "sha256": self.sha256,
            "spki_sha256": self.spki_sha256,
            "issuer": self.issuer,
            "not_before": _time(self.not_before),
            "not_after": _time(self.not_after),
            "renew_after": _time(self.renew_after),
            "order": self.order,
            "stores": [store.as_dict() for store in self.stores],
            "requests": {"acme": self.acme_requests, "dns_changes": self.dns_changes},
            "seconds": {key: round(value, 3) for key, value in self.seconds.items()},
            "warnings": self.warnings,
            "error": self.error.as_dict() if self.error else None,
        }
        if self.propagation is not None:
            document["dns"] = {"propagation": self.propagation}
        if self.revocation is not None:
            document["revocation"] = self.revocation
        if self.cost is not None:
            document["cost"] = self.cost
        return document


@dataclass(slots=True)
class Result:
    """A whole run."""

    command: str
    run_id: str
    ci: str | None
    started: datetime
    seconds: float
    certificates: list[Outcome]
    error: CiAcmeError | None = None
    suggestions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """By the contract's precedence over all certificates."""
        statuses = [outcome.error.exit_status for outcome in self.certificates if outcome.error]
        return worst_exit_status(statuses + ([self.error.exit_status] if self.error else []))

    def as_dict(self) -> dict[str, Any]:
        """The document that `--output json` prints."""
        document: dict[str, Any] = {
            "schema": RESULT_SCHEMA,
            "command": self.command,
            "exit_code": self.exit_status,
            "changed": any(outcome.changed for outcome in self.certificates),
            "run": {
                "id": self.run_id,
                "ci": self.ci,
                "started": format_time(self.started),
                "seconds": round(self.seconds, 3),
            },
            "certificates": [outcome.as_dict() for outcome in self.certificates],
            "error": self.error.as_dict() if self.error else None,
        }
        if self.suggestions:
            document["suggestions"] = self.suggestions
        return document


def _time(value: datetime | None) -> str | None:
    return None if value is None else format_time(value)
