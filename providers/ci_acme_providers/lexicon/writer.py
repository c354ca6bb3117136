"""Writing by lexicon: nothing is believed that a listing does not show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ci_acme_providers.lexicon.faults import not_done
from ci_acme_providers.lexicon.session import Operations

_ROUNDS: Final = 5
Item = tuple[str, str]
"""Name and value."""


class Writer:
    """One change, which may be tried several times.

    `before` are values that were there before we sent them; `lost` are values of others that went with ours.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self.before: set[Item] = set()
        self._sent: set[Item] = set()
        self.lost: set[Item] = set()

    @property
    def wrote(self) -> bool:
        """Whether anything was sent that may have been carried out."""
        return bool(self._sent)

    def add(self, items: Sequence[Item], operations: Operations) -> None:
        """Add values until a listing shows them all."""
        there = _listed(operations, items)
        self.before |= there.intersection(items) - self._sent
        for _ in range(_ROUNDS):
            missing = [item for item in items if item not in there]
            if not missing:
                return
            for name, value in missing:
                self._sent.add((name, value))
                if operations.create_record("TXT", name, value) is not True:
                    raise not_done(self._provider, "add", name)
            there = _listed(operations, items)
        lost = [name for name, value in items if (name, value) not in there]
        if lost:
            raise not_done(self._provider, "keep", lost[0])

    def remove(self, items: Sequence[Item], operations: Operations) -> None:
        """Remove values until no listing shows one."""
        there = _listed(operations, items)
        others = there.difference(items)
        for _ in range(_ROUNDS):
            left = sorted(there.intersection(items))
            if not left:
                self.lost = others - there
                return
            for name, value in left:
                self._sent.add((name, value))
                if operations.delete_record(None, "TXT", name, value) is not True:
                    raise not_done(self._provider, "remove", name)
            there = _listed(operations, items)
        if there.intersection(items):
            raise not_done(self._provider, "remove", items[0][0])

    def look(self, items: Sequence[Item], operations: Operations) -> None:
        """List only."""
        _listed(operations, items)


def _listed(operations: Operations, items: Iterable[Item]) -> set[Item]:
    """The TXT values at the names of the items, without the quotes that some providers leave."""
    found: set[Item] = set()
    for name in dict.fromkeys(name for name, _ in items):
        for record in operations.list_records("TXT", name, None):
            content = record.get("content")
            for one in content if isinstance(content, list) else [content]:
                if isinstance(one, str):
                    found.add((name, "".join(part.strip('"') for part in one.strip().split('" "'))))
    return found
