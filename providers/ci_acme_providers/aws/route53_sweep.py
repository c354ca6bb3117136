"""Finding many names in a long sorted listing with few pages: what lies between two of them is passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from ci_acme.dataclass import dataclass
from ci_acme_providers.aws.route53_records import order

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Start:
    """Where a page begins; `more` are the parameters that continue a page exactly."""

    name: str
    more: Any = None


def sweep(
    names: Iterable[str],
    fetch: Callable[[Start], tuple[Sequence[tuple[str, T]], Start | None]],
) -> dict[str, list[T]]:
    """What the listing has at each name. `fetch` gives a page, names with items, and where the next one begins.

    At most one page for each name, and one for each page that a whole listing would have from the first to the last.
    """
    found: dict[str, list[T]] = {name: [] for name in names}
    todo = sorted(found, key=order)
    start: Start | None = Start(todo[0]) if todo else None
    while start is not None:
        items, following = fetch(start)
        for name, item in items:
            if name in found:
                found[name].append(item)
        if following is None:
            break
        reached = order(following.name)
        todo = [name for name in todo if order(name) >= reached]
        start = None if not todo else following if todo[0] == following.name else Start(todo[0])
    return found
