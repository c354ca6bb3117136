"""The shapes in which stores hold a certificate: PEM parts, one JSON document, PKCS#12, single-line base64.

One mechanism for all stores. A shape is a table of fields, each with the part of the bundle that it holds; a store that
holds several values writes the fields, one that holds a single value writes the only field, or a JSON document of all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

from ci_acme.dataclass import dataclass
from ci_acme.model.keypair import is_key_of
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
_USUAL_LEAF: Final = 1_200
_USUAL_INTERMEDIATE: Final = 1_500
_NAME_SIZE: Final = 48
"""Bytes that a name takes in PEM, where only their number is known: names of 33 characters."""


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

    @property
    def returns_bundle(self) -> bool:
        """Whether key, leaf and chain come back out of it (`load`)."""
        parts = set(self.fields.values())
        return bool(parts & {"combined", "pkcs12"}) or ("key" in parts and self.shows_certificate)

    @property
    def shows_certificate(self) -> bool:
        """Whether leaf and chain can be read without a password (`public_part`)."""
        parts = set(self.fields.values())
        return bool(parts & {"fullchain", "combined"}) or {"certificate", "chain"} <= parts

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that differ where fields, parts or encoding do: what is stored says what it is."""
        text = json.dumps([sorted(self.fields.items()), self.base64])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def is_text(self, part: Part) -> bool:
        """Whether the bytes of a rendered part are ASCII text."""
        return self.base64 or part not in BINARY


def render(bundle: Bundle, shape: Shape, *, name: str, password: Secret | None = None) -> dict[str, bytes]:
    """The bytes of every field; `name` and `password` are for PKCS#12. Raises `ValueError` if that cannot be made."""
    made: dict[str, bytes] = {}
    for field, part in shape.fields.items():
        data = _part(bundle, part, name, password)
        made[field] = base64.b64encode(data) if shape.base64 else data
    return made


def as_texts(fields: Mapping[str, bytes], shape: Shape) -> dict[str, str]:
    """Fields for a store that holds texts: as they are, base64 where they are binary."""
    return {field: _text(data, shape, shape.fields[field]) for field, data in fields.items()}


def of_texts(texts: Mapping[str, Any], shape: Shape) -> dict[str, bytes]:
    """The inverse of `as_texts`; what is not of the shape is left out. Raises `ValueError` if a field is missing."""
    found: dict[str, bytes] = {}
    for field, part in shape.fields.items():
        text = texts.get(field)
        if not isinstance(text, str):
            raise ValueError(f"lacks the field {field}")  # noqa: TRY004 - a wrong content, not a wrong argument
        found[field] = text.encode() if shape.is_text(part) else _decode(text.encode())
    return found


def as_one(fields: Mapping[str, bytes], shape: Shape) -> bytes:
    """One value for a store that holds one: the only field, or a JSON document with base64 where a part is binary."""
    if shape.single:
        return next(iter(fields.values()))
    return json.dumps(as_texts(fields, shape), separators=(",", ":")).encode()


def fields_of(value: bytes, shape: Shape) -> dict[str, bytes]:
    """The inverse of `as_one`. Raises `ValueError` if it is something else."""
    if shape.single:
        return {next(iter(shape.fields)): value}
    document = _json(value)
    if not isinstance(document, Mapping):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - a wrong content, not a wrong argument
    return of_texts(document, shape)


def load(fields: Mapping[str, bytes], shape: Shape, password: Secret | None = None) -> Bundle | None:
    """Key and chain out of rendered fields; None if the shape does not hold all of that. Raises `ValueError`."""
    key: bytes | None = None
    certificates: list[bytes] = []
    for field, part in shape.fields.items():
        data = _plain(fields[field], shape)
        if part == "pkcs12":
            found = _open_pkcs12(data, password)
            key, certificates = found.key.reveal(), [found.certificate, *pem_blocks(found.chain, "CERTIFICATE")]
        elif part != "truststore":
            key = next(iter(_keys(data)), key)
    certificates = certificates or _certificates(fields, shape)
    if key is None or not certificates or not shape.returns_bundle:
        return None
    return Bundle(Secret(key), certificates[0], b"".join(certificates[1:]))


