"""Whether a chain leads to a root that this system trusts: what a browser would say, as far as a pipeline can know."""

from __future__ import annotations

import ssl
from datetime import datetime
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ci_acme.ca.inspect import split_pem
from ci_acme.model.material import Bundle


def distrust(bundle: Bundle, now: datetime) -> str | None:
    """Why the chain is not trusted, in words; None if it is. Roots are those of `SSL_CERT_FILE` or of the system."""
    roots = _roots()
    if not roots:
        return "this system has no trust store (install ca-certificates, or set SSL_CERT_FILE)"
    leaf = x509.load_pem_x509_certificate(bundle.certificate)
    chain = [x509.load_pem_x509_certificate(pem) for pem in split_pem(bundle.chain)] if bundle.chain.strip() else []
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    subject = names.get_values_for_type(x509.DNSName)[0].replace("*", "any", 1)
    verifier = PolicyBuilder().store(Store(roots)).time(now).build_server_verifier(x509.DNSName(subject))
    try:
        verifier.verify(leaf, chain)
    except VerificationError:
        top = (chain[-1] if chain else leaf).issuer.rfc4514_string()
        return f"its chain ends at {top}, which leads to no root that this system trusts"
    return None


@cache
def _roots() -> list[x509.Certificate]:
    paths = ssl.get_default_verify_paths()
    files = [Path(paths.cafile)] if paths.cafile else []
    if not files and paths.capath:
        files = sorted(path for path in Path(paths.capath).iterdir() if path.suffix in {".pem", ".crt", ".0"})
    roots: dict[bytes, x509.Certificate] = {}
    for file in files:
        for root in _read(file):
            roots.setdefault(root.fingerprint(SHA256()), root)
    return list(roots.values())


def _read(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):
        return []  # a root that cannot be read is trusted by nobody
