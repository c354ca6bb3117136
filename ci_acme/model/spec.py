"""What is asked for: one certificate of the config with everything resolved."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

from ci_acme.dataclass import asdict, dataclass, replace
from ci_acme.model.material import KeyType


@dataclass(frozen=True, slots=True)
class RenewPolicy:
    """When to renew: by ARI with a fallback (`auto`), a duration before the end, or a fraction of the life left."""

    auto: bool = True
    before: timedelta | None = None
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a certificate must be like, beyond names and key, to be stored.

    `eku`: the extended key usages that it must have at least (`serverAuth`, `clientAuth`, or an OID). `chain`: the
    common name or hex SHA-256 of a certificate that its chain must hold above it.
    """

    eku: tuple[str, ...] = ()
    chain: str | None = None
    max_lifetime: timedelta | None = None
    min_lifetime: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A CA that may serve: its name in the config, its directory URL, and the profile that is asked for there."""

    authority: str
    directory: str
    profile: str | None


@dataclass(frozen=True, slots=True)
class CertificateSpec:
    """One certificate as it shall be. `names` are sorted, unique A-labels; `directory` is the CA's directory URL.

    `lifetime` is what the CA is asked for, None for its own choice, and `backdate` how long before the order the
    certificate shall begin. `fallbacks` are the CAs that serve in this order
    when the ones before are down or out of quota.
    """

    name: str
    names: tuple[str, ...]
    authority: str
    directory: str
    profile: str | None
    key: KeyType
    owner: str | None
    renew: RenewPolicy
    lifetime: timedelta | None = None
    backdate: timedelta | None = None
    expect: Expectation = Expectation()
    fallbacks: tuple[Source, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every CA that may serve, in order."""
        return (Source(self.authority, self.directory, self.profile), *self.fallbacks)

    def source_of(self, directory: str) -> Source:
        """Which of the sources has this directory; the first if none does."""
        return next((source for source in self.sources if source.directory == directory), self.sources[0])

    def of(self, source: Source) -> CertificateSpec:
        """The same certificate of another CA, without a fallback."""
        return replace(
            self, authority=source.authority, directory=source.directory, profile=source.profile, fallbacks=()
        )

    def digest(self) -> str:
        """Hex SHA-256 over what makes two requests the same request: names, CA, profile, key type and life.

        What is expected counts, too: a certificate that was not as expected is asked for again once that changes.
        """
        identity: dict[str, Any] = {
            "names": sorted(self.names),
            "directory": self.directory,
            "profile": self.profile,
            "key": self.key.value,
        }
        if self.lifetime is not None:
            identity["lifetime"] = self.lifetime.total_seconds()
        if self.backdate is not None:
            identity["backdate"] = self.backdate.total_seconds()
        if self.expect != Expectation():
            identity["expect"] = asdict(self.expect)
        return hashlib.sha256(
            json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str).encode()
        ).hexdigest()