def recover(values: Iterable[bytes], sha256: str, password: Secret | None = None) -> Bundle | None:
    """The bundle whose leaf has this SHA-256 out of values of whatever shape, with the longest chain; None if none is.

    It is for content of a shape that the config does not ask for any more.
    """
    found = [plain for value in values for plain in _decoded(value)]
    bundles = [*_of_pem(found, sha256), *_of_pkcs12(found, password)]
    right = [bundle for bundle in bundles if fingerprint(bundle.certificate) == sha256]
    return max(right, key=lambda bundle: len(bundle.chain), default=None)


def same(fields: Mapping[str, bytes], bundle: Bundle, shape: Shape, password: Secret | None = None) -> bool:
    """Whether stored fields are what `render` makes of the bundle, however often PKCS#12 is salted anew."""
    if set(fields) != set(shape.fields):
        return False
    try:
        return all(_holds(_plain(fields[field], shape), bundle, part, password) for field, part in shape.fields.items())
    except ValueError:
        return False


def public_part(fields: Mapping[str, bytes], shape: Shape) -> tuple[bytes, bytes] | None:
    """The leaf and the rest of the chain, PEM, of fields that hold them. Raises `ValueError` for broken base64."""
    found = _certificates(fields, shape)
    return (found[0], b"".join(found[1:])) if found else None


def belongs_together(fields: Mapping[str, bytes], shape: Shape) -> bool:
    """Whether no key in the clear is of another certificate than the leaf. Raises `ValueError` for broken base64."""
    leaf = next(iter(_certificates(fields, shape)), b"")
    der = _der(leaf)
    held = [_plain(fields[field], shape) for field, part in shape.fields.items() if part in {"key", "combined"}]
    return der is None or all(is_key_of(data, der) for data in held)


def fingerprint(pem: bytes) -> str | None:
    """The SHA-256 of the first certificate in a PEM text, lower-case hex; None if there is none."""
    der = _der(pem)
    return None if der is None else hashlib.sha256(der).hexdigest()


def _der(pem: bytes) -> bytes | None:
    block = next(iter(pem_blocks(pem, "CERTIFICATE")), None)
    if block is None:
        return None
    try:
        return binascii.a2b_base64(b"".join(block.splitlines()[1:-1]))
    except binascii.Error:
        return None


def pem_blocks(data: bytes, label: str) -> Iterable[bytes]:
    """Every PEM block of a label, each ending with a line break."""
    for match in _PEM.finditer(data):
        if match[1].decode() == label:
            yield match[0].rstrip() + b"\n"


def estimate(shape: Shape, key: KeyType, names: int | Sequence[str]) -> int:
    """About how many bytes a bundle of this key type and these names, with two intermediates, takes as one value.

    Rather too many than too few. `names` may be their number alone.
    """
    return _size(shape, key, names, leaf=_CERTIFICATE_SIZE, chain=2 * _CERTIFICATE_SIZE)


def likely(shape: Shape, key: KeyType, names: int | Sequence[str]) -> int:
    """About how many bytes it takes with one intermediate of a public CA: what is bigger than a store will not fit."""
    return _size(shape, key, names, leaf=_USUAL_LEAF, chain=_USUAL_INTERMEDIATE)


