"""Keys, chains, and what is known of a certificate."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from ci_acme.dataclass import dataclass, field
from ci_acme.model.secret import Secret


class KeyType(str, Enum):
    """The key types of certificates, by their names in the config."""

    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says about itself, without any key.

    `serial`, `sha256`, `spki_sha256` are lower-case hex; `names` are sorted A-labels; times are aware UTC.
    `key_type` is None for a key that the product does not make. `ari_id` is the CertID of RFC 9773 section 4.1, None
    without an authority key identifier. `tbs_sha256` is the hash by which CT logs know the certificate (RFC 6962 3.2),
    None where only metadata tell.
    """

    names: tuple[str, ...]
    serial: str
    sha256: str
    spki_sha256: str
    issuer: str
    not_before: datetime
    not_after: datetime
    key_type: KeyType | None
    ari_id: str | None
    tbs_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """A private key with its certificate chain, all PEM. The leaf is alone in `certificate`; `chain` is the rest."""

    key: Secret = field(repr=False)
    certificate: bytes
    chain: bytes

    @property
    def fullchain(self) -> bytes:
        """Leaf first, as servers want it (RFC 8555 section 9.1)."""
        return self.certificate + self.chain
