"""An order under way, kept where the next run finds it if this one is killed.

Its URL is in the state from the moment the CA has named it. Its key is durable before it is finalized: in the first
store that can hold it, else sealed in the state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ci_acme.dataclass import dataclass
from ci_acme.errors import DeliveryError, SecretError, StateError
from ci_acme.model.records import PendingOrder
from ci_acme.model.secret import Secret
from ci_acme.runner.leftovers import dead_runs
from ci_acme.state.orders import Orders, OrderUnderWay

if TYPE_CHECKING:
    from ci_acme.ca.scope import Scope
    from ci_acme.runner.jobs import Job
    from ci_acme.runner.services import Services


@dataclass(frozen=True, slots=True)
class Earlier:
    """An order that a run before left. `key` is None where it was killed before there was one to keep."""

    order: str
    key: Secret | None = None
    certificate: bytes | None = None


class Keeper:
    """Keeps the order of one certificate by one account. `account` is set before anything but `holds_one` is called.

    `guard` is called before an order is kept; what it raises ends the work: another run has taken over.
    """

    def __init__(self, job: Job, services: Services, scope: Scope, guard: Callable[[], None]) -> None:
        self._guard = guard
        self._services = services
        self._scope = scope
        self._spec = job.spec
        self._digest = job.spec.digest()
        self._holders = [store for store in job.stores if store.capabilities.holds_pending]
        self.account = ""

    # --- an earlier run's

    def holds_one(self) -> bool:
        """Whether a store has an order for the same request, by whatever account."""
        return any(True for _ in self._staged())

    def earlier(self) -> Iterator[Earlier]:
        """What earlier runs left for the same request, one after the other; `forget` what turns out to be useless."""
        seen: set[str] = set()
        for pending in self._staged():
            if pending.account != self.account:
                continue
            seen.add(pending.order)
            yield Earlier(pending.order, pending.key, pending.certificate)
        found = self._recorded()
        if found is not None and found.order not in seen:
            yield Earlier(found.order, self._unsealed(found))

    def _staged(self) -> Iterator[PendingOrder]:
        for store in self._holders:
            pending = store.staged(deadline=self._services.deadline)
            if pending is not None and pending.spec_digest == self._digest:
                yield pending

    def after_a_kill(self) -> bool:
        """Whether the state knows of a run that has not come to its end."""
        try:
            return bool(dead_runs(self._services.state(), self._services))
        except StateError:
            return False

    def _recorded(self) -> OrderUnderWay | None:
        try:
            return Orders(self._services.state()).find(self._digest, self.account)
        except StateError as error:
            self._scope.warn(f"whether an earlier run left an order is not known: {error.message}")
            return None

    def _unsealed(self, found: OrderUnderWay) -> Secret | None:
        reference = self._services.config.state_key
        if found.sealed is None or reference is None:
            return None
        from ci_acme.state.sealing import unseal

        key = unseal(self._services.read_secret(reference), found.sealed, self._digest)
        if key is None:
            self._scope.warn(f"the key of an earlier run's order was sealed under another state key than {reference}")
        return key

    # --- ours

    def made(self, order: str, key: Secret) -> None:
        """The CA has named an order: write it down, in the stores if the state does not take it."""
        self._guard()
        try:
            self._record(order)
        except StateError as error:
            self._scope.warn(f"the order is not in the state: {error.message}")
            self._hold(PendingOrder(self._digest, self._spec.directory, self.account, order, key), sealing=False)

    def about_to_finalize(self, order: str, key: Secret, certificate: bytes | None = None) -> None:
        """The key is durable when this returns, with the certificate if there is one. Raises `DeliveryError`."""
        self._hold(PendingOrder(self._digest, self._spec.directory, self.account, order, key, certificate))

    def forget(self, order: str) -> None:
        """The order has come to an end. Raises `DeliveryError`; the state's own trouble is a warning.

        The state is last: what it does not speak of any more is nowhere.
        """
        for store in self._holders:
            store.unstage(deadline=self._services.deadline)
        try:
            Orders(self._services.state()).forget(self._digest, self.account, order)
        except StateError as error:
            self._scope.warn(f"the state still has the order {order}: {error.message}")

    def _record(self, order: str, sealed: bytes | None = None) -> None:
        made = self._services.clock.now().timestamp()
        Orders(self._services.state()).keep(
            OrderUnderWay(self._digest, self.account, order, self._services.run_id, made, sealed)
        )

    def _hold(self, pending: PendingOrder, *, sealing: bool = True) -> None:
        """In the first store that takes it, else sealed."""
        self._guard()  # what is kept there may be of the run that took over
        failure: DeliveryError | None = None
        for store in self._holders:
            try:
                store.stage(pending, deadline=self._services.deadline)
            except DeliveryError as error:
                failure = failure or error
                continue
            return
        if sealing and self._services.config.state_key is not None:
            self._seal(pending)
            return
        if failure is not None:
            raise failure
        if sealing:
            self._scope.warn(
                "no store of this certificate can hold its key before it is issued, and there is no state_key to seal "
                "it in the state: a run that is killed while the CA issues loses the certificate"
            )

    def _seal(self, pending: PendingOrder) -> None:
        """Raises `DeliveryError`, so that the order is not finalized."""
        from ci_acme.state.sealing import seal

        reference = self._services.config.state_key
        assert reference is not None
        try:
            secret = self._services.read_secret(reference)
            self._record(pending.order, seal(secret, pending.key, self._digest, reference=reference))
        except (StateError, SecretError) as error:
            raise DeliveryError(f"the key cannot be sealed in the state: {error.message}", fix=error.fix) from None
