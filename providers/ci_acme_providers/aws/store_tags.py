"""Metadata in tags that are beside a value and not written together with it.

Every value (a version of a secret, a certificate of an ARN) has tags of its own, whose keys end with the value's
generation. They are written before the value serves and removed after the next one does: whatever ends a writer in
between, a reader finds the tags of exactly the value that serves.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Final

from ci_acme.dataclass import dataclass
from ci_acme.model.records import Metadata
from ci_acme.model.tags import MANAGED, foreign, from_tags, to_tags
from ci_acme.shapes import SHAPES, Shape

LIMIT: Final = 50
"""Tags that a secret, a parameter or a certificate can have (each service's API reference)."""

PIECES: Final = 14
"""Tags of one generation at most; without names the metadata need less."""

USUAL: Final = 9
"""What one generation takes with 100 names."""

SHAPE: Final = "ci-acme-shape"
_PREFIX: Final = "ci-acme-"


@dataclass(frozen=True, slots=True)
class Described:
    """What the tags say of one value. `shape` is how it was written, None where that is not said."""

    metadata: Metadata
    shape: str | None


def generation(identity: str) -> str:
    """The ending of the keys, of the hex identity of a value."""
    return identity[:12]


def identity_of(sha256: str, shape: Shape) -> str:
    """The identity of a certificate in a shape, for a store that gives a value none."""
    return hashlib.sha256(f"{sha256} {shape_name(shape)}".encode()).hexdigest()


def tags_of(metadata: Metadata, identity: str, shape: Shape | None = None) -> dict[str, str]:
    """All tags of one value."""
    plain = to_tags(metadata, most=PIECES)
    managed = plain.pop(MANAGED)
    if shape is not None:
        plain[SHAPE] = shape_name(shape)
    ending = generation(identity)
    return {MANAGED: managed, **{f"{key}.{ending}": value for key, value in plain.items()}}


def find(tags: Mapping[str, str], identity: str) -> Described | None:
    """What the tags say of the value with this identity; None if they say nothing of it."""
    ending = f".{generation(identity)}"
    own = {key.removesuffix(ending): value for key, value in tags.items() if key.endswith(ending)}
    metadata = from_tags(own)
    return None if metadata is None else Described(metadata, own.get(SHAPE))


def with_blanks(tags: Mapping[str, str], wanted: Mapping[str, str], identity: str) -> dict[str, str]:
    """`wanted`, and an empty value for each surplus piece of the same generation: a reader meanwhile passes over it."""
    ending = f".{generation(identity)}"
    surplus = {key: "" for key in tags if key.startswith(_PREFIX) and key.endswith(ending) and key not in wanted}
    return {**wanted, **surplus}


def done_with(tags: Mapping[str, str], current: str, replaced: str | None) -> list[str]:
    """Keys to remove once the value `current` serves: those of the one it replaced, surplus ones, and older ones.

    What is neither older nor replaced may be of a writer that is under way.
    """
    found = find(tags, current)
    keep, gone = generation(current), generation(replaced) if replaced else ""
    endings = {key.rpartition(".")[2] for key in tags if key.startswith(_PREFIX) and "." in key} - {keep}
    old = {gone} & endings
    for ending in endings - old:
        other = find(tags, ending)
        if found is not None and (other is None or other.metadata.not_before < found.metadata.not_before):
            old.add(ending)
    keys = [key for key in tags if key.startswith(_PREFIX) and key.rpartition(".")[2] in old]
    return keys + [key for key, value in tags.items() if key.endswith(f".{keep}") and not value]


def others(tags: Mapping[str, str], *identities: str | None) -> list[str]:
    """Keys of ours that are of none of these values."""
    endings = {generation(identity) for identity in identities if identity}
    return [key for key in tags if key.startswith(_PREFIX) and "." in key and key.rpartition(".")[2] not in endings]


def no_room(tags: Mapping[str, str]) -> str | None:
    """Why the tags of two generations will not fit beside the user's; None if they will."""
    own = len(foreign(tags))
    if own + 2 * USUAL + 1 <= LIMIT:
        return None
    return f"it has {own} tags of your own, ci-acme needs up to {2 * USUAL + 1}, and AWS takes {LIMIT}"


def shape_name(shape: Shape) -> str:
    """A shape as a tag's value: its name, or its fields."""
    name = next((name for name, fields in SHAPES.items() if fields == shape.fields), None)
    if name is None:
        packed = zlib.compress(json.dumps(dict(shape.fields), separators=(",", ":")).encode(), 9)
        name = "=" + base64.urlsafe_b64encode(packed).decode("ascii").rstrip("=")
    text = name + ("+base64" if shape.base64 else "")
    return text if len(text) <= 256 else hashlib.sha256(text.encode()).hexdigest()


def shape_named(text: str | None) -> Shape | None:
    """The inverse of `shape_name`; None if it cannot be told."""
    if not text:
        return None
    name, _, encoding = text.partition("+")
    if name in SHAPES:
        return Shape(SHAPES[name], base64=encoding == "base64")
    if not name.startswith("="):
        return None
    try:
        packed = base64.urlsafe_b64decode(name[1:] + "=" * (-len(name[1:]) % 4))
        fields = json.loads(zlib.decompressobj().decompress(packed, 1 << 16))
        return Shape({str(field): part for field, part in fields.items()}, base64=encoding == "base64")
    except (ValueError, zlib.error, AttributeError):
        return None
