"""Orders whose URL was lost: a run was killed between the CA's answer and writing it down (RFC 8555 section 7.1.2.1).

Not every CA lists the orders of an account; those that do not (Let's Encrypt) answer the same newOrder with the same
order again while it is pending.
"""

from __future__ import annotations

import threading
from typing import Final

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.messages import Order
from ci_acme.ca.scope import Scope
from ci_acme.errors import CiAcmeError, Interrupted

MAX_PAGES: Final = 10
MAX_ORDERS: Final = 30


class LostOrders:
    """The unfinished orders of an account; asked for once. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[Order] | None = None

    def claim(self, client: AcmeClient, names: frozenset[str], profile: str | None, scope: Scope) -> Order | None:
        """An order for exactly these names that nobody has claimed yet. Raises `Interrupted` only."""
        with self._lock:
            if self._orders is None:
                self._orders = []
                try:
                    self._orders = _unfinished(client, scope)
                except Interrupted:
                    raise
                except CiAcmeError as error:
                    scope.warn(f"{client.host} does not show the orders of this account: {error.message}")
            for order in self._orders:
                if order.names == names and (profile is None or order.profile in {None, profile}):
                    self._orders.remove(order)
                    return order
        return None


def _unfinished(client: AcmeClient, scope: Scope) -> list[Order]:
    account = client.look(scope, client.account or "", kind="account", what="show the account").json()
    page = account.get("orders")
    urls: list[str] = []
    for _ in range(MAX_PAGES):
        if not isinstance(page, str):
            break
        reply = client.look(scope, page, kind="order", what="list the orders")
        found = reply.json().get("orders")
        urls += [url for url in found if isinstance(url, str)] if isinstance(found, list) else []
        page = next(iter(reply.links("next")), None)
    orders = client.map(lambda url: client.order(scope, url), urls[-MAX_ORDERS:])
    return [order for order in orders if order.status in {"pending", "ready"}]
