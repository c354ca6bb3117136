"""An order under way as text, for stores that keep one: it holds the key, so it is a secret."""

from __future__ import annotations

import json
from typing import Any, Final

from ci_acme.model.records import PendingOrder
from ci_acme.model.secret import Secret

_SCHEMA: Final = "ci-acme/pending/1"
_FIELDS: Final = ("spec_digest", "authority", "account", "order")


def pending_text(pending: PendingOrder) -> str:
    """A JSON document with the key in it."""
    document: dict[str, str] = {"schema": _SCHEMA, **{field: getattr(pending, field) for field in _FIELDS}}
    document["key"] = pending.key.reveal().decode("ascii")
    if pending.certificate is not None:
        document["certificate"] = pending.certificate.decode("ascii")
    return json.dumps(document)


def pending_of(text: object) -> PendingOrder | None:
    """The inverse of `pending_text`; None for anything else."""
    try:
        document: Any = json.loads(text) if isinstance(text, (str, bytes)) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        return None
    values = {field: document.get(field) for field in (*_FIELDS, "key")}
    if not all(isinstance(value, str) and value for value in values.values()):
        return None
    certificate = document.get("certificate")
    key = Secret(str(values.pop("key")).encode())
    fields = {field: str(value) for field, value in values.items()}
    return PendingOrder(**fields, key=key, certificate=certificate.encode() if isinstance(certificate, str) else None)
