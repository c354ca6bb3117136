"""The store `gcp-secret-manager`: each certificate is a version of one secret.

What is known of it stands in the secret's annotations, which everybody may read who may not read secrets. They name the
version that they are of, and are moved on to the next one, under the secret's etag, after that was read back: whoever
reads the version that they name, or the alias that moves with them, never sees a half.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final

from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
from ci_acme.model.secret import Secret
from ci_acme.ports import Absent, Deadline, Present, ProviderContext, Retired, StoreState, Unusable
from ci_acme.storing import Content, Refused, another_certificate, not_read_back, not_removed
from ci_acme_providers.gcp import needs, projects, secret_fields
from ci_acme_providers.gcp.config import PENDING_SUFFIX, SecretManagerSettings
from ci_acme_providers.gcp.faults import Damaged, NoReply, Refusal, Trouble, explained
from ci_acme_providers.gcp.secret_order import OrderSecret
from ci_acme_providers.gcp.secrets_api import MAX_BYTES, Secrets, Version
from ci_acme_providers.gcp.store_base import GoogleStore

_ENDED: Final = frozenset({"DISABLED", "DESTROYED"})
_HIDDEN: Final = "UNKNOWN"
_IN_BETWEEN: Final = timedelta(seconds=60)
"""For so long a version without metadata may be one that is being written."""


class SecretManagerStore(GoogleStore):
    """A `ports.CertificateStore` over Secret Manager. The version is the number of the secret's."""

    PROVIDER = "gcp-secret-manager"
    ORDERS_SETTING = "hold_orders"
    OVERTAKEN = frozenset({"FAILED_PRECONDITION", "ABORTED"})
    NEEDS: ClassVar = {
        "read": needs.SECRET_READ,
        "read the key of": needs.SECRET_ACCESS,
        "write": (*needs.SECRET_CREATE, *needs.SECRET_WRITE),
        "annotate": (*needs.SECRET_READ, "secretmanager.secrets.update"),
        "remove": (*needs.SECRET_READ, *needs.SECRET_DELETE),
        "keep the order of": (*needs.SECRET_CREATE, *needs.SECRET_WRITE),
        "read the order of": needs.SECRET_ACCESS,
        "forget the order of": needs.SECRET_DELETE,
    }

    def __init__(self, settings: SecretManagerSettings, context: ProviderContext) -> None:
        super().__init__(settings, context)
        self._settings = settings
        self.content = Content(settings, context, most=MAX_BYTES, where="a version of a secret holds")
        self._api = Secrets(self.session, settings.location)
        if settings.hold_orders:
            new = secret_fields.new(settings, context.certificate)
            self.orders = OrderSecret(self._api, lambda: f"{self._name()}{PENDING_SUFFIX}", new)

    @property
    def target(self) -> str:
        project = self.session.known_project
        return f"{project}/{self._settings.name}" if project else self._settings.name

    @property
    def resource(self) -> str:
        """The secret itself."""
        return f"the secret {self._settings.name}"

    # --- reading

    def read(self, *, deadline: Deadline) -> StoreState:
        """The secret's annotations and its version's state; never a payload."""
        with self.errors(StoreReadError, "read", deadline):
            while True:
                secret = self._api.get(self._name(), deadline)
                if secret is None:
                    return Absent()
                metadata, number = secret_fields.told(secret)
                if metadata is None:
                    return self._without_metadata(secret, deadline)
                state, lacks = self._serving(secret, number, deadline)
                if state not in _ENDED:
                    return Present(None, b"", metadata, number, lacks)
                if secret_fields.told(self._api.get(self._name(), deadline))[1] == number:  # nobody moved on meanwhile
                    return Unusable(f"version {number} of the secret is {state.lower()}")

    def _serving(self, secret: Mapping[str, Any], number: str, deadline: Deadline) -> tuple[str, str | None]:
        """The state of a version, and why readers get another one, if they do: by the alias, else as the latest."""
        alias = self._settings.alias
        if alias is not None:
            moved = (secret.get("versionAliases") or {}).get(alias) != number
            return _state(self._version(number, deadline)), f"the alias {alias}" if moved else None
        latest = self._version("latest", deadline)
        if not isinstance(latest, Version) or latest.number == number:
            return _state(latest), None
        young = latest.created is not None and deadline.clock.now() - latest.created < _IN_BETWEEN
        lacks = None if young else f"version {latest.number} without metadata is the latest"
        return _state(self._version(number, deadline)), lacks

    def _version(self, number: str, deadline: Deadline) -> Version | str | None:
        """A version; None if there is none, a word where only the secret may be read."""
        try:
            return self._api.version(self._name(), number, deadline)
        except Refusal as error:
            if error.code != 403 or error.disabled:
                raise
            return _HIDDEN

    def _without_metadata(self, secret: Mapping[str, Any], deadline: Deadline) -> StoreState:
        """A secret that was made in advance and is still empty, somebody else's, or one that a killed run left."""
        state = _state(self._version("latest", deadline))
        if state == _HIDDEN:
            return Unusable("the secret has no metadata of ci-acme, and its versions cannot be seen")
        if state == "DESTROYED":
            return Absent()
        if secret_fields.is_ours(secret):
            return Unusable("the secret has a version without metadata, as a run that was killed leaves it")
        return Unusable("the secret has a version that ci-acme did not write")

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        if not self.capabilities.returns_key:
            return None
        with self.errors(StoreReadError, "read the key of", deadline):
            seen = ""
            while True:
                metadata, number = secret_fields.told(self._api.get(self._name(), deadline))
                if metadata is None:
                    return None
                version = self._api.access(self._name(), number, deadline)
                if version is not None:
                    return self._held(version)
                if number == seen:
                    return None
                seen = number  # it may have been replaced and destroyed between the two calls

    def probe(self, *, deadline: Deadline) -> None:
        """Ask for the permissions: on the secret, or in the project if there is none yet."""
        with self.errors(StoreNotWritable, "write", deadline):
            self.content.password()
            if self._api.get(self._name(), deadline) is None:
                where = f"on the project {self.session.project()}"
                missing = projects.lacking(self.session, needs.SECRET_CREATE, deadline)
            else:
                where = f"on {self.resource}"
                wanted = [*needs.SECRET_READ, *needs.SECRET_WRITE, *self._pruning()]
                held = self._api.held(self._name(), wanted, deadline)
                missing = [name for name in wanted if name not in held]
            self.require_held(missing, where)

    # --- writing

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """A new version, unless the newest one is this bundle already; then the annotations. Returns its number."""
        with self.errors(DeliveryError, "write", deadline):
            payload = self.content.value(bundle)
            if self._api.get(self._name(), deadline) is None:
                self._api.create(self._name(), secret_fields.new(self._settings, metadata.name), deadline)
            newest = self._newest(deadline)
            if newest is not None and self._is(newest, bundle, payload):
                number = newest.number
            else:
                number = self._add(payload, newest, deadline).number
            self._point(number, metadata, deadline)
        self._prune(number, deadline)
        return number

    def _newest(self, deadline: Deadline) -> Version | None:
        """The newest version with its payload, as far as there is one and it may be read."""
        try:
            return self._api.access(self._name(), "latest", deadline)
        except Damaged:
            return None
        except Refusal as error:
            if error.code != 403 or error.disabled:
                raise
            return None

    def _add(self, payload: bytes, newest: Version | None, deadline: Deadline) -> Version:
        """Add a version and read it back; without that right, the service's comparison of the checksum has to do."""
        version = self._api.add(self._name(), payload, deadline, newest)
        try:
            back = self._api.access(self._name(), version.number, deadline)
        except Refusal as error:
            if error.code != 403 or not version.checked:
                raise
            return version
        if back is None or back.payload != Secret(payload):
            raise not_read_back()
        return version

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        with self.errors(DeliveryError, "annotate", deadline):
            secret = self._api.get(self._name(), deadline)
            present, number = secret_fields.told(secret)
            if present is None or present.sha256 != metadata.sha256:
                raise another_certificate()
            self._point(number, metadata, deadline, secret)

    def _point(
        self, number: str, metadata: Metadata, deadline: Deadline, secret: Mapping[str, Any] | None = None
    ) -> None:
        """Let annotations and alias tell of this version: one change, under the etag, and never backwards."""
        for attempt in itertools.count():
            if secret is None or attempt > 0:
                secret = self._api.get(self._name(), deadline)
            if secret is None:
                raise Refused("it was deleted meanwhile", fix="run again")
            _, other = secret_fields.told(secret)
            if other.isdigit() and int(other) > int(number):
                raise Refused("another run wrote a newer certificate meanwhile", fix="run again")
            changed = self._changed(secret, number, metadata)
            if not changed:
                return
            try:
                body = {"etag": secret.get("etag", ""), **changed}
                self._api.patch(self._name(), body, list(changed), deadline)
            except (Refusal, NoReply) as error:
                self.wait_after(error, attempt, deadline)
            else:
                return

    def _changed(self, secret: Mapping[str, Any], number: str, metadata: Metadata) -> dict[str, Any]:
        try:
            return secret_fields.change(secret, number, metadata, self._settings)
        except ValueError as error:
            raise Refused(f"the metadata do not fit: {error}", fix="use shorter names") from None

    def _pruning(self) -> Sequence[str]:
        return needs.SECRET_PRUNE if self._settings.keep_versions is not None else ()

    def _prune(self, number: str, deadline: Deadline) -> None:
        """Destroy versions that nobody needs; what cannot be is worth a warning, not a failure."""
        keep = self._settings.keep_versions
        if keep is None:
            return
        try:
            older = [v for v in self._api.versions(self._name(), deadline) if int(v.number) < int(number)]
            for version in sorted(older, key=lambda item: -int(item.number))[keep:]:
                self._api.destroy(self._name(), version.number, deadline)
        except Trouble as error:
            refused = explained(error, self._pruning(), self.resource)
            self.context.warn(f"{self.target} keeps old versions: {refused.reason}; {refused.fix}" if refused else "")

    # --- teardown

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Delete the secret, under its etag: nothing is kept for recovery, with `purge` or without."""
        del purge
        with self.errors(DeliveryError, "remove", deadline):
            self.unstage(deadline=deadline)
            for attempt in itertools.count():
                secret = self._api.get(self._name(), deadline)
                if secret is None or self._is_empty(secret, deadline):
                    return Retired.REMOVED if attempt else Retired.ABSENT
                if not secret_fields.is_ours(secret):
                    raise not_removed("it is not of ci-acme", what="the secret")
                try:
                    self._remove(secret, deadline)
                except (Refusal, NoReply) as error:
                    self.wait_after(error, attempt, deadline)
                else:
                    return Retired.REMOVED
        raise AssertionError("the loop ends by itself")

    def _is_empty(self, secret: Mapping[str, Any], deadline: Deadline) -> bool:
        """Whether it is a secret that others made, with nothing in it."""
        return not secret_fields.is_ours(secret) and isinstance(self._without_metadata(secret, deadline), Absent)

    def _remove(self, secret: Mapping[str, Any], deadline: Deadline) -> None:
        etag = str(secret.get("etag") or "")
        if not self._settings.keep_secret:
            self._api.delete(self._name(), etag, deadline)
            return
        for version in list(self._api.versions(self._name(), deadline)):
            self._api.destroy(self._name(), version.number, deadline)
        fields = secret_fields.emptied(secret, self._settings)
        self._api.patch(self._name(), {"etag": etag, **fields}, list(fields), deadline)

    def explain(self, error: Exception, verb: str) -> Refused | None:
        """A secret that is kept is emptied, which needs other permissions than to delete it."""
        if verb == "remove" and self._settings.keep_secret:
            needed = (*needs.SECRET_READ, *needs.SECRET_PRUNE, "secretmanager.secrets.update")
            return explained(error, needed, self.resource)
        return super().explain(error, verb)

    # --- helpers

    def _name(self) -> str:
        return f"{self._api.parent()}/secrets/{self._settings.name}"

    def _is(self, version: Version, bundle: Bundle, payload: bytes) -> bool:
        """Whether a version holds this bundle; PKCS#12 is salted, so that its bytes say nothing."""
        if version.payload == Secret(payload):
            return True
        return self.capabilities.returns_key and self._held(version) == bundle

    def _held(self, version: Version) -> Bundle | None:
        assert version.payload is not None
        return self.content.bundle(version.payload.reveal())


def _state(version: Version | str | None) -> str:
    """What may be known of a version; one that is not there was destroyed."""
    if isinstance(version, str):
        return version
    return "DESTROYED" if version is None else version.state
