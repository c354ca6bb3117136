"""The one table of what can go wrong: class, code, exit status, whose fault, worth retrying.

Every error that a user may see is a `CiAcmeError`. It says what happened (`message`), the exact thing to do next
(`fix`) and machine-readable `details`; none of the three ever holds a secret. Codes and exit statuses are part of the
contract with users (`docs/errors.md` is generated from this table) and are never renumbered.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar, Final

from ci_acme.model.secret import without_secrets

__all__ = [
    "CODES",
    "PRECEDENCE",
    "AccountError",
    "CaError",
    "CaaForbidden",
    "CaaUnanswered",
    "CaProtocolError",
    "CaTimeout",
    "CaUnreachable",
    "CertificateRejected",
    "ChallengeFailed",
    "CiAcmeError",
    "ClockError",
    "ConfigError",
    "DeliveryError",
    "DnsCredentialsError",
    "DnsDelegationError",
    "DnsError",
    "DnsPropagationTimeout",
    "DnsRecordMissing",
    "DnsRefused",
    "DnsUnreachable",
    "DnssecBroken",
    "Fault",
    "Finding",
    "InternalError",
    "Interrupted",
    "LeaseHeld",
    "LeaseLost",
    "NotAvailable",
    "OrderRefused",
    "PolicyRefused",
    "RateLimited",
    "SecretError",
    "StateBusy",
    "StateError",
    "StateUnavailable",
    "StoreNotWritable",
    "StoreReadError",
    "Terminated",
    "UsageError",
    "ZoneNotFound",
    "worst_exit_status",
]


class Fault(Enum):
    """Who has to act."""

    USER = "user"
    CA = "ca"
    DNS = "dns"
    STORE = "store"
    HOST = "host"
    BUG = "bug"


CODES: Final[dict[str, type[CiAcmeError]]] = {}
"""Every error code and the class that carries it. Filled as the classes below are made; a code can be taken once."""


class CiAcmeError(Exception):
    """Base of every error that is shown to a user.

    Args:
        message: what happened, with the names, hosts and values involved; one sentence. A secret that a server has
            repeated becomes `…`.
        fix: the next thing to do, as an imperative.
        details: JSON-serialisable facts for the result document.
    """

    code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = 1
    fault: ClassVar[Fault] = Fault.BUG
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, fix: str = "", details: dict[str, Any] | None = None) -> None:
        self.message = without_secrets(message)
        self.fix = without_secrets(fix)
        super().__init__(self.message)
        self.details = details or {}

    def __init_subclass__(
        cls,
        *,
        code: str | None = None,
        exit_status: int | None = None,
        fault: Fault | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init_subclass__()
        if exit_status is not None:
            cls.exit_status = exit_status
        if fault is not None:
            cls.fault = fault
        if retryable is not None:
            cls.retryable = retryable
        if code is not None:
            if code in CODES:
                raise TypeError(f"error code {code} is taken by {CODES[code].__name__}")
            cls.code = code
            CODES[code] = cls

    def as_dict(self) -> dict[str, Any]:
        """The `error` object of the result document."""
        return {"code": self.code, "message": self.message, "fix": self.fix, "details": self.details}


class InternalError(CiAcmeError, code="internal", exit_status=1, fault=Fault.BUG):
    """A defect of ours; the only kind that may come with a traceback."""


# 2: nothing was contacted


class UsageError(CiAcmeError, code="usage", exit_status=2, fault=Fault.USER):
    """The command line does not make sense."""


class ConfigError(CiAcmeError, code="config.invalid", exit_status=2, fault=Fault.USER):
    """The configuration is wrong; `details["problems"]` lists every problem with file, line and column."""


class NotAvailable(ConfigError, code="config.unavailable"):
    """A provider or feature that is named is not part of this version, or its extra is not installed."""


class SecretError(ConfigError, code="config.secret"):
    """A secret reference cannot be read. Shows the reference, never what it holds."""


class AccountError(ConfigError, code="config.account"):
    """The ACME account cannot be used as configured: no key, terms not agreed, registration not allowed here."""


class StateError(ConfigError, code="state.unusable", fault=Fault.HOST):
    """What runs remember is damaged, or was written by another program or a newer version."""


class StateUnavailable(StateError, code="state.unavailable", retryable=True):
    """What runs remember cannot be opened, read or written now: a read-only checkout, a full disk, a busy file."""


class StateBusy(StateError, code="state.busy", retryable=True):
    """Another process holds what runs share for too long. Going on alone could order what that process orders."""


class ClockError(ConfigError, code="host.clock", fault=Fault.HOST):
    """This machine's clock is more than an hour off; nothing was ordered."""


class StoreNotWritable(ConfigError, code="store.not_writable", fault=Fault.STORE, retryable=True):
    """No store could take the certificate; found before anything was ordered."""


