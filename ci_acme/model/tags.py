"""Metadata as tags: how stores whose metadata are short strings keep what is known of a certificate beside it.

The JSON document is compressed, written in an alphabet that every platform takes, and cut into pieces `ci-acme-0`,
`ci-acme-1`, …; a few facts stand beside it for people. Names that make it too long are left out: the specification's
digest, which is kept, stands for them.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from typing import Final

from ci_acme.model.records import Metadata, format_time

MANAGED: Final = "ci-acme"
"""The tag that says that something is ours; its value is the certificate's name in the config."""
_OURS: Final = f"{MANAGED}-"
_PIECE: Final = "ci-acme-{}"
_MOST_BYTES: Final = 1 << 17


def to_tags(
    metadata: Metadata, *, length: int = 256, most: int = 40, lower: bool = False, date: bool = True
) -> dict[str, str]:
    """Tags for the metadata, at most `most` with values of at most `length` characters.

    The alphabet is that of base64url without padding, or, with `lower`, `a-z2-7` (Google's labels); what
    platforms do not take of the certificate's name is `-`. Raises `ValueError` if they do not fit even without names.
    """
    name = metadata.name[:length].lower() if lower else metadata.name[:length]
    people = {MANAGED: re.sub(r"[^a-z0-9_-]" if lower else r"[^A-Za-z0-9_.:/=+@ -]", "-", name)}
    if date:
        text = format_time(metadata.not_after)
        people["ci-acme-not-after"] = text.replace(":", "-").lower() if lower else text
        people["ci-acme-serial"] = metadata.serial[:length]
    document = metadata.to_json()
    for candidate in (document, {**document, "names": []}):
        text = _encode(candidate, lower=lower)
        pieces = [text[start : start + length] for start in range(0, len(text), length)]
        if len(pieces) + len(people) <= most:
            return people | {_PIECE.format(index): piece for index, piece in enumerate(pieces)}
    raise ValueError(f"the metadata need more than {most} tags of {length} characters")


def from_tags(tags: Mapping[str, str]) -> Metadata | None:
    """The metadata out of tags, among which there may be others; None if they are not there or garbled."""
    pieces: list[str] = []
    while (piece := tags.get(_PIECE.format(len(pieces)))) is not None:
        pieces.append(piece)
    if not pieces:
        return None
    try:
        return Metadata.from_json(_decode("".join(pieces)))
    except (ValueError, TypeError, AttributeError, zlib.error, binascii.Error):
        return None


def foreign(tags: Mapping[str, str]) -> dict[str, str]:
    """Those that are not ours."""
    return {key: value for key, value in tags.items() if key != MANAGED and not key.startswith(_OURS)}


def stale(tags: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Pieces of an older, longer value, which have to go when `wanted` is written."""
    return [key for key in tags if key.startswith(_OURS) and key not in wanted]


def _encode(document: Mapping[str, object], *, lower: bool) -> str:
    packed = zlib.compress(json.dumps(document, separators=(",", ":"), sort_keys=True).encode(), 9)
    if lower:
        return "l" + base64.b32encode(packed).decode("ascii").rstrip("=").lower()
    return "u" + base64.urlsafe_b64encode(packed).decode("ascii").rstrip("=")


def _decode(text: str) -> Mapping[str, object]:
    kind, body = text[:1], text[1:]
    if kind == "l":
        packed = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    elif kind == "u":
        packed = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    else:
        raise ValueError("not metadata of ci-acme")
    document = json.loads(zlib.decompressobj().decompress(packed, _MOST_BYTES))
    if not isinstance(document, dict):
        raise ValueError("not metadata of ci-acme")  # noqa: TRY004 - a wrong content, not a wrong argument
    return document
