"""An order under way, in a secret of its own: a version of the certificate's secret would be its `latest`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ci_acme.model.pending import pending_of, pending_text
from ci_acme.model.records import PendingOrder
from ci_acme.ports import Deadline
from ci_acme_providers.gcp import secret_fields
from ci_acme_providers.gcp.config import PENDING_SUFFIX
from ci_acme_providers.gcp.secrets_api import Secrets


def keep(api: Secrets, name: str, order: PendingOrder, new: Mapping[str, Any], deadline: Deadline) -> None:
    """Store an order; `new` is what the secret is made of if there is none yet."""
    place = f"{name}{PENDING_SUFFIX}"
    if api.get(place, deadline) is None:
        api.create(place, new, deadline)
    api.add(place, pending_text(order).encode(), deadline, None)


def kept(api: Secrets, name: str, deadline: Deadline) -> PendingOrder | None:
    """What `keep` stored; None if it is not there, or not whole."""
    version = api.access(f"{name}{PENDING_SUFFIX}", "latest", deadline)
    if version is None or version.payload is None:
        return None
    return pending_of(version.payload.reveal())


def forget(api: Secrets, name: str, deadline: Deadline) -> None:
    """Delete the order's secret; none there is fine, and one that is not ours stays."""
    place = f"{name}{PENDING_SUFFIX}"
    found = api.get(place, deadline)
    if found is not None and secret_fields.is_ours(found):
        api.delete(place, "", deadline)
