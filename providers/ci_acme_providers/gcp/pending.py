"""An order under way, in a secret of its own: a version of the certificate's secret would be its `latest`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ci_acme.model.records import PendingOrder
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline
from ci_acme_providers.gcp import secret_fields
from ci_acme_providers.gcp.config import PENDING_SUFFIX
from ci_acme_providers.gcp.secrets_api import Secrets

_SCHEMA: Final = "ci-acme/pending/1"
_FIELDS: Final = ("spec_digest", "authority", "account", "order")


def keep(api: Secrets, name: str, order: PendingOrder, new: Mapping[str, Any], deadline: Deadline) -> None:
    """Store an order; `new` is what the secret is made of if there is none yet."""
    document = {
        "schema": _SCHEMA,
        **{field: getattr(order, field) for field in _FIELDS},
        "key": order.key.reveal().decode("ascii"),
        "certificate": order.certificate.decode("ascii") if order.certificate is not None else None,
    }
    place = f"{name}{PENDING_SUFFIX}"
    if api.get(place, deadline) is None:
        api.create(place, new, deadline)
    api.add(place, json.dumps(document).encode(), deadline, None)


def kept(api: Secrets, name: str, deadline: Deadline) -> PendingOrder | None:
    """What `keep` stored; None if it is not there, or not whole."""
    version = api.access(f"{name}{PENDING_SUFFIX}", "latest", deadline)
    if version is None or version.payload is None:
        return None
    try:
        document = json.loads(version.payload.reveal())
        if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
            return None
        values = {field: str(document[field]) for field in _FIELDS}
        key = Secret(document["key"].encode("ascii"))
        certificate = document.get("certificate")
        return PendingOrder(**values, key=key, certificate=certificate.encode("ascii") if certificate else None)
    except (ValueError, KeyError, AttributeError, RecursionError):
        return None


def forget(api: Secrets, name: str, deadline: Deadline) -> None:
    """Delete the order's secret; none there is fine, and one that is not ours stays."""
    place = f"{name}{PENDING_SUFFIX}"
    found = api.get(place, deadline)
    if found is not None and secret_fields.is_ours(found):
        api.delete(place, "", deadline)
