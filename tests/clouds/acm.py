"""Imports of AWS Certificate Manager on loopback, as its API reference and user guide have them.

An import needs a valid certificate with its key and its chain. An import to an ARN keeps the key type and takes no key
usage away (but client authentication), and no tags. A certificate that is used cannot be deleted. Every import to a new
ARN is counted, deleted or not. A deletion is not seen at once.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.clouds.awsjson import ACCOUNT, REGION, AwsJson, Refused
from tests.clouds.iam import Context

MOST_TAGS = 50
MOST_KEY_BYTES = 5_120
PAGE = 2
"""Certificates on a page: few, so that every listing has pages."""


@dataclass
class Certificate:
    arn: str
    leaf: bytes
    chain: bytes
    key: bytes
    created: float
    tags: dict[str, str] = field(default_factory=dict)
    users: list[str] = field(default_factory=list)
    kind: str = "IMPORTED"

    @property
    def x509(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.leaf)


class Acm(AwsJson):
    """`now` tells the time: certificates have to be valid then. `lag` is how long a list stays as it was."""

    SERVICE = IAM = "acm"

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__()
        self.now = now
        self.lag = 0.0
        self.certificates: dict[str, Certificate] = {}
        self.imports = 0
        self._shown: tuple[float, list[Certificate]] = (0.0, [])

    def plant(self, leaf: bytes, chain: bytes, key: bytes, **tags: str) -> str:
        """A certificate that somebody else imported."""
        return self._new(leaf, chain, key, dict(tags)).arn

    # --- operations

    def ImportCertificate(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        leaf, chain, key = request["Certificate"], request.get("CertificateChain", b""), request["PrivateKey"]
        certificate = self._judge(leaf, chain, key)
        arn = request.get("CertificateArn")
        if arn is None:
            tags = self._tags(request)
            self.wrote()
            return {"CertificateArn": self._new(leaf, chain, key, tags).arn}
        if "Tags" in request:
            raise Refused("ValidationException", "Tagging is not permitted on re-import.")
        found = self._found(request)
        if found.kind != "IMPORTED":
            raise Refused("ValidationException", "Only imported certificates can be imported again.")
        self._keeps(found.x509, certificate)
        self.wrote()
        found.leaf, found.chain, found.key = leaf, chain, key
        return {"CertificateArn": arn}

    def GetCertificate(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = self._found(request)
        chain = {"CertificateChain": found.chain.decode().strip()} if found.chain else {}
        return {"Certificate": found.leaf.decode().strip(), **chain}

    def DescribeCertificate(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = self._found(request)
        certificate = found.x509
        return {
            "Certificate": {
                "CertificateArn": found.arn,
                "Type": found.kind,
                "KeyAlgorithm": algorithm(certificate),
                "InUseBy": found.users,
                "Status": "ISSUED",
                "NotAfter": certificate.not_valid_after_utc.timestamp(),
            }
        }

    def ListCertificates(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        types = request.get("Includes", {}).get("keyTypes", ["RSA_1024", "RSA_2048"])
        assert request["SortBy"] == "CREATED_AT"
        assert request["SortOrder"] == "DESCENDING"
        shown = [each for each in self._visible() if algorithm(each.x509) in types]
        shown.sort(key=lambda each: each.created, reverse=True)
        start = int(request.get("NextToken", "0"))
        more = {"NextToken": str(start + PAGE)} if len(shown) > start + PAGE else {}
        return {"CertificateSummaryList": [self._summary(each) for each in shown[start : start + PAGE]], **more}

    def ListTagsForCertificate(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        tags = self._found(request).tags
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]} if tags else {}

    def AddTagsToCertificate(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = self._found(request)
        tags = {**found.tags, **self._tags(request)}
        if len(tags) > MOST_TAGS:
            raise Refused("TooManyTagsException", f"{len(tags)} tags, {MOST_TAGS} are the most")
        self.wrote()
        found.tags = tags
        return {}

    def RemoveTagsFromCertificate(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = self._found(request)
        self.wrote()
        for tag in request["Tags"]:
            if tag.get("Value") in {None, found.tags.get(tag["Key"])}:
                found.tags.pop(tag["Key"], None)
        return {}

    def DeleteCertificate(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = self._found(request)
        if found.users:
            raise Refused("ResourceInUseException", f"Certificate {found.arn} in account {ACCOUNT} is in use.")
        self.wrote()
        del self.certificates[found.arn]
        return {}

    # --- inside

    def arn(self, request: dict[str, Any]) -> str:
        if "CertificateArn" in request:
            return str(request["CertificateArn"])
        return f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/*" if "Certificate" in request else "*"

    def context(self, request: dict[str, Any]) -> Context:
        found = self.certificates.get(request.get("CertificateArn", ""))
        there = {f"aws:ResourceTag/{key}": [value] for key, value in (found.tags if found else {}).items()}
        given = {f"aws:RequestTag/{tag['Key']}": [tag.get("Value", "")] for tag in request.get("Tags", ())}
        return {**there, **given}

    def _new(self, leaf: bytes, chain: bytes, key: bytes, tags: dict[str, str]) -> Certificate:
        arn = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/{uuid.uuid4()}"
        self._visible()
        self.imports += 1
        self.certificates[arn] = Certificate(arn, leaf, chain, key, time.time(), tags)
        return self.certificates[arn]

    def _visible(self) -> list[Certificate]:
        at, shown = self._shown
        if time.monotonic() - at >= self.lag:
            self._shown = (time.monotonic(), list(self.certificates.values()))
            return self._shown[1]
        return shown

    def _summary(self, found: Certificate) -> dict[str, Any]:
        return {
            "CertificateArn": found.arn,
            "Type": found.kind,
            "KeyAlgorithm": algorithm(found.x509),
            "InUse": bool(found.users),
            "CreatedAt": found.created,
        }

    def _found(self, request: dict[str, Any]) -> Certificate:
        found = self.certificates.get(request["CertificateArn"])
        if found is None:
            raise Refused("ResourceNotFoundException", f"Could not find certificate {request['CertificateArn']}.")
        return found

    @staticmethod
    def _tags(request: dict[str, Any]) -> dict[str, str]:
        return {tag["Key"]: tag.get("Value", "") for tag in request.get("Tags", ())}

    def _judge(self, leaf: bytes, chain: bytes, key: bytes) -> x509.Certificate:
        if len(key) > MOST_KEY_BYTES:
            raise Refused("ValidationException", "The private key is too long.")
        try:
            (certificate,) = x509.load_pem_x509_certificates(leaf)
            private = load_pem_private_key(key, None)
            links = x509.load_pem_x509_certificates(chain) if chain else []
        except (ValueError, TypeError):
            raise Refused("ValidationException", "The certificate, key or chain is not valid PEM.") from None
        if _public(private) != _public(certificate):
            raise Refused("ValidationException", "The certificate and the private key do not match.")
        try:
            for one, issuer in zip([certificate, *links], links, strict=False):
                one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise Refused("ValidationException", "Could not validate the certificate with the chain.") from None
        if not certificate.not_valid_before_utc <= self.now() <= certificate.not_valid_after_utc:
            raise Refused("ValidationException", "The certificate is not valid at this time.")
        return certificate

    @staticmethod
    def _keeps(old: x509.Certificate, new: x509.Certificate) -> None:
        if algorithm(old) != algorithm(new):
            raise Refused("ValidationException", "The new certificate has another key algorithm than the imported one.")
        if usages(old) - usages(new) - {ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string}:
            raise Refused(
                "ValidationException",
                "New certificate is missing one or more Extended Key Usages supported by the currently imported "
                "certificate",
            )


def usages(certificate: x509.Certificate) -> set[str]:
    """Its extended key usages."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return set()
    return {usage.dotted_string for usage in found.value}


def algorithm(certificate: x509.Certificate) -> str:
    """As ACM calls it."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA_{key.key_size}"
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return {"secp256r1": "EC_prime256v1", "secp384r1": "EC_secp384r1"}[key.curve.name]


def _public(holder: Any) -> bytes:
    data: bytes = holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return data


def in_2030() -> datetime:
    """When the certificates of `ci_acme.testing.material` are valid."""
    return datetime(2030, 2, 1, tzinfo=timezone.utc)
