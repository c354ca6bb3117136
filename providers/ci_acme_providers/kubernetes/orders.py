"""An order under way in a Secret of its own, `NAME-ci-acme-pending`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ci_acme.ports import Deadline
from ci_acme.storing import Refused
from ci_acme_providers.kubernetes.objects import Conflict, Secrets

_FIELD: Final = "order"
_TRIES: Final = 5


class OrderSecret:
    """A `storing.Orders` in one Secret."""

    def __init__(self, secrets: Secrets, name: str, labels: Mapping[str, str]) -> None:
        self._secrets = secrets
        self._name = name
        self._labels = labels

    def keep(self, text: str, deadline: Deadline) -> None:
        """Create or replace it. Raises `Refused` if others do so all the time."""
        for _ in range(_TRIES):
            found = self._secrets.read(self._name, deadline, whole=True)
            document = self._secrets.document(self._name, "Opaque", {_FIELD: text.encode()}, self._labels)
            try:
                if found is None:
                    self._secrets.create(document, deadline)
                elif found.data.get(_FIELD) != text.encode():
                    document["metadata"]["resourceVersion"] = found.resource_version
                    self._secrets.replace(document, deadline)
            except Conflict:
                continue
            return
        raise Refused("another run keeps its order there", fix="wait until the other run has ended")

    def find(self, deadline: Deadline) -> bytes | None:
        """What it holds."""
        found = self._secrets.read(self._name, deadline, whole=True)
        return None if found is None else found.data.get(_FIELD)

    def forget(self, deadline: Deadline) -> None:
        """Delete it."""
        self._secrets.delete(self._name, None, deadline)
