"""CSR checks, issuance, download, revocation (RFC 8555 sections 7.4 and 7.6) and renewalInfo (RFC 9773)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from ci_acme.sandbox.core import Core, SignedRequest, json_reply, rfc3339
from ci_acme.sandbox.flaws import flawed
from ci_acme.sandbox.http import Reply
from ci_acme.sandbox.issue import SubjectKey, pem, sign_leaf
from ci_acme.sandbox.jose import PublicKey, unb64url
from ci_acme.sandbox.problems import Problem
from ci_acme.sandbox.records import IssuedCertificate, Order

_RSA_SIZES: Final = (2048, 3072, 4096)
_REASONS: Final = (0, 1, 3, 4, 5, 9)
_SHORT_LIFE: Final = timedelta(days=10)


def parse_csr(core: Core, der: bytes, names: tuple[str, ...]) -> SubjectKey:
    """The key that a CSR wants certified. Raises `Problem` (``badCSR``) unless it asks for exactly `names`."""
    try:
        csr = x509.load_der_x509_csr(der)
        asked = _csr_names(csr)
        signed = csr.is_signature_valid
        key = csr.public_key()
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise Problem("badCSR", f"the CSR cannot be read: {error}") from None
    if not signed:
        raise Problem("badCSR", "the CSR's signature does not verify")
    if asked != set(names):
        raise Problem("badCSR", f"the CSR asks for {sorted(asked)} and the order is for {sorted(names)}")
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in _RSA_SIZES:
            raise Problem("badCSR", f"RSA keys of {key.key_size} bits are not certified")
    elif not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
        raise Problem("badCSR", "the key is neither RSA nor EC P-256 or P-384")
    if any(_spki(account.jwk.key) == _spki(key) for account in core.records.accounts.values()):
        raise Problem("badCSR", "the key is an account key (RFC 8555 section 11.1)")
    return key


def issue(core: Core, order: Order, key: SubjectKey) -> IssuedCertificate:
    """Sign a leaf for the order and keep it, with its flaw if there shall be one."""
    start = (order.not_before or core.now()).replace(microsecond=0)
    end = order.not_after or start + core.validity[order.profile] - timedelta(seconds=1)
    signer = core.hierarchy.intermediates[0]
    flaw = core.faults.flaw
    if flaw is None:
        leaf = sign_leaf(signer, order.names, key, start, end)
        chains = [pem(leaf, intermediate.certificate) for intermediate in core.hierarchy.intermediates]
    else:
        leaf, chain = flawed(flaw, signer, order.names, key, (start, end))
        chains = [chain]
    issued = IssuedCertificate(core.records.new_url("certificate"), order.account, leaf, order.names, chains)
    core.records.certificates[issued.url] = issued
    return issued


def certificate(core: Core, request: SignedRequest, url: str) -> Reply:
    """The default chain, or the alternate under ``/1``."""
    stem, _, index = url.removeprefix(core.url("certificate/")).partition("/")
    issued = core.records.certificates.get(core.url(f"certificate/{stem}"))
    if issued is None or index not in [""] + [str(number) for number in range(1, len(issued.chains))]:
        raise Problem("malformed", "there is no such certificate", status=404)
    request.require_owner(issued.account)
    request.require_read()
    links = [f'<{issued.url}/{number}>;rel="alternate"' for number in range(1, len(issued.chains))]
    body = issued.chains[int(index or 0)].encode("ascii")
    return Reply(200, body, {"Content-Type": "application/pem-certificate-chain"}, [] if index else links)


def revoke(core: Core, request: SignedRequest) -> Reply:
    """By the account that ordered, one that holds authorizations for all names, or the certificate's own key."""
    document = request.document()
    issued = _find(core, unb64url(document.get("certificate")))
    if not _may_revoke(core, request, issued):
        raise Problem("unauthorized", "this key may not revoke the certificate")
    reason = document.get("reason", 0)
    if reason not in _REASONS or isinstance(reason, bool):
        raise Problem("badRevocationReason", f"reason {reason!r} is not taken here; {_REASONS} are")
    if issued.revoked is not None:
        raise Problem("alreadyRevoked", "the certificate was revoked before")
    issued.revoked = core.now()
    return Reply(200)


def renewal_info(core: Core, identifier: str) -> Reply:
    """A window at two thirds of the life, half of it under ten days, in the past once revoked."""
    issued = core.records.certificate_by_ari_id(identifier)
    start, end = core.faults.renewal_window or _window(core.now(), issued)
    document = {
        "suggestedWindow": {"start": rfc3339(start), "end": rfc3339(end)},
        "explanationURL": core.faults.renewal_explanation,
    }
    seconds = core.faults.renewal_retry_after
    return json_reply(200, document, {} if seconds is None else {"Retry-After": str(seconds)})


def _window(now: datetime, issued: IssuedCertificate) -> tuple[datetime, datetime]:
    if issued.revoked is not None:
        return now - timedelta(minutes=60), now - timedelta(minutes=30)
    start = issued.leaf.not_valid_before_utc
    life = issued.leaf.not_valid_after_utc - start
    centre = start + (life / 2 if life < _SHORT_LIFE else life * 2 / 3)
    half_width = max(life / 100, timedelta(seconds=1))
    return centre - half_width, centre + half_width


def _csr_names(csr: x509.CertificateSigningRequest) -> set[str]:
    """The DNS names in subject and SAN, lower case. Raises `ValueError` for names of other kinds."""
    names = {str(attribute.value).lower() for attribute in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
    try:
        san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return names
    if any(not isinstance(name, x509.DNSName) for name in san):
        raise ValueError("the SAN holds something that is no DNS name")
    return names | {name.lower() for name in san.get_values_for_type(x509.DNSName)}


def _find(core: Core, der: bytes) -> IssuedCertificate:
    for issued in core.records.certificates.values():
        if issued.leaf.public_bytes(Encoding.DER) == der:
            return issued
    raise Problem("malformed", "the certificate was not issued here", status=404)


def _may_revoke(core: Core, request: SignedRequest, issued: IssuedCertificate) -> bool:
    if request.account is None:
        return _spki(request.jwk.key) == _spki(issued.leaf.public_key())
    if request.account is issued.account:
        return True
    held = {
        f"*.{found.name}" if found.wildcard else found.name
        for found in core.records.authorizations.values()
        if found.account is request.account and found.status(core.now()) == "valid"
    }
    return set(issued.names) <= held


def _spki(key: PublicKey | Any) -> bytes:
    der: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return der