class StoreReadError(ConfigError, code="store.read", fault=Fault.STORE, retryable=True):
    """No store can be read, so that nothing can be decided; nothing was ordered."""


# 3


class PolicyRefused(CiAcmeError, code="policy.refused", exit_status=3, fault=Fault.USER):
    """Policy says no, or an approval is missing."""


# 4: the DNS challenge could not be solved


class DnsError(CiAcmeError, code="dns.failed", exit_status=4, fault=Fault.DNS):
    """The DNS part of a run failed."""


class ZoneNotFound(DnsError, code="dns.zone", fault=Fault.USER):
    """No configured zone serves a challenge name, or the zone does not exist."""


class DnsDelegationError(DnsError, code="dns.delegation", fault=Fault.USER):
    """A challenge name leads nowhere: CNAMEs that loop or point to nothing, a zone that is not the delegated one."""


class DnsCredentialsError(DnsError, code="dns.credentials", fault=Fault.USER):
    """The DNS server or API does not accept our credentials."""


class DnsRefused(DnsError, code="dns.refused", fault=Fault.USER):
    """Authenticated, but this change is not allowed or not possible."""


class DnsUnreachable(DnsError, code="dns.unreachable", retryable=True):
    """No DNS server answered."""


class DnsPropagationTimeout(DnsError, code="dns.propagation", retryable=True):
    """The record was written and did not appear on every authoritative server in time; no challenge was answered."""


class DnsRecordMissing(DnsError, code="dns.record", fault=Fault.USER):
    """A standing record, which somebody else publishes, is missing or permits something else; the fix is the record."""


class CaaUnanswered(DnsError, code="dns.caa", retryable=True):
    """The zone's name servers fail for CAA records, which CAs take as a refusal; found before anything was ordered."""


class DnssecBroken(DnsError, code="dns.dnssec", fault=Fault.USER):
    """A validating resolver refuses the zone: a CA does too. Found before anything was ordered."""


class ChallengeFailed(DnsError, code="dns.challenge"):
    """The CA looked and did not accept what it saw."""


# 5: the CA


class CaError(CiAcmeError, code="ca.failed", exit_status=5, fault=Fault.CA):
    """The CA refused or could not be reached. `details["problem"]` is its RFC 9457 problem document."""


class CaUnreachable(CaError, code="ca.unreachable", retryable=True):
    """No connection, a TLS failure, or 5xx until the retries ran out."""


class CaTimeout(CaError, code="ca.timeout", retryable=True):
    """The CA did not come to an end within the deadline."""


class CaProtocolError(CaError, code="ca.protocol"):
    """The CA answered something that RFC 8555 does not allow."""


class OrderRefused(CaError, code="ca.order"):
    """The CA refused the order (names, profile, CAA, policy of the CA)."""


class CaaForbidden(OrderRefused, code="ca.caa", fault=Fault.USER):
    """CAA records (RFC 8659, 8657) do not let the CA issue; found before anything was ordered."""


class CertificateRejected(CaError, code="ca.certificate"):
    """The certificate that the CA issued is not the one that was ordered; it was not stored."""


# 6: issued, not delivered everywhere


class DeliveryError(CiAcmeError, code="store.write", exit_status=6, fault=Fault.STORE, retryable=True):
    """A certificate was issued and a store did not take it. Run again: it is delivered without a new order."""


# 7, 8, 9


class LeaseHeld(CiAcmeError, code="lease.held", exit_status=7, fault=Fault.HOST, retryable=True):
    """Another run works on this certificate and did not finish in time."""


class LeaseLost(CiAcmeError, code="lease.lost", exit_status=7, fault=Fault.HOST, retryable=True):
    """Another run took this certificate over while this one was suspended or cut off; this one stored nothing more."""


class RateLimited(CiAcmeError, code="ca.rate_limited", exit_status=8, fault=Fault.CA, retryable=True):
    """The CA's rate limit was hit or would be; `details["retry_at"]` is the UTC time at which it will work."""


class Finding(CiAcmeError, code="check.finding", exit_status=9, fault=Fault.USER):
    """`check` or `monitor` found something."""


class Interrupted(CiAcmeError, code="run.interrupted", exit_status=130, fault=Fault.HOST, retryable=True):
    """SIGINT (Ctrl-C, a cancelled job)."""


class Terminated(Interrupted, code="run.terminated", exit_status=143):
    """SIGTERM."""


PRECEDENCE: Final = (1, 6, 5, 8, 4, 7, 3, 2)
"""Which exit status wins when several certificates fail."""


def worst_exit_status(statuses: list[int]) -> int:
    """The exit status of a run from those of its certificates: 0, an interrupt, else the first of `PRECEDENCE`."""
    failed = [status for status in statuses if status]
    interrupts = [status for status in failed if status >= 128]
    if interrupts:
        return max(interrupts)
    return next((status for status in PRECEDENCE if status in failed), failed[0] if failed else 0)
