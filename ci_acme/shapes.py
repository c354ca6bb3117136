"""The shapes in which stores hold a certificate: PEM parts, one JSON document, PKCS#12, single-line base64.

One mechanism for all stores. A shape is a table of fields, each with the part of the bundle that it holds; a store that
holds several values writes the fields, one that holds a single value writes the only field, or a JSON document of all.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from ci_acme.model.material import Bundle, KeyType
from ci_acme.model.secret import Secret

Part = Literal["key", "certificate", "chain", "fullchain", "combined", "pkcs12", "truststore"]
"""`combined` is the full chain and then the key in one PEM text; `truststore` is a PKCS#12 of the chain alone."""

ShapeName = Literal[
    "json", "pem", "pkcs12", "kubernetes", "nginx", "haproxy", "java", "aws-load-balancer", "application-gateway"
]

SHAPES: Final[Mapping[str, Mapping[str, Part]]] = {
    "json": {"private_key": "key", "certificate": "certificate", "chain": "chain", "fullchain": "fullchain"},
    "pem": {"pem": "combined"},
    "pkcs12": {"pkcs12": "pkcs12"},
    "kubernetes": {"tls.crt": "fullchain", "tls.key": "key"},
    "nginx": {"fullchain.pem": "fullchain", "privkey.pem": "key"},
    "haproxy": {"haproxy.pem": "combined"},
    "java": {"keystore.p12": "pkcs12", "truststore.p12": "truststore"},
    "aws-load-balancer": {"Certificate": "certificate", "PrivateKey": "key", "CertificateChain": "chain"},
    "application-gateway": {"pfx": "pkcs12"},
}
"""What well-known consumers read, by name."""

BINARY: Final[frozenset[str]] = frozenset({"pkcs12", "truststore"})
PRIVATE: Final[frozenset[str]] = frozenset({"key", "combined", "pkcs12"})
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----[ \t]*\r?\n?", re.DOTALL)
_PEM_SIZE: Final[Mapping[KeyType, int]] = {
    KeyType.EC_P256: 241,
    KeyType.EC_P384: 306,
    KeyType.RSA_2048: 1708,
    KeyType.RSA_3072: 2488,
    KeyType.RSA_4096: 3276,
}
"""Bytes of a PKCS#8 key in PEM, at most."""
_CERTIFICATE_SIZE: Final = 2_300
_NAME_SIZE: Final = 24


@dataclass(frozen=True, slots=True)
class Shape:
    """Fields and their parts. `base64` makes every field a single line; a document has binary parts so anyway."""

    fields: Mapping[str, Part]
    base64: bool = False

    @property
    def single(self) -> bool:
        """Whether one value can hold it without being a document."""
        return len(self.fields) == 1

    @property
    def holds_key(self) -> bool:
        """Whether the key is in it."""
        return any(part in PRIVATE for part in self.fields.values())


def render(bundle: Bundle, shape: Shape, *, name: str, password: Secret | None = None) -> dict[str, bytes]:
    """The bytes of every field; `name` and `password` are for PKCS#12. Raises `ValueError` if that cannot be made."""
    made: dict[str, bytes] = {}
    for field, part in shape.fields.items():
        data = _part(bundle, part, name, password)
        made[field] = base64.b64encode(data) if shape.base64 else data
    return made


def as_one(fields: Mapping[str, bytes], shape: Shape) -> bytes:
    """One value for a store that holds one: the only field, or a JSON document with base64 where a part is binary."""
    if shape.single:
        return next(iter(fields.values()))
    document = {field: _text(data, shape, shape.fields[field]) for field, data in fields.items()}
    return json.dumps(document, separators=(",", ":")).encode()


def fields_of(value: bytes, shape: Shape) -> dict[str, bytes]:
    """The inverse of `as_one`. Raises `ValueError` if it is something else."""
    if shape.single:
        return {next(iter(shape.fields)): value}
    document: Any = json.loads(value)
    if not isinstance(document, Mapping):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - a wrong content, not a wrong argument
    found: dict[str, bytes] = {}
    for field, part in shape.fields.items():
        text = document.get(field)
        if not isinstance(text, str):
            raise ValueError(f"lacks the field {field}")  # noqa: TRY004 - a wrong content, not a wrong argument
        binary = part in BINARY and not shape.base64
        found[field] = _decode(text.encode()) if binary else text.encode()
    return found