def _size(shape: Shape, key: KeyType, names: int | Sequence[str], *, leaf: int, chain: int) -> int:
    listed = names * _NAME_SIZE if isinstance(names, int) else sum((len(name) + 3) * 4 // 3 + 2 for name in names)
    leaf += listed + (_PEM_SIZE[key] // 2)
    sizes: dict[Part, int] = {
        "key": _PEM_SIZE[key],
        "certificate": leaf,
        "chain": chain,
        "fullchain": leaf + chain,
        "combined": leaf + chain + _PEM_SIZE[key],
        "pkcs12": int((leaf + chain + _PEM_SIZE[key]) * 0.8) + 1_000,
        "truststore": chain,
    }
    total = 0
    for part in shape.fields.values():
        encoded = shape.base64 or not (shape.is_text(part) or shape.single)
        total += int(sizes[part] * 4 / 3) + 4 if encoded else sizes[part]
    return total + (0 if shape.single else sum(len(json.dumps(field)) + 6 for field in shape.fields) + total // 50)


# --- values of their own -----------------------------------------------------------------------------------------


def is_document(shape: ShapeName, fields: Mapping[str, Part] | None) -> bool:
    """Whether several fields are one value in a store whose values stand alone, such as variables: `json` is."""
    return fields is None and shape == "json"


def value_name(name: str, field: str) -> str:
    """The name of the value for a field: `TLS_TLS_KEY` for the field `tls.key` of `TLS`."""
    return f"{name}_{re.sub('[^A-Za-z0-9]', '_', field).upper()}"


def companion_name(name: str) -> str:
    """The name of what says what a value holds: `TLS_METADATA`."""
    return f"{name}_METADATA"


def name_problem(name: str, fields: Iterable[str]) -> str | None:
    """Why these fields cannot be values of their own; None if they can."""
    names = [value_name(name, field) for field in fields]
    if len(set(names)) < len(names):
        return f"two fields have the same name there: {', '.join(names)}"
    return f"{companion_name(name)} is taken by ci-acme" if companion_name(name) in names else None


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


def _of_pem(found: Iterable[bytes], sha256: str) -> Iterable[Bundle]:
    """The only key, with the leaf and what follows it, or with the chain that stands elsewhere."""
    keys: set[bytes] = set()
    leaf_first: list[list[bytes]] = []
    others: list[list[bytes]] = []
    for data in found:
        keys.update(_keys(data))
        chain = list(pem_blocks(data, "CERTIFICATE"))
        if chain:
            (leaf_first if fingerprint(chain[0]) == sha256 else others).append(chain)
    if len(keys) == 1 and leaf_first:
        best = max(leaf_first, key=len)
        rest = best[1:] or max(others, key=len, default=[])
        yield Bundle(Secret(keys.pop()), best[0], b"".join(rest))


def _of_pkcs12(found: Iterable[bytes], password: Secret | None) -> Iterable[Bundle]:
    for data in found:
        try:
            yield _open_pkcs12(data, password)
        except ValueError:
            continue


def _open_pkcs12(data: bytes, password: Secret | None) -> Bundle:
    from ci_acme import pkcs12

    return pkcs12.load(data, password)


def _keys(data: bytes) -> Iterable[bytes]:
    for label in ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"):
        yield from pem_blocks(data, label)


def _plain(data: bytes, shape: Shape) -> bytes:
    return _decode(data) if shape.base64 else data


def _certificates(fields: Mapping[str, bytes], shape: Shape) -> list[bytes]:
    """Leaf first, then the chain, from the first field that has both, else from one that has each."""
    by_part = {part: _plain(fields[field], shape) for field, part in shape.fields.items() if part not in BINARY}
    whole = by_part.get("fullchain") or by_part.get("combined")
    if whole is None:
        whole = by_part.get("certificate", b"") + (by_part.get("chain", b"") if "certificate" in by_part else b"")
    return list(pem_blocks(whole, "CERTIFICATE"))


def _holds(data: bytes, bundle: Bundle, part: Part, password: Secret | None) -> bool:
    if part not in BINARY:
        return data == _part(bundle, part, "", None)
    from ci_acme import pkcs12

    if part == "pkcs12":
        return pkcs12.load(data, password) == bundle
    return pkcs12.trusted(data, password) == list(pem_blocks(bundle.chain or bundle.certificate, "CERTIFICATE"))


def _decoded(value: bytes) -> Iterable[bytes]:
    """The texts in a value if it is a JSON object, else the value as it is, and what it stands for if it is base64."""
    document = _json(value)
    if isinstance(document, Mapping):
        for text in document.values():
            if isinstance(text, str):
                yield from _decoded(text.encode())
        return
    yield value
    try:
        yield _decode(value)
    except ValueError:
        return


def _json(value: bytes) -> Any:
    """What a JSON text says; None if it is none: the parser's words quote what it read."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _text(data: bytes, shape: Shape, part: Part) -> str:
    return (data if shape.is_text(part) else base64.b64encode(data)).decode("ascii")


def _decode(data: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        raise ValueError("is not base64") from None


PARTS: Final[tuple[str, ...]] = get_args(Part)
