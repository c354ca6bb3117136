"""An order under way, in a secret of its own: a version of the certificate's secret would be its `latest`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ci_acme.ports import Deadline
from ci_acme_providers.gcp import secret_fields
from ci_acme_providers.gcp.secrets_api import Secrets


class OrderSecret:
    """A `storing.Orders` in one secret; `new` is what it is made of if there is none yet."""

    def __init__(self, api: Secrets, name: Callable[[], str], new: Mapping[str, Any]) -> None:
        self._api = api
        self._name = name
        self._new = new

    def keep(self, text: str, deadline: Deadline) -> None:
        """Add a version."""
        if self._api.get(self._name(), deadline) is None:
            self._api.create(self._name(), self._new, deadline)
        self._api.add(self._name(), text.encode(), deadline, None)

    def find(self, deadline: Deadline) -> bytes | None:
        """The newest version."""
        version = self._api.access(self._name(), "latest", deadline)
        return None if version is None or version.payload is None else version.payload.reveal()

    def forget(self, deadline: Deadline) -> None:
        """Delete the secret; one that is not ours stays."""
        found = self._api.get(self._name(), deadline)
        if found is not None and secret_fields.is_ours(found):
            self._api.delete(self._name(), "", deadline)