def load(fields: Mapping[str, bytes], shape: Shape, password: Secret | None = None) -> Bundle | None:
    """Key and chain out of rendered fields; None if the shape does not hold all of that. Raises `ValueError`."""
    key: bytes | None = None
    certificates: list[bytes] = []
    for field, part in shape.fields.items():
        data = fields[field]
        if shape.base64:
            data = _decode(data)
        if part == "pkcs12":
            found = _open_pkcs12(data, password)
            key, certificates = found.key.reveal(), [found.certificate, *pem_blocks(found.chain, "CERTIFICATE")]
        elif part != "truststore":
            key = next(iter(_keys(data)), key)
            if part in {"certificate", "fullchain", "combined"}:
                certificates = _longer(certificates, list(pem_blocks(data, "CERTIFICATE")))
    if "chain" in shape.fields.values() and len(certificates) == 1:
        field = next(field for field, part in shape.fields.items() if part == "chain")
        data = _decode(fields[field]) if shape.base64 else fields[field]
        certificates += pem_blocks(data, "CERTIFICATE")
    if key is None or not certificates:
        return None
    return Bundle(Secret(key), certificates[0], b"".join(certificates[1:]))


def public_part(fields: Mapping[str, bytes], shape: Shape) -> tuple[bytes, bytes] | None:
    """The leaf and the rest of the chain, PEM, of fields that hold them."""
    bundle_like = [
        _decode(fields[field]) if shape.base64 else fields[field]
        for field, part in shape.fields.items()
        if part in {"fullchain", "combined", "certificate", "chain"}
    ]
    found: list[bytes] = []
    for data in bundle_like:
        found += [block for block in pem_blocks(data, "CERTIFICATE") if block not in found]
    return (found[0], b"".join(found[1:])) if found else None


def pem_blocks(data: bytes, label: str) -> Iterable[bytes]:
    """Every PEM block of a label, each ending with a line break."""
    for match in _PEM.finditer(data):
        if match[1].decode() == label:
            yield match[0].rstrip() + b"\n"


def estimate(shape: Shape, key: KeyType, names: int) -> int:
    """About how many bytes a bundle of this key type with so many names and two intermediates will take as one value.

    Rather too many than too few: an order is not spent on what will not fit.
    """
    leaf = _CERTIFICATE_SIZE + names * _NAME_SIZE + (_PEM_SIZE[key] // 2)
    chain = 2 * _CERTIFICATE_SIZE
    sizes: dict[str, int] = {
        "key": _PEM_SIZE[key],
        "certificate": leaf,
        "chain": chain,
        "fullchain": leaf + chain,
        "combined": leaf + chain + _PEM_SIZE[key],
        "pkcs12": int((leaf + chain + _PEM_SIZE[key]) * 0.8) + 400,
        "truststore": chain,
    }
    total = 0
    for part in shape.fields.values():
        encoded = shape.base64 or (part in BINARY and not shape.single)
        total += int(sizes[part] * 4 / 3) + 4 if encoded else sizes[part]
    return total + (0 if shape.single else sum(len(field) + 6 for field in shape.fields) + total // 50)


# --- parts -------------------------------------------------------------------------------------------------------


def _part(bundle: Bundle, part: Part, name: str, password: Secret | None) -> bytes:
    if part == "key":
        return bundle.key.reveal()
    if part in {"fullchain", "combined"}:
        return bundle.fullchain + (bundle.key.reveal() if part == "combined" else b"")
    if part in {"certificate", "chain"}:
        return bundle.certificate if part == "certificate" else bundle.chain
    from ci_acme import pkcs12  # cryptography

    return pkcs12.make(bundle, name, password) if part == "pkcs12" else pkcs12.make_truststore(bundle, password)


def _open_pkcs12(data: bytes, password: Secret | None) -> Bundle:
    from ci_acme import pkcs12

    return pkcs12.load(data, password)


def _keys(data: bytes) -> Iterable[bytes]:
    for label in ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"):
        yield from pem_blocks(data, label)


def _longer(one: list[bytes], other: list[bytes]) -> list[bytes]:
    return other if len(other) > len(one) else one


def _text(data: bytes, shape: Shape, part: Part) -> str:
    if part in BINARY and not shape.base64:
        return base64.b64encode(data).decode("ascii")
    return data.decode("ascii")


def _decode(data: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        raise ValueError("is not base64") from None


PARTS: Final[tuple[str, ...]] = get_args(Part)
