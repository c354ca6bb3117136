"""The store `gcp-secret-manager`: each certificate is a version of one secret.

What is known of it stands in the secret's annotations, which everybody may read who may not read secrets. They name the
version that they are of, and are moved on to the next one, under the secret's etag, after that was read back: whoever
reads the version that they name, or the alias that moves with them, never sees a half.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

from ci_acme import shapes
from ci_acme.errors import CiAcmeError, DeliveryError, SecretError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata, PendingOrder
from ci_acme.model.secret import Secret
from ci_acme.ports import Absent, Deadline, Present, ProviderContext, Retired, StoreCapabilities, StoreState, Unusable
from ci_acme.storing import AGAIN, KeepsNoOrder, pkcs12_password
from ci_acme_providers.gcp import needs, projects, secret_fields
from ci_acme_providers.gcp import pending as orders
from ci_acme_providers.gcp.api import backoff
from ci_acme_providers.gcp.config import SecretManagerSettings
from ci_acme_providers.gcp.faults import Damaged, NoReply, Refusal, Trouble, store_fault
from ci_acme_providers.gcp.secrets_api import MAX_BYTES, Secrets, Version
from ci_acme_providers.gcp.session import GoogleSession

_ENDED: Final = frozenset({"DISABLED", "DESTROYED"})


class SecretManagerStore(KeepsNoOrder):
    """`CertificateStore` over Secret Manager."""

    PROVIDER: ClassVar[str] = "gcp-secret-manager"

    def __init__(self, settings: SecretManagerSettings, context: ProviderContext) -> None:
        self._settings = settings
        self._context = context
        self._session = GoogleSession(settings, context)
        self._api = Secrets(self._session, settings.location)

    @property
    def target(self) -> str:
        project = self._session.known_project
        return f"{project}/{self._settings.name}" if project else self._settings.name

    @property
    def capabilities(self) -> StoreCapabilities:
        """It gives the key back if the shape holds key and certificate."""
        return StoreCapabilities(
            holds_pending=self._settings.hold_orders,
            returns_key=self._settings.made.returns_bundle,
            max_bytes=MAX_BYTES,
        )

    # --- reading

    def read(self, *, deadline: Deadline) -> StoreState:
        """The secret's annotations and its version's state; never a payload."""
        with self._faults(StoreReadError, "read", needs.SECRET_READ):
            while True:
                secret = self._api.get(self._name(), deadline)
                if secret is None:
                    return Absent()
                metadata, number = secret_fields.told(secret)
                if metadata is None:
                    return self._without_metadata(secret, deadline)
                state = self._state_of(number, deadline)
                if state not in _ENDED:
                    return Present(None, b"", metadata, number)
                if secret_fields.told(self._api.get(self._name(), deadline))[1] == number:  # nobody moved on meanwhile
                    return Unusable(f"version {number} of the secret is {state.lower()}")

    def _state_of(self, number: str, deadline: Deadline) -> str:
        """The state of a version; unknown where only the secret may be read."""
        try:
            version = self._api.version(self._name(), number, deadline)
        except Refusal as error:
            if error.code != 403 or error.disabled:
                raise
            return "UNKNOWN"
        return "DESTROYED" if version is None else version.state

    def _without_metadata(self, secret: Mapping[str, Any], deadline: Deadline) -> StoreState:
        """A secret that was made in advance and is still empty, somebody else's, or one that a killed run left."""
        try:
            latest = self._api.version(self._name(), "latest", deadline)
        except Refusal as error:
            if error.code != 403 or error.disabled:
                raise
            return Unusable("the secret has no metadata of ci-acme, and its versions cannot be seen")
        if latest is None or latest.state == "DESTROYED":
            return Absent()
        if secret_fields.is_ours(secret):
            return Unusable("the secret has a version without metadata, as a run that was killed leaves it")
        return Unusable("the secret has a version that ci-acme did not write")

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        if not self.capabilities.returns_key:
            return None
        with self._faults(StoreReadError, "read the key of", needs.SECRET_ACCESS):
            seen = ""
            while True:
                metadata, number = secret_fields.told(self._api.get(self._name(), deadline))
                if metadata is None:
                    return None
                version = self._api.access(self._name(), number, deadline)
                if version is not None:
                    return self._loaded(version)
                if number == seen:
                    return None
                seen = number  # it may have been replaced and destroyed between the two calls

    def probe(self, *, deadline: Deadline) -> None:
        """Ask for the permissions: on the secret, or in the project if there is none yet."""
        self._password()
        with self._faults(StoreNotWritable, "write", needs.SECRET_WRITE):
            if self._api.get(self._name(), deadline) is None:
                where = f"the project {self._session.project()}"
                missing = projects.lacking(self._session, needs.SECRET_CREATE, deadline)
            else:
                where = f"the secret {self._settings.name}"
                wanted = [*needs.SECRET_READ, *needs.SECRET_WRITE, *self._pruning()]
                held = self._api.held(self._name(), wanted, deadline)
                missing = [name for name in wanted if name not in held]
        if missing:
            raise StoreNotWritable(
                f"cannot write {self.provider} {self.target}: {', '.join(missing)} missing",
                fix=f"grant {', '.join(missing)} on {where} to the identity that runs ci-acme "
                "(ci-acme permissions prints the role)",
                details={"provider": self.provider, "target": self.target, "missing": missing},
            )

    # --- writing

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """A new version, unless the newest one is this bundle already; then the annotations. Returns its number."""
        payload = self._payload(bundle)
        with self._faults(DeliveryError, "write", [*needs.SECRET_CREATE, *needs.SECRET_WRITE], AGAIN):
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
            raise DeliveryError(
                f"version {version.number} of {self.provider} {self.target} was read back and is not what was written",
                fix="run again; if it comes again, look at who else writes the secret",
                details={"provider": self.provider, "target": self.target},
            )
        return version

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        with self._faults(DeliveryError, "annotate", [*needs.SECRET_READ, "secretmanager.secrets.update"]):
            secret = self._api.get(self._name(), deadline)
            present, number = secret_fields.told(secret)
            if present is None or present.sha256 != metadata.sha256:
                raise DeliveryError(f"{self.provider} {self.target} holds another certificate by now", fix="run again")
            self._point(number, metadata, deadline, secret)

    def _point(
        self, number: str, metadata: Metadata, deadline: Deadline, secret: Mapping[str, Any] | None = None
    ) -> None:
        """Let annotations and alias tell of this version: one change, under the etag, and never backwards."""
        for attempt in itertools.count():
            if secret is None or attempt > 0:
                secret = self._api.get(self._name(), deadline)
            if secret is None:
                raise DeliveryError(f"{self.provider} {self.target} was deleted meanwhile", fix="run again")
            _, other = secret_fields.told(secret)
            if other.isdigit() and int(other) > int(number):
                raise DeliveryError(
                    f"another run wrote a newer certificate to {self.provider} {self.target} meanwhile", fix="run again"
                )
            changed = self._changed(secret, number, metadata)
            if not changed:
                return
            try:
                body = {"etag": secret.get("etag", ""), **changed}
                self._api.patch(self._name(), body, list(changed), deadline)
            except (Refusal, NoReply) as error:
                pause = backoff(attempt)
                if not (_overtaken(error) or error.doubtful) or deadline.remaining() <= pause:
                    raise
                deadline.clock.sleep(pause)
            else:
                return

    def _changed(self, secret: Mapping[str, Any], number: str, metadata: Metadata) -> dict[str, Any]:
        try:
            return secret_fields.change(secret, number, metadata, self._settings)
        except ValueError as error:
            raise DeliveryError(f"the metadata do not fit {self.target}: {error}", fix="use shorter names") from None

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
            fault = store_fault(DeliveryError, error, "destroy old versions", needed=self._pruning(), on=self.target)
            self._context.warn(f"{self.provider} {self.target}: {fault.message}; {fault.fix}")

    # --- teardown

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Delete the secret, under its etag: nothing is kept for recovery, with `purge` or without."""
        del purge
        with self._faults(DeliveryError, "remove", self._removing()):
            if self._settings.hold_orders:
                orders.forget(self._api, self._name(), deadline)
            for attempt in itertools.count():
                secret = self._api.get(self._name(), deadline)
                if secret is None or self._is_empty(secret, deadline):
                    return Retired.REMOVED if attempt else Retired.ABSENT
                if not secret_fields.is_ours(secret):
                    raise DeliveryError(
                        f"{self.provider} {self.target} is not of ci-acme, and is not removed",
                        fix="delete the secret by hand, if nobody needs it",
                        details={"provider": self.provider, "target": self.target},
                    )
                try:
                    self._remove(secret, deadline)
                except (Refusal, NoReply) as error:
                    pause = backoff(attempt)
                    if not (_overtaken(error) or error.doubtful) or deadline.remaining() <= pause:
                        raise
                    deadline.clock.sleep(pause)
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

    def _removing(self) -> Sequence[str]:
        kept = (*needs.SECRET_PRUNE, "secretmanager.secrets.update")
        return (*needs.SECRET_READ, *(kept if self._settings.keep_secret else needs.SECRET_DELETE))

    # --- orders under way

    def stage(self, pending: PendingOrder, *, deadline: Deadline) -> None:
        """Keep the order in a secret of its own: a version of the certificate's secret would be its `latest`."""
        with self._faults(DeliveryError, "keep an order in", [*needs.SECRET_CREATE, *needs.SECRET_WRITE]):
            orders.keep(
                self._api, self._name(), pending, secret_fields.new(self._settings, self._context.certificate), deadline
            )

    def staged(self, *, deadline: Deadline) -> PendingOrder | None:
        try:
            return orders.kept(self._api, self._name(), deadline)
        except (*Trouble, CiAcmeError):
            return None

    def unstage(self, *, deadline: Deadline) -> None:
        with self._faults(DeliveryError, "forget the order in", needs.SECRET_DELETE):
            orders.forget(self._api, self._name(), deadline)

    # --- helpers

    def _name(self) -> str:
        return f"{self._api.parent()}/secrets/{self._settings.name}"

    def _password(self) -> Secret | None:
        return pkcs12_password(self._context, self._settings.pkcs12_password)

    def _payload(self, bundle: Bundle) -> bytes:
        """The bytes of a version. Raises `DeliveryError` if they cannot be made or are too many."""
        shape = self._settings.made
        try:
            fields = shapes.render(bundle, shape, name=self._context.certificate, password=self._password())
            payload = shapes.as_one(fields, shape)
        except SecretError as error:
            raise DeliveryError(f"{self.target} cannot be written: {error.message}", fix=error.fix + AGAIN) from error
        except ValueError:
            raise DeliveryError(
                f"the shape for {self.target} cannot be made of the key and chain", fix="choose another shape" + AGAIN
            ) from None  # its text and its frames are about the key
        if len(payload) > MAX_BYTES:
            raise DeliveryError(
                f"{len(payload)} bytes do not fit a version of {self.target}, which takes {MAX_BYTES}",
                fix="use a key of ec-p256, fewer names, or a shape that holds the chain once" + AGAIN,
            )
        return payload

    def _is(self, version: Version, bundle: Bundle, payload: bytes) -> bool:
        """Whether a version holds this bundle; PKCS#12 is salted, so that its bytes say nothing."""
        if version.payload == Secret(payload):
            return True
        return self.capabilities.returns_key and self._loaded(version) == bundle

    def _loaded(self, version: Version) -> Bundle | None:
        shape = self._settings.made
        assert version.payload is not None
        try:
            return shapes.load(shapes.fields_of(version.payload.reveal(), shape), shape, self._password())
        except (ValueError, RecursionError):
            return None

    @contextmanager
    def _faults(self, kind: type[CiAcmeError], verb: str, needed: Sequence[str], again: str = "") -> Generator[None]:
        """Turn what Google says into the port's error."""
        try:
            yield
        except Trouble as error:
            doing = f"{verb} {self.provider} {self.target}"
            raise store_fault(
                kind, error, doing, needed=needed, on=f"the secret {self._settings.name}", again=again
            ) from None


def _overtaken(error: Exception) -> bool:
    """Whether a change was refused since another came first."""
    return isinstance(error, Refusal) and (
        error.status in {"FAILED_PRECONDITION", "ABORTED"} or error.code in {409, 412}
    )
