"""The `file` store: one directory for each certificate, replaced as one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ci_acme.errors import ConfigError, DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata, PendingOrder
from ci_acme.model.secret import Secret
from ci_acme.ports import Absent, Deadline, Present, ProviderContext, Retired, StoreCapabilities, StoreState
from ci_acme.storing import Refused, Store, another_certificate, not_removed, pkcs12_password
from ci_acme_providers.files import contents, faults, pem
from ci_acme_providers.files import pending as orders
from ci_acme_providers.files.disk import (
    Access,
    Snapshot,
    access_of,
    create_file,
    make_directory,
    remove_quietly,
    snapshot,
    sync_directory,
)
from ci_acme_providers.files.lock import LockTimeout, exclusive
from ci_acme_providers.files.slot import Slot

if TYPE_CHECKING:
    from ci_acme_providers.files.config import FileSettings  # pydantic, which the caller has loaded or does not need

_T = TypeVar("_T")
_READ_ATTEMPTS: Final = 100
"""How often a reader may be overtaken by a writer, each time by a whole new generation."""

_UNLOCKED_AGE: Final = 3600.0
"""Seconds after which a temporary name is a dead run's, where the file system has no locks to tell."""


class FileStore(Store):
    """A `ports.CertificateStore` on a file system; `directory/NAME/` may be a symlink to a directory.

    Beside the target, temporary names of the pattern `.NAME.…` exist while something is written. The directory and
    its files keep the owner and the directory's mode that an operator gave them.
    """

    PROVIDER = "file"

    def __init__(self, settings: FileSettings, context: ProviderContext) -> None:
        super().__init__(context)
        name = context.certificate
        separators = {"/", "\\", "\0", os.sep}
        if not name or name.startswith(".") or separators & set(name) or (os.name == "nt" and ":" in name):
            raise ConfigError(
                f"the certificate name {name!r} cannot be the name of a directory",
                fix="give the certificate a name of letters, digits, '-', '_' and inner dots",
            )
        self._settings = settings
        self._link = Path(settings.directory) / name

    @property
    def capabilities(self) -> StoreCapabilities:
        """It holds orders under way and gives keys back."""
        return StoreCapabilities(holds_pending=True, returns_key=True)

    @property
    def target(self) -> str:
        """`certs/preview`."""
        return self._link.as_posix()

    def read(self, *, deadline: Deadline) -> StoreState:
        """What is there; the bytes of the key are read only if somebody has changed them since they were written."""
        with self.errors(StoreReadError, "read", deadline):
            return self._observe(self._judge, deadline) or Absent()

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        """Key and chain of one generation; None if there is no usable one."""
        with self.errors(StoreReadError, "read", deadline):
            return self._observe(contents.load_bundle, deadline)

    def probe(self, *, deadline: Deadline) -> None:
        """Write and fsync as much as a bundle takes, and remove it. A missing `directory` is made, and stays."""
        self._password()
        with self.errors(StoreNotWritable, "write", deadline), self._writing(deadline) as (target, slot):
            new = slot.prepare()
            try:
                orders.occupy(new)
                sync_directory(new)
                target.rehearse(new)
            finally:
                slot.discard(new)

    def stage(self, pending: PendingOrder, *, deadline: Deadline) -> None:
        """Keep an order in `.NAME.pending/`, with room for the bundle."""
        with self.errors(DeliveryError, "keep the order of", deadline), self._writing(deadline) as (_, slot):
            if slot.path.is_symlink() or slot.path.is_file():
                slot.path.unlink()
            self._replace(slot, lambda new: orders.write(new, pending), lambda _: None)

    def staged(self, *, deadline: Deadline) -> PendingOrder | None:
        """What `stage` kept, by this user."""
        _, slot = self._slots()
        try:
            if slot.interrupted():
                with self._writing(deadline):
                    slot.recover()
            with snapshot(slot.path, follow=False) as generation:
                return orders.load(generation)
        except (OSError, LockTimeout):
            return None

    def unstage(self, *, deadline: Deadline) -> None:
        """Forget the order, and whatever runs that were killed left here."""
        target, slot = self._slots()
        with self.errors(DeliveryError, "forget the order of", deadline):
            if not (os.path.lexists(slot.path) or slot.leftovers() or target.leftovers()):
                return
            with self._writing(deadline):
                remove_quietly(slot.path / orders.ORDER)  # first: without it there is nothing to resume
                slot.discard(slot.path)
                sync_directory(slot.path.parent)
            if os.path.lexists(slot.path):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(slot.path))

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """Replace the directory by one with this bundle; the version is the certificate's SHA-256."""
        with self.errors(DeliveryError, "write", deadline):
            files = self._files(bundle, metadata)
            self._release_room()
            with self._writing(deadline) as (target, _):
                self._replace(
                    target,
                    lambda new: contents.write_generation(new, files, target.path),
                    lambda path: contents.verify(path, files),
                )
        return pem.fingerprint(bundle.certificate)

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        """Replace metadata.json, if the certificate that it speaks of is still there."""
        with self.errors(DeliveryError, "annotate", deadline), self._writing(deadline) as (target, _):
            with snapshot(target.path) as generation:
                state = self._judge(generation)
                if not isinstance(state, Present) or state.version != metadata.sha256:
                    raise another_certificate()
            final = target.path / contents.METADATA
            new = target.temporary()
            try:
                create_file(new, contents.metadata_text(metadata), access_of(final) or Access(0o644))
                new.replace(final)
            except BaseException:
                remove_quietly(new)
                raise
            sync_directory(target.path)

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Remove the directory; files that a user put there stay, alone. What is staged goes first."""
        del purge  # nothing is kept for recovery
        with self.errors(DeliveryError, "remove", deadline):
            if not os.path.lexists(self._link) and not os.path.lexists(self._slots()[0].path.parent):
                return Retired.ABSENT
            self.unstage(deadline=deadline)
            with self._writing(deadline) as (target, _):
                if not os.path.lexists(target.path):
                    return Retired.ABSENT
                found = {entry.name for entry in target.path.iterdir()} & contents.OURS
                if not found:
                    return Retired.ABSENT
                if found != {contents.METADATA} and not contents.is_ours(target.path):
                    raise not_removed("it holds files that ci-acme did not write", what="the directory")
                contents.remove(target.path)
                sync_directory(target.path.parent)
        return Retired.REMOVED

    # --- reading -------------------------------------------------------------------------------------------------

    def _judge(self, generation: Snapshot) -> StoreState:
        return contents.judge(generation, pkcs12="pkcs12" in self._settings.formats)

    def _observe(self, look: Callable[[Snapshot], _T], deadline: Deadline) -> _T | None:
        """Look at one generation, whole; None if there is none. Finishes what a killed run had begun to replace."""
        target, _ = self._slots()
        for _ in range(_READ_ATTEMPTS):
            if target.interrupted():
                with self._writing(deadline):
                    target.recover()
            try:
                with snapshot(target.path) as generation:
                    seen = look(generation)
                    if generation.current():
                        return seen
            except FileNotFoundError:
                if not os.path.lexists(target.path) and not target.interrupted():
                    return None
        raise OSError(errno.EBUSY, "it is being replaced all the time", self.target)

    # --- writing -------------------------------------------------------------------------------------------------

    def _slots(self) -> tuple[Slot, Slot]:
        """The target, where a symlink leads, and the place for an order under way beside it."""
        path = Path(os.path.realpath(self._link))
        aside = path.with_name(f".{path.name}.pending")
        return Slot(path, f".{path.name}.", contents.OURS), Slot(aside, f"{aside.name}-", None)

    @contextmanager
    def _writing(self, deadline: Deadline) -> Generator[tuple[Slot, Slot]]:
        """Be the only writer of the target, in order: nothing interrupted, nothing left over."""
        target, slot = self._slots()
        make_directory(target.path.parent)
        with exclusive(target.path.with_name(f".{target.path.name}.lock"), deadline) as locked:
            target.check_is_directory()
            for each in (target, slot):
                each.recover()
                for path in each.leftovers():
                    if locked or self._is_old(path):
                        each.discard(path)
            yield target, slot

    def _is_old(self, path: Path) -> bool:
        try:
            return path.lstat().st_mtime < self.context.clock.now().timestamp() - _UNLOCKED_AGE
        except OSError:
            return False

    def _replace(self, slot: Slot, fill: Callable[[Path], None], verify: Callable[[Path], None]) -> None:
        """Fill a new generation, check it, put it in place, check again, and remove the old one."""
        new = slot.prepare()
        try:
            fill(new)
            verify(new)
            old = slot.install(new)
        except BaseException:
            slot.discard(new)
            raise
        try:
            sync_directory(slot.path.parent)
            verify(slot.path)
        except BaseException:
            slot.discard(slot.restore(old))
            raise
        if old is not None:
            slot.discard(old)

    def _release_room(self) -> None:
        """Give the reserved bytes back, through no symlink."""
        _, slot = self._slots()
        try:
            with snapshot(slot.path, follow=False) as generation:
                generation.remove(orders.ROOM)
        except OSError:
            return  # there is none

    def _files(self, bundle: Bundle, metadata: Metadata) -> dict[str, bytes]:
        """The bytes of every file of a generation. Raises `Refused` and `SecretError` if bundle.p12 cannot be made."""
        public = {
            contents.CERTIFICATE: bundle.certificate,
            contents.CHAIN: bundle.chain,
            contents.FULLCHAIN: bundle.fullchain,
            contents.METADATA: contents.metadata_text(metadata),
        }
        private = {contents.KEY: bundle.key.reveal()}  # first: what is younger than the certificate was changed
        if "pkcs12" not in self._settings.formats:
            return private | public
        from ci_acme import pkcs12  # cryptography

        try:
            private[contents.PKCS12] = pkcs12.make(bundle, self.context.certificate, self._password())
        except ValueError:
            raise Refused(
                f"{contents.PKCS12} cannot be made of the key and chain", fix="remove 'pkcs12' from the store's formats"
            ) from None  # its text and its frames are about the key
        return private | public

    def _password(self) -> Secret | None:
        """The password of bundle.p12; None for the empty one. Raises `SecretError`."""
        reference = self._settings.pkcs12_password
        if reference is None or "pkcs12" not in self._settings.formats:
            return None
        return pkcs12_password(self.context, reference)

    def explain(self, error: Exception, verb: str) -> Refused | None:
        """What the system says."""
        if isinstance(error, LockTimeout):
            return Refused(f"another process holds {error}", fix="wait until it has finished, or stop it")
        if not isinstance(error, OSError):
            return None
        advise = faults.read_fix if verb == "read" else faults.fix
        return Refused(faults.reason(error), fix=advise(error, self._link), details=faults.details(error))
