"""The store `gcp-certificate-manager`: a self-managed certificate for load balancers, updated in place.

Certificate, key and labels go in one request, so that no half is ever served. The service gives the chain back and
never the key; what is known of the certificate stands in its labels.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
from ci_acme.model.tags import MANAGED, foreign, from_tags, stale, to_tags
from ci_acme.ports import Absent, Deadline, Present, ProviderContext, Retired, StoreCapabilities, StoreState, Unusable
from ci_acme.shapes import fingerprint, pem_blocks
from ci_acme.storing import Refused, another_certificate, not_read_back, not_removed
from ci_acme_providers.gcp import needs, projects
from ci_acme_providers.gcp.api import Call, rest
from ci_acme_providers.gcp.config import CertificateManagerSettings
from ci_acme_providers.gcp.faults import NoReply, Refusal
from ci_acme_providers.gcp.store_base import GoogleStore

_LABEL: Final = 63
_LABELS: Final = 64
"""Labels of a resource at most, and the length of their values."""
_POLL: Final = (0.2, 3.0)


class CertificateManagerStore(GoogleStore):
    """A `ports.CertificateStore` over Certificate Manager. The version is the certificate's SHA-256."""

    PROVIDER = "gcp-certificate-manager"
    OVERTAKEN = frozenset({"ABORTED", "ALREADY_EXISTS"})
    NEEDS: ClassVar = {
        "read": needs.CERTIFICATE_READ,
        "write": needs.CERTIFICATE_WRITE,
        "annotate": needs.CERTIFICATE_WRITE,
        "remove": (*needs.CERTIFICATE_READ, *needs.CERTIFICATE_DELETE),
    }

    def __init__(self, settings: CertificateManagerSettings, context: ProviderContext) -> None:
        super().__init__(settings, context)
        self._settings = settings
        self._api = rest(self.session, lambda: f"{self.session.endpoint('certificatemanager')}/v1")

    @property
    def target(self) -> str:
        where = f"{self._settings.location}/{self._settings.name}"
        project = self.session.known_project
        return f"{project}/{where}" if project else where

    @property
    def resource(self) -> str:
        """Certificates have no policy of their own."""
        return f"the project {self.session.known_project or ''}".rstrip()

    @property
    def capabilities(self) -> StoreCapabilities:
        """Certificate Manager never gives a key back."""
        return StoreCapabilities(holds_pending=False, returns_key=False)

    # --- reading

    def read(self, *, deadline: Deadline) -> StoreState:
        with self.errors(StoreReadError, "read", deadline):
            found = self._get(deadline)
        if found is None:
            return Absent()
        if "selfManaged" not in found and not found.get("pemCertificate"):
            return Unusable("the certificate is managed by Google")
        leaf, chain = _split(found)
        if leaf is None:
            return Unusable("the certificate has no PEM text")
        sha256 = fingerprint(leaf)
        metadata = from_tags(found.get("labels") or {})
        return Present(leaf, chain, metadata if metadata is not None and metadata.sha256 == sha256 else None, sha256)

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        del deadline
        return None

    def probe(self, *, deadline: Deadline) -> None:
        """Ask for the permissions in the project, and compare what cannot be changed later."""
        with self.errors(StoreNotWritable, "write", deadline):
            found = self._get(deadline)
            if found is not None:
                self._check_fixed(found)
            wanted = [*needs.CERTIFICATE_READ, *needs.CERTIFICATE_WRITE]
            self.require_held(projects.lacking(self.session, wanted, deadline), "in the project")

    # --- writing

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """Create or update in one request, wait for the operation, and compare. Returns the certificate's SHA-256."""
        with self.errors(DeliveryError, "write", deadline):
            for attempt in itertools.count():
                found = self._get(deadline)
                if found is not None:
                    self._check_fixed(found)
                    if _holds(found, bundle) and from_tags(found.get("labels") or {}) == metadata:
                        return fingerprint(bundle.certificate)
                try:
                    self._finish(self._write(found, bundle, metadata, deadline), deadline)
                except (Refusal, NoReply) as error:
                    self.wait_after(error, attempt, deadline)
                else:
                    break
            found = self._get(deadline)
            if found is None or not _holds(found, bundle):
                raise not_read_back()
        return fingerprint(bundle.certificate)

    def _write(
        self, found: Mapping[str, Any] | None, bundle: Bundle, metadata: Metadata, deadline: Deadline
    ) -> Mapping[str, Any]:
        """The operation of a request that creates or updates."""
        body: dict[str, Any] = {
            "labels": self._labels(found, metadata),
            "selfManaged": {
                "pemCertificate": bundle.fullchain.decode("ascii"),
                "pemPrivateKey": bundle.key.reveal().decode("ascii"),
            },
        }
        if found is not None:
            call = Call("PATCH", self._name(), {"updateMask": "selfManaged,labels"}, body)
        else:
            parent, identifier = self._name().rsplit("/certificates/", 1)
            body |= {"scope": self._settings.scope, "description": f"ci-acme: {metadata.name}"}
            call = Call("POST", f"{parent}/certificates", {"certificateId": identifier}, body)
        made: Mapping[str, Any] = self._api.call(call, deadline=deadline, repeat=False)
        return made

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        with self.errors(DeliveryError, "annotate", deadline):
            for attempt in itertools.count():
                found = self._get(deadline)
                leaf = None if found is None else _split(found)[0]
                if found is None or leaf is None or fingerprint(leaf) != metadata.sha256:
                    raise another_certificate()
                labels = self._labels(found, metadata)
                if labels == (found.get("labels") or {}):
                    return
                try:
                    call = Call("PATCH", self._name(), {"updateMask": "labels"}, {"labels": labels})
                    self._finish(self._api.call(call, deadline=deadline, repeat=False), deadline)
                except (Refusal, NoReply) as error:
                    self.wait_after(error, attempt, deadline)
                else:
                    return

    def _labels(self, found: Mapping[str, Any] | None, metadata: Metadata) -> dict[str, str]:
        """Labels of users stay; ours are as short as Google's have to be."""
        kept = foreign((found or {}).get("labels") or {}) | self._settings.labels
        try:
            ours = to_tags(metadata, length=_LABEL, most=_LABELS - len(kept), lower=True)
        except ValueError as error:
            raise Refused(f"the metadata do not fit its labels: {error}", fix="use fewer labels of your own") from None
        assert not set(stale(kept, ours))
        return kept | {key: re.sub(r"[^a-z0-9_-]", "-", value.lower()) for key, value in ours.items()}

    # --- teardown

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Delete the certificate; one that something uses cannot be, and the error names what does."""
        del purge  # nothing is kept for recovery
        with self.errors(DeliveryError, "remove", deadline):
            for attempt in itertools.count():
                found = self._get(deadline)
                if found is None:
                    return Retired.REMOVED if attempt else Retired.ABSENT
                self._check_removable(found)
                try:
                    self._finish(self._api.call(Call("DELETE", self._name()), deadline=deadline), deadline)
                except (Refusal, NoReply) as error:
                    if isinstance(error, Refusal) and error.missing:
                        return Retired.REMOVED
                    self.wait_after(error, attempt, deadline)
                else:
                    return Retired.REMOVED
        raise AssertionError("the loop ends by itself")

    def _check_removable(self, found: Mapping[str, Any]) -> None:
        if MANAGED not in (found.get("labels") or {}):
            raise not_removed("it is not of ci-acme", what="the certificate")
        users = [str(user.get("name")) for user in found.get("usedBy") or ()]
        if users:
            raise Refused(
                f"it is in use by {', '.join(users[:3])}{' and more' if users[3:] else ''}",
                fix="detach it from what uses it (map entry, target proxy), and run retire again",
                details={"used_by": users},
            )

    # --- operations

    def _finish(self, operation: Mapping[str, Any], deadline: Deadline) -> None:
        """Wait for a long-running operation. Raises `Refusal` for its error, `NoReply` at the deadline."""
        pause, most = _POLL
        while not operation.get("done"):
            if deadline.remaining() <= pause:
                raise NoReply("the operation did not end in time")
            deadline.clock.sleep(pause)
            pause = min(pause * 1.5, most)
            operation = self._api.call(Call("GET", str(operation.get("name"))), deadline=deadline)
        error = operation.get("error")
        if error:
            code, status = _CODES.get(error.get("code"), (500, "UNKNOWN"))
            raise Refusal(code, {"error": {"status": status, "message": error.get("message")}})

    # --- helpers

    def _name(self) -> str:
        where = f"projects/{self.session.project()}/locations/{self._settings.location}"
        return f"{where}/certificates/{self._settings.name}"

    def _get(self, deadline: Deadline) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = self._api.call(Call("GET", self._name()), deadline=deadline)
        except Refusal as error:
            if error.missing:
                return None
            raise
        return found

    def _check_fixed(self, found: Mapping[str, Any]) -> None:
        """What cannot be changed in place: the scope, and who manages it. Raises `Refused`."""
        scope = found.get("scope") or "DEFAULT"
        if scope != self._settings.scope:
            raise Refused(
                f"it has the scope {scope} for good, and not {self._settings.scope}",
                fix=f"write scope: {scope}, or give the certificate another name",
            )
        if found.get("managed") or found.get("managedIdentity"):
            raise Refused("it is managed by Google and takes no certificate", fix="give the certificate another name")


_CODES: Final[Mapping[Any, tuple[int, str]]] = {
    3: (400, "INVALID_ARGUMENT"),
    5: (404, "NOT_FOUND"),
    6: (409, "ALREADY_EXISTS"),
    7: (403, "PERMISSION_DENIED"),
    8: (400, "RESOURCE_EXHAUSTED"),
    9: (400, "FAILED_PRECONDITION"),
    10: (409, "ABORTED"),
}
"""google.rpc.Code, as operations have it, in HTTP's words."""


def _split(found: Mapping[str, Any]) -> tuple[bytes | None, bytes]:
    """The leaf and the rest of the chain."""
    blocks = list(pem_blocks(str(found.get("pemCertificate") or "").encode(), "CERTIFICATE"))
    return (blocks[0], b"".join(blocks[1:])) if blocks else (None, b"")


def _holds(found: Mapping[str, Any], bundle: Bundle) -> bool:
    leaf, chain = _split(found)
    return leaf is not None and (leaf + chain).split() == bundle.fullchain.split()
