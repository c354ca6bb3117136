"""Whether the certificate that a CA issued is the one that was ordered; nothing else is stored."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from ci_acme.ca.inspect import describe, readable, split_pem
from ci_acme.ca.keys import PublicKey, certificate_public_key
from ci_acme.ca.problems import clean
from ci_acme.dataclass import dataclass
from ci_acme.errors import CertificateRejected
from ci_acme.model.material import CertificateFacts

CLOCK_SKEW: Final = timedelta(hours=1)
MAX_CHAIN: Final = 10
USAGES: Final = {"1.3.6.1.5.5.7.3.1": "serverAuth", "1.3.6.1.5.5.7.3.2": "clientAuth"}
"""Extended key usages that have a name in the config."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A verified chain: PEM, leaf first and alone in `leaf`."""

    leaf: bytes
    rest: bytes
    facts: CertificateFacts
    common_names: frozenset[str]
    """Subjects and issuers above the leaf, lower-case."""
    digests: frozenset[str] = frozenset()
    """Hex SHA-256 of the certificates above the leaf."""
    usages: frozenset[str] = frozenset()
    """Extended key usages of the leaf, by OID and, where they have one here, by name."""

    def matches(self, preferred: str) -> bool:
        """Whether a certificate above the leaf has this common name, as subject or as issuer, or this SHA-256."""
        wanted = preferred.strip().lower()
        return wanted in self.common_names or wanted.replace(":", "") in self.digests


def verify_chain(pem: bytes, *, key: PublicKey, names: Iterable[str], now: datetime, url: str) -> Chain:
    """The chain, if it is for exactly our key and names, valid now and each certificate signed by the next.

    Raises `CertificateRejected` with what is wrong.
    """
    try:
        with readable():
            blocks = split_pem(pem)
            certificates = [x509.load_pem_x509_certificate(block) for block in blocks[: MAX_CHAIN + 1]]
            facts = describe(blocks[0])
            _check_leaf(certificates[0], key, frozenset(names))
            _check_validity(certificates[0], now)
            _check_links(certificates)
            common_names = _common_names(certificates)
            digests = frozenset(certificate.fingerprint(SHA256()).hex() for certificate in certificates[1:])
            usages = _usages(certificates[0])
    except ValueError as error:
        raise CertificateRejected(
            f"the certificate that the CA issued was not stored: {error}",
            fix="run again; if it happens again, ask the CA's operator",
            details={"certificate": url},
        ) from None
    return Chain(
        leaf=blocks[0],
        rest=b"".join(blocks[1:]),
        facts=facts,
        common_names=common_names,
        digests=digests,
        usages=usages,
    )


def _check_leaf(leaf: x509.Certificate, key: PublicKey, names: frozenset[str]) -> None:
    if certificate_public_key(leaf) != key:
        raise ValueError("it is for another key than ours")
    try:
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError("it has no subject alternative name") from None
    found = frozenset(general.value.lower() if isinstance(general, x509.DNSName) else repr(general) for general in san)
    if found != names:
        missing, extra = sorted(names - found), sorted(found - names)
        raise ValueError(f"its names differ from those ordered (missing: {_some(missing)}; extra: {_some(extra)})")
    if _is_authority(leaf):
        raise ValueError("it is a CA certificate")


def _check_validity(leaf: x509.Certificate, now: datetime) -> None:
    if leaf.not_valid_before_utc > now + CLOCK_SKEW:
        raise ValueError(f"it is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; check this machine's clock")
    if leaf.not_valid_after_utc <= now:
        raise ValueError(f"it expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; check this machine's clock")


def _check_links(certificates: list[x509.Certificate]) -> None:
    if len(certificates) > MAX_CHAIN:
        raise ValueError(f"its chain has more than {MAX_CHAIN} certificates")
    for child, issuer in pairwise(certificates):
        try:
            child.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise ValueError(
                f"in its chain, {_name(child.subject)} is not signed by the next, {_name(issuer.subject)}"
            ) from None
        if not _is_authority(issuer):
            raise ValueError(f"in its chain, {_name(issuer.subject)} is not a CA certificate")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _usages(leaf: x509.Certificate) -> frozenset[str]:
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return frozenset()
    oids = {usage.dotted_string for usage in usages}
    return frozenset(oids | {USAGES[oid] for oid in oids & USAGES.keys()})


def _common_names(certificates: list[x509.Certificate]) -> frozenset[str]:
    names = [certificates[0].issuer]
    for certificate in certificates[1:]:
        names += [certificate.subject, certificate.issuer]
    return frozenset(
        str(attribute.value).lower() for name in names for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME)
    )


def _name(name: x509.Name) -> str:
    return clean(name.rfc4514_string()) or "(no name)"


def _some(names: list[str]) -> str:
    shown = ", ".join(clean(name) for name in names[:5]) or "none"
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
