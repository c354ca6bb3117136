"""What a run owes the CA beside its order: a clock that is right before, and nothing pending behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ci_acme.ca.giveup import give_up
from ci_acme.ca.scope import Scope
from ci_acme.errors import ClockError
from ci_acme.ports import Deadline

if TYPE_CHECKING:
    from ci_acme.ca.client import AcmeClient
    from ci_acme.ca.messages import Order
    from ci_acme.runner.services import Services

SKEW_WARNING: Final = 60.0
SKEW_ERROR: Final = 3600.0
END_SECONDS: Final = 3.0
"""How long the deactivating of one order's authorizations may take, beside the removal of its DNS records."""


def check_clock(client: AcmeClient, scope: Scope) -> None:
    """Compare this machine's clock with the CA's before anything is ordered: a certificate would look invalid here.

    Raises `ClockError` for more than an hour, and warns of more than a minute.
    """
    ahead = client.clock_error(scope)
    if ahead is None or abs(ahead) <= SKEW_WARNING:
        return
    text = f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} {client.host}"
    if abs(ahead) > SKEW_ERROR:
        raise ClockError(f"{text}; nothing was ordered", fix="set the clock (NTP)", details={"seconds": round(ahead)})
    scope.warn(text)


def end_order(client: AcmeClient, order: Order, authority: str, services: Services) -> bool:
    """Deactivate what is pending of an order that nobody will finish, also when the run was told to stop.

    True if nothing is pending any more. Raises nothing.
    """
    clock = services.clock.shielded()
    with services.connections.apart(services.authority(authority).ca_bundle) as pool:
        return give_up(client.over(pool, clock), order.authorizations, Scope(Deadline(clock, END_SECONDS)))
