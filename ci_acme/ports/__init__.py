"""The Protocols that providers implement, and the small values they exchange with the core.

MUST, SHOULD and MAY are used as in RFC 2119. A provider raises only errors of `ci_acme.errors`; anything else is a
defect. Nothing here does I/O. `ci_acme.testing` has the contract suites that a provider must pass.
"""

from ci_acme.ports.context import IdentitySource, ProviderContext, SecretReader, SecretSource
from ci_acme.ports.dns import (
    Challenge,
    ChallengeSolver,
    Concurrency,
    DnsCapabilities,
    DnsJournal,
    DnsProvider,
    Placement,
    ProvesCredentials,
    StandingChallenge,
    TxtValue,
    Zone,
)
from ci_acme.ports.keys import Signer
from ci_acme.ports.permissions import PermissionRequest, PolicyDocument
from ci_acme.ports.stores import (
    Absent,
    CertificateStore,
    Present,
    Retired,
    StoreCapabilities,
    StoreState,
    Unusable,
)
from ci_acme.ports.time import Clock, Deadline

__all__ = [
    "Absent",
    "CertificateStore",
    "Challenge",
    "ChallengeSolver",
    "Clock",
    "Concurrency",
    "Deadline",
    "DnsCapabilities",
    "DnsJournal",
    "DnsProvider",
    "IdentitySource",
    "PermissionRequest",
    "Placement",
    "PolicyDocument",
    "Present",
    "ProviderContext",
    "ProvesCredentials",
    "Retired",
    "SecretReader",
    "SecretSource",
    "Signer",
    "StandingChallenge",
    "StoreCapabilities",
    "StoreState",
    "TxtValue",
    "Unusable",
    "Zone",
]
