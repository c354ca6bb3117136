"""The command `retire`: an environment ends, and its certificates leave the stores, the state and, if asked, the CA.

What is there decides, so that a teardown that was interrupted goes on when it is repeated, and repeating it is success.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ci_acme.core.report import Outcome, StoreOutcome
from ci_acme.dataclass import dataclass
from ci_acme.errors import AccountError, CiAcmeError, DeliveryError, Interrupted, SecretError, StoreReadError
from ci_acme.model.events import Finished, Started, Warned
from ci_acme.model.material import CertificateFacts
from ci_acme.ports import CertificateStore, Retired
from ci_acme.runner.jobs import Job
from ci_acme.state.ledger import Ledger
from ci_acme.state.orders import Orders

if TYPE_CHECKING:
    from ci_acme.runner.services import Services


@dataclass(frozen=True, slots=True)
class Teardown:
    """How far a teardown goes. `purge` skips a platform's recovery period; `reason` is a code of RFC 5280."""

    revoke: bool = False
    purge: bool = False
    reason: int | None = None


def retire(job: Job, services: Services, wanted: Teardown) -> Outcome:
    """Remove one certificate from its stores. Never raises a `CiAcmeError`: it is in the outcome."""
    spec = job.spec
    outcome = Outcome(spec.name, spec.names, spec.authority, spec.key.value, profile=spec.profile, owner=spec.owner)
    begun = services.clock.monotonic()
    try:
        services.clock.check()
        services.look_who_asks()
        services.notify(Started(spec.name, "retiring", "it is not needed any more"))
        with _alone(job, services):
            _Teardown(job, services, wanted, outcome).run()
    except CiAcmeError as error:
        outcome.action, outcome.error = "failed", error
        outcome.reason = outcome.reason or error.message
    outcome.warnings = services.warnings.pop(spec.name, [])
    outcome.seconds["total"] = services.clock.monotonic() - begun
    services.notify(Finished(spec.name, outcome.action, outcome.reason))
    return outcome


@contextmanager
def _alone(job: Job, services: Services) -> Generator[None]:
    """No run issues it meanwhile, as far as that can be had: whoever tears down may lack the account's key."""
    from ci_acme.runner.flight import alone
    from ci_acme.runner.solvers import lacks_key

    if lacks_key(services.authority(job.spec.authority).account_key):  # none is made for the end
        yield
        return
    try:
        services.authorities.thumbprint(job.spec.authority)
    except (AccountError, SecretError):
        yield
        return
    with alone(job.spec, services, unless=lambda: False):
        yield


