"""What the stores in a key vault share: soft delete, writes that are not repeated blindly, tags, and errors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Final, TypeVar

from ci_acme.errors import DeliveryError
from ci_acme.model.records import Metadata
from ci_acme.model.tags import MANAGED, foreign, to_tags
from ci_acme.ports import Absent, Deadline, ProviderContext, Retired
from ci_acme.storing import Refused, Store, not_removed
from ci_acme_providers.azure import faults
from ci_acme_providers.azure.config import VaultTarget
from ci_acme_providers.azure.patience import Options, Patience, jitter
from ci_acme_providers.azure.session import Session, vault_name

FORM: Final = "ci-acme-form"
"""The tag that says what else is kept beside the metadata: the shape, the chain."""
MOST_TAGS: Final = 15
_ROUNDS: Final = 60
_UNDER_WAY: Final = frozenset({"ObjectIsBeingDeleted", "ObjectIsBeingRecovered"})

T = TypeVar("T")


class VaultStore(Store):
    """Base of a `ports.CertificateStore` in a vault. It keeps no order under way: a name in a vault leaves tombstones.

    `KIND` is the kind of object as the SDK names it, `certificate` or `secret`. Its requests are functions that take
    the timeouts of one exchange.
    """

    KIND: ClassVar[str]

    def __init__(self, settings: VaultTarget, context: ProviderContext) -> None:
        super().__init__(context)
        self._vault, self._name = settings.where
        self._session = Session(settings, context)

    @cached_property
    def api(self) -> Any:
        """The SDK's client for the kind of object."""
        return getattr(self._session, f"{self.KIND}s")(self._vault)

    @property
    def target(self) -> str:
        """`web-prod/web-tls`."""
        return f"{vault_name(self._vault)}/{self._name}"

    # --- of a kind of object

    def get_current(self, options: Options) -> Any:
        """Ask for the current version; what comes back has a tags mapping somewhere that `ours` finds."""
        raise NotImplementedError

    def get_deleted(self, options: Options) -> Any:
        """Ask for the tombstone."""
        return self._call("get_deleted_{}", options)

    def delete(self, options: Options) -> None:
        """Ask for deletion."""
        self._call("begin_delete_{}", options)

    def recover(self, options: Options) -> None:
        """Ask for the tombstone to become what it was."""
        self._call("begin_recover_deleted_{}", options)

    def purge_deleted(self, options: Options) -> None:
        """Ask for the tombstone to go."""
        self._call("purge_deleted_{}", options)

    def change(self, version: str | None, tags: Mapping[str, str], options: Options) -> None:
        """Ask to replace the tags of a version."""
        self._call("update_{}_properties", {**options, "tags": dict(tags)}, version)

    def _call(self, method: str, options: Options, *more: object) -> Any:
        """A method of the SDK's client, which is named after the kind of object."""
        return getattr(self.api, method.format(self.KIND))(self._name, *more, **options)

    # --- looking

    def ask(self, call: Callable[[Options], T], deadline: Deadline) -> T:
        """A request that may be sent twice. Raises the SDK's errors."""
        return Patience(deadline).send(call)

    def look(self, call: Callable[[Options], T], deadline: Deadline) -> T | None:
        """The same; None for what is not there."""
        try:
            return self.ask(call, deadline)
        except Exception as error:
            if faults.read(error).kind is faults.Kind.ABSENT:
                return None
            raise

    def absent(self, deadline: Deadline) -> Absent:
        """Nothing is there: whether there is a tombstone, as far as we may know."""
        try:
            found = self.look(self.get_deleted, deadline)
        except Exception as error:
            if faults.read(error).kind is not faults.Kind.DENIED:
                raise
            return Absent()
        if found is None:
            return Absent()
        until = found.scheduled_purge_date
        return Absent(f"deleted, recoverable until {until:%Y-%m-%d}" if until is not None else "deleted")

    # --- writing

    def write(self, call: Callable[[Options], T], landed: Callable[[], T | None], deadline: Deadline) -> T:
        """A request that makes a version, not repeated blindly: after a lost answer `landed` looks for what it made.

        A name that is deleted is recovered first. Raises the SDK's errors.
        """
        for attempt in range(_ROUNDS):
            try:
                return Patience(deadline, twice=False).send(call)
            except Exception as error:
                fault = faults.read(error)
                if fault.doubtful:
                    found = landed()
                    if found is not None:
                        return found
                elif fault.code == "ObjectIsDeletedButRecoverable":
                    self._revive(deadline)
                elif fault.code not in _UNDER_WAY:
                    raise
                if deadline.remaining() <= (pause := jitter(attempt)):
                    raise
            deadline.clock.sleep(pause)
        raise Refused("it does not come to rest", fix="run again")

    def _revive(self, deadline: Deadline) -> None:
        """Recover what was deleted, and wait until it is there."""
        self.look(self.recover, deadline)
        self._until(lambda: self.look(self.get_current, deadline) is not None, deadline)

    def _until(self, done: Callable[[], bool], deadline: Deadline) -> bool:
        """Ask until it is so, or the time is up. Who may not ask waits no longer: the next request will tell."""
        for attempt in range(_ROUNDS):
            try:
                if done():
                    return True
            except Exception as error:
                if faults.read(error).kind is faults.Kind.DENIED:
                    return False
                raise
            if deadline.remaining() <= (pause := jitter(attempt, 2.0)):
                return False
            deadline.clock.sleep(pause)
        return False

    # --- deleting

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Delete it, which leaves a tombstone for the vault's retention period; with `purge` that goes, too, unless the
        vault is protected against it.
        """
        with self.errors(DeliveryError, "remove", deadline):
            found = self.look(self.get_current, deadline)
            if found is not None:
                if not self.is_ours(found):
                    raise not_removed("it was not written by ci-acme")
                self.look(self.delete, deadline)
            if not purge:
                return Retired.ABSENT if found is None else Retired.REMOVED
            return self._bury(deadline, deleted=found is not None)

    def _bury(self, deadline: Deadline, *, deleted: bool) -> Retired:
        """Purge the tombstone of ours, which takes a moment to appear."""
        if deleted:
            self._until(lambda: self.look(self.get_deleted, deadline) is not None, deadline)
        tombstone = self.look(self.get_deleted, deadline)
        if tombstone is None or not self.is_ours(tombstone):
            return Retired.REMOVED if deleted else Retired.ABSENT
        try:
            self.look(self.purge_deleted, deadline)
        except Exception as error:
            fault = faults.read(error)
            if "purge protection" not in fault.message:
                raise
            self.context.warn(f"{self.target} stays recoverable: the vault is protected against purging")
        return Retired.REMOVED

    # --- tags

    def is_ours(self, found: Any) -> bool:
        """Whether ci-acme wrote it."""
        return self.is_ours_by(found.properties.tags)

    @staticmethod
    def is_ours_by(tags: Mapping[str, str] | None) -> bool:
        """The same, by its tags."""
        return MANAGED in (tags or {})

    def tags_for(self, metadata: Metadata, form: str, old: Mapping[str, str] | None) -> dict[str, str]:
        """The metadata as tags, beside those that others gave it. Raises `Refused` if there are too many."""
        kept = foreign(old or {})
        try:
            ours = to_tags(metadata, most=MOST_TAGS - 1 - len(kept))
        except ValueError:
            raise Refused(
                f"it has {len(kept)} tags of others, so that the metadata do not fit: a vault takes {MOST_TAGS}",
                fix="remove tags that nobody needs",
            ) from None
        return {**kept, **ours, FORM: form}

    def retag(self, properties: Any, tags: dict[str, str], deadline: Deadline) -> str | None:
        """Give a version these tags, if it has others; returns the version."""
        version: str | None = properties.version
        if dict(properties.tags or {}) != tags:
            self.ask(lambda o: self.change(version, tags, o), deadline)
        return version

    # --- errors

    def explain(self, error: Exception, verb: str) -> Refused | None:
        """What Azure has refused. An error that is none of an SDK's is raised again: it is a defect."""
        del verb
        fault = faults.read(error)
        fix = self.end_operation() if "inProgress" in fault.message else fault.fix
        return Refused(fault.message, fix=fix, details=fault.details())

    def end_operation(self) -> str:
        """The fix for an operation that somebody began and did not end."""
        where = f"--vault-name {vault_name(self._vault)} --name {self._name}"
        return f"complete the operation, or cancel it: az keyvault certificate pending delete {where}"


def digest(data: bytes) -> str:
    """Enough of a SHA-256 to tell chains and shapes apart."""
    return hashlib.sha256(data).hexdigest()[:16]
