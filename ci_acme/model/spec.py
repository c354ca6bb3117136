"""What is asked for: one certificate of the config with everything resolved."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta

from ci_acme.model.material import KeyType


@dataclass(frozen=True, slots=True)
class RenewPolicy:
    """When to renew: by ARI with a fallback (`auto`), a duration before the end, or a fraction of the life left."""

    auto: bool = True
    before: timedelta | None = None
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class CertificateSpec:
    """One certificate as it shall be. `names` are sorted, unique A-labels; `directory` is the CA's directory URL."""

    name: str
    names: tuple[str, ...]
    authority: str
    directory: str
    profile: str | None
    key: KeyType
    owner: str | None
    renew: RenewPolicy

    def digest(self) -> str:
        """Hex SHA-256 over what makes two requests the same request: names, CA, profile and key type."""
        identity = {
            "names": sorted(self.names),
            "directory": self.directory,
            "profile": self.profile,
            "key": self.key.value,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