class _Teardown:
    """One certificate on its way out."""

    def __init__(self, job: Job, services: Services, wanted: Teardown, outcome: Outcome) -> None:
        self._job = job
        self._services = services
        self._wanted = wanted
        self._outcome = outcome
        self._ledger = Ledger(services.state())

    def run(self) -> None:
        """Revoke if asked, remove, and write down that it is gone."""
        outcome = self._outcome
        found = self._look()
        if self._wanted.revoke:
            self._revoke(found)
        outcome.stores = [self._remove(store) for store in self._job.stores]
        outcome.error = next((store.error for store in outcome.stores if store.error), None)
        removed = any(store.action == "removed" for store in outcome.stores)
        if outcome.error is not None:
            outcome.reason = outcome.error.message
            return
        self._forget()
        outcome.action = "retired"
        outcome.reason = "removed from its stores" if removed else "nothing was there any more"

    def _look(self) -> CertificateFacts | None:
        """What the stores say of the certificate; the result shows which one has gone."""
        from ci_acme.runner.certificate import view_of

        for store in self._job.stores:
            try:
                view = view_of(store, self._services)
            except StoreReadError as error:
                self._services.notify(Warned(self._job.spec.name, error.message))
                continue
            if view.facts is not None:
                self._outcome.take(view.facts)
                self._outcome.order = view.metadata.order if view.metadata else None
                return view.facts
        return None

    # --- revocation

    def _revoke(self, found: CertificateFacts | None) -> None:
        """Before the stores are emptied: what they hold is needed for it. Raises what the CA says against it."""
        if found is None:
            self._outcome.revocation = {"action": "nothing", "why": "no store holds a certificate"}
            return
        users = self._others(found)
        if users:
            why = f"still used by {', '.join(users)}"
            self._outcome.revocation = {"action": "skipped", "why": why}
            self._services.notify(Warned(self._job.spec.name, f"not revoked: the certificate is {why}"))
            return
        from ci_acme.runner.revoking import revoke_stored

        result = revoke_stored(self._job, self._wanted.reason, self._services)
        if result.error is not None and not isinstance(result.error, DeliveryError):
            raise result.error
        self._outcome.revocation = {"action": result.action, "by": result.by, "reason": result.reason}

    def _others(self, found: CertificateFacts) -> list[str]:
        """Who else uses this certificate: other certificates of the config, other environments in the inventory."""
        ours = {(store.provider, store.target) for store in self._job.stores}
        users: list[str] = []
        for entry in self._ledger.entries():
            if entry.get("sha256") != found.sha256 or entry.get("retired"):
                continue
            users += [
                f"{store['provider']}:{store['target']}"
                for store in entry.get("stores", ())
                if (store["provider"], store["target"]) not in ours
            ]
        return list(dict.fromkeys([*users, *self._in_config(found, ours)]))

    def _in_config(self, found: CertificateFacts, ours: set[tuple[str, str]]) -> list[str]:
        from ci_acme.runner.jobs import make_jobs

        others = [name for name in self._services.config.certificates if name != self._job.spec.name]
        jobs = make_jobs(self._services.config, others, self._services)
        stores = [store for job in jobs for store in job.stores if (store.provider, store.target) not in ours]
        return [f"{store.provider}:{store.target}" for store in stores if self._holds(store, found)]

    def _holds(self, store: CertificateStore, found: CertificateFacts) -> bool:
        """Whether a store has the certificate; one that cannot be read may have it."""
        from ci_acme.runner.certificate import view_of

        try:
            facts = view_of(store, self._services).facts
        except StoreReadError:
            return True
        return facts is not None and facts.sha256 == found.sha256

    # --- removal

    def _remove(self, store: CertificateStore) -> StoreOutcome:
        try:
            gone = store.retire(purge=self._wanted.purge, deadline=self._services.deadline)
        except (DeliveryError, StoreReadError) as error:
            failure = DeliveryError(error.message, fix=error.fix, details=error.details)
            return StoreOutcome(store.provider, store.target, "failed", error=failure)
        return StoreOutcome(store.provider, store.target, "removed" if gone is Retired.REMOVED else "absent")

    def _forget(self) -> None:
        """The state's part: an order under way has no use, and the inventory says that it is retired."""
        spec, services = self._job.spec, self._services
        try:
            Orders(services.state()).abandon(spec.digest())
            places = [(store.provider, store.target) for store in self._job.stores]
            self._ledger.retire(spec.name, spec.names, places, services.clock.now(), services.run_id)
            self._ledger.record(services.clock.now(), services.run_id, spec.name, [self._event()], services.who_asked())
        except Interrupted:
            raise
        except CiAcmeError as error:
            services.notify(Warned(spec.name, f"it is gone, and the inventory does not say so: {error.message}"))

    def _event(self) -> dict[str, Any]:
        outcome = self._outcome
        stores = [
            {"provider": store.provider, "target": store.target, "action": store.action} for store in outcome.stores
        ]
        return {"what": "retirement", "serial": outcome.serial, "stores": stores, "revocation": outcome.revocation}


def sweep_records(services: Services) -> None:
    """Remove the challenge values that runs which are over have left: the environment that they were for is gone."""
    from ci_acme.runner.leftovers import replay

    for one in replay(services, wanted=False):
        if one.error is not None:
            services.notify(Warned("", f"a challenge record may be left at {one.item.name}: {one.error.message}"))
