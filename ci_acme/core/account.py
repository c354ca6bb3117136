"""What the commands `account` and `revoke` answer: `ci-acme/account/1` and `ci-acme/revoke/1`. No secret."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from ci_acme.core.report import StoreOutcome
from ci_acme.dataclass import dataclass, field
from ci_acme.errors import CiAcmeError, worst_exit_status
from ci_acme.model.material import CertificateFacts
from ci_acme.model.records import format_time

ACCOUNT_SCHEMA: Final = "ci-acme/account/1"
REVOKE_SCHEMA: Final = "ci-acme/revoke/1"


@dataclass(frozen=True, slots=True)
class AccountReport:
    """An account after a command. `action` is registered, found, shown, updated, unchanged, rotated or deactivated.

    `contact` holds e-mail addresses; None of `terms_agreed` is "the CA does not say". `previous_thumbprint` is that of
    the key that was in use before `rotate-key`.
    """

    command: str
    action: str
    changed: bool
    authority: str
    directory: str
    url: str | None
    status: str
    contact: tuple[str, ...]
    terms_of_service: str | None
    terms_agreed: bool | None
    external_account: bool
    key: str
    key_type: str
    thumbprint: str
    previous_thumbprint: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The document."""
        key = {"reference": self.key, "type": self.key_type, "thumbprint": self.thumbprint}
        if self.previous_thumbprint is not None:
            key["previous_thumbprint"] = self.previous_thumbprint
        return {
            "schema": ACCOUNT_SCHEMA,
            "command": f"account {self.command}",
            "exit_code": 0,
            "action": self.action,
            "changed": self.changed,
            "authority": self.authority,
            "directory": self.directory,
            "url": self.url,
            "status": self.status,
            "contact": list(self.contact),
            "terms_of_service": self.terms_of_service,
            "terms_agreed": self.terms_agreed,
            "external_account": self.external_account,
            "key": key,
            "error": None,
        }


@dataclass(slots=True)
class Revocation:
    """What became of one certificate. `action` is revoked, already-revoked, expired or failed.

    `name` is its name in the config, None for one that is in no store; `by` is `account` or `certificate key`.
    """

    name: str | None
    facts: CertificateFacts
    reason: str | None
    action: str = "failed"
    authority: str | None = None
    by: str | None = None
    revoked_at: datetime | None = None
    stores: list[StoreOutcome] = field(default_factory=list)
    next: str | None = None
    error: CiAcmeError | None = None

    def as_dict(self) -> dict[str, Any]:
        """The entry of `certificates`."""
        return {
            "name": self.name,
            "action": self.action,
            "names": list(self.facts.names),
            "serial": self.facts.serial,
            "sha256": self.facts.sha256,
            "issuer": self.facts.issuer,
            "not_after": format_time(self.facts.not_after),
            "authority": self.authority,
            "by": self.by,
            "reason": self.reason,
            "revoked_at": None if self.revoked_at is None else format_time(self.revoked_at),
            "stores": [store.as_dict() for store in self.stores],
            "next": self.next,
            "error": None if self.error is None else self.error.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class RevokeReport:
    """The whole of a `revoke`."""

    certificates: list[Revocation]

    @property
    def exit_status(self) -> int:
        """By the contract's precedence."""
        return worst_exit_status([one.error.exit_status for one in self.certificates if one.error])

    def as_dict(self) -> dict[str, Any]:
        """The document."""
        return {
            "schema": REVOKE_SCHEMA,
            "command": "revoke",
            "exit_code": self.exit_status,
            "changed": any(one.action == "revoked" for one in self.certificates),
            "certificates": [one.as_dict() for one in self.certificates],
            "error": None,
        }
