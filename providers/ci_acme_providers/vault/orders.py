"""An order under way at a path of its own, `PATH-ci-acme-pending`."""

from __future__ import annotations

from typing import Final

from ci_acme.ports import Deadline
from ci_acme.storing import Refused
from ci_acme_providers.vault.kv import CasMismatch, Kv, NotReadable

_FIELD: Final = "order"


class OrderKey:
    """A `storing.Orders` in one key."""

    def __init__(self, key: Kv) -> None:
        self.key = key

    def keep(self, text: str, deadline: Deadline) -> None:
        """Write a version, check-and-set. Raises `Refused` if another run was faster."""
        found = self.key.look(deadline)
        try:
            self.key.write({_FIELD: text}, after=found.current if found else 0, deadline=deadline)
        except CasMismatch:
            if self.find(deadline) != text:  # else the answer to our own write was lost
                raise Refused("another run keeps its order there", fix="wait until the other run has ended") from None

    def find(self, deadline: Deadline) -> str | None:
        """The current version."""
        try:
            version = self.key.read(deadline)
        except NotReadable:
            return None
        text = None if version is None else version.fields.get(_FIELD)
        return text if isinstance(text, str) else None

    def forget(self, deadline: Deadline) -> None:
        """Remove every version."""
        if self.key.look(deadline) is not None:
            self.key.destroy(deadline)
