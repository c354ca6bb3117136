"""Orders of runs that were killed and that no certificate of the config wants any more: the CA counts what is pending.

An order for a request that is still wanted is gone on with (`pending.Keeper`); one whose names or CA have changed since
would lie there until it expires, and its authorizations with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ci_acme.ca.scope import Scope
from ci_acme.errors import CaError, CiAcmeError, Interrupted
from ci_acme.model.events import Step
from ci_acme.ports import Deadline
from ci_acme.runner.ca_duties import end_order
from ci_acme.runner.leftovers import is_over
from ci_acme.state.orders import Orders, OrderUnderWay

if TYPE_CHECKING:
    from ci_acme.ca.client import AcmeClient
    from ci_acme.runner.services import Services

_SECONDS: Final = 10.0
_AGE: Final = 3600.0
"""Seconds after which an order counts as abandoned: another environment with this state may go on with its own."""
_MOST: Final = 10
"""Orders that one run ends: what is left is for the next one."""


def end_abandoned(services: Services, *, opening: bool) -> None:
    """End them at the CAs that this run works with; `opening`, at every CA of the config that has an account.

    Raises `StateError` and `Interrupted`; what a CA says against it is for the next run.
    """
    orders = Orders(services.state())
    found = orders.all()
    if not found:
        return
    wanted = {
        spec.of(source).digest()
        for name in services.config.certificates
        for spec in [services.config.spec(name)]
        for source in spec.sources
    }
    old = services.clock.now().timestamp() - _AGE
    lost = [one for one in found if one.spec_digest not in wanted and one.made < old and is_over(one.run, services)]
    for authority in services.config.authorities if lost else ():
        client = _client(authority, services, opening=opening)
        if client is None:
            continue
        for order in [one for one in lost if one.account == client.account][:_MOST]:
            _end(order, client, authority, services, orders)


def _client(authority: str, services: Services, *, opening: bool) -> AcmeClient | None:
    try:
        scope = Scope(Deadline(services.clock, _SECONDS))
        return services.authorities.opened(authority, scope) if opening else services.authorities.in_use(authority)
    except Interrupted:
        raise
    except CiAcmeError:
        return None


def _end(order: OrderUnderWay, client: AcmeClient, authority: str, services: Services, orders: Orders) -> None:
    scope = Scope(Deadline(services.clock, _SECONDS))
    try:
        now = client.order(scope, order.order)
        if now.status in {"valid", "processing"} and order.sealed is not None:
            return  # it may be wanted again, with the key that is sealed
        if now.status in {"pending", "ready"} and not end_order(client, now, authority, services):
            return
    except Interrupted:
        raise
    except CaError as error:
        if error.retryable:
            return
    orders.abandon(order.spec_digest, order.account)
    services.notify(Step("", f"ended an order that nobody wants any more, {order.order}"))
