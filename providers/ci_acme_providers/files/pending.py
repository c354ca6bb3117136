"""The order under way as files: `.NAME.pending/`, which no reader of certificates looks at."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from ci_acme.model.records import PendingOrder
from ci_acme.model.secret import Secret
from ci_acme_providers.files.contents import FULLCHAIN, KEY
from ci_acme_providers.files.disk import Access, NotAFile, Snapshot, create_file, sync_directory

ORDER: Final = "order.json"
ROOM: Final = "room"
"""Bytes that `publish` gives back to the file system first: a disk that fills up meanwhile loses no certificate."""

ROOM_SIZE: Final = 64 * 1024
"""More than any bundle, in blocks of 4 KiB."""

_SCHEMA: Final = "ci-acme/pending/1"
_FIELDS: Final = ("spec_digest", "authority", "account", "order")


def write(path: Path, pending: PendingOrder) -> None:
    """Fill the new, private directory `path` durably."""
    order = {"schema": _SCHEMA, **{field: getattr(pending, field) for field in _FIELDS}}
    create_file(path / ORDER, json.dumps(order, indent=2).encode() + b"\n", Access(0o600))
    create_file(path / KEY, pending.key.reveal(), Access(0o600))
    if pending.certificate is not None:
        create_file(path / FULLCHAIN, pending.certificate, Access(0o600))
    occupy(path)
    sync_directory(path)


def occupy(path: Path) -> None:
    """Write as many bytes as a bundle needs; random ones, so that no file system compresses them away."""
    create_file(path / ROOM, os.urandom(ROOM_SIZE), Access(0o600))


def load(generation: Snapshot) -> PendingOrder | None:
    """What `write` wrote; None if it is not whole or was written by another user."""
    if generation.owner() not in (None, _uid()):
        return None
    try:
        order = json.loads(generation.read(ORDER, follow=False) or b"null")
        key = generation.read(KEY, follow=False)
        certificate = generation.read(FULLCHAIN, follow=False)
    except (OSError, NotAFile, ValueError, RecursionError):
        return None
    if not key or not isinstance(order, dict) or order.get("schema") != _SCHEMA:
        return None
    values = {field: order[field] for field in _FIELDS if isinstance(order.get(field), str)}
    if len(values) < len(_FIELDS):
        return None
    return PendingOrder(**values, key=Secret(key), certificate=certificate)


def _uid() -> int | None:
    return os.geteuid() if hasattr(os, "geteuid") else None
