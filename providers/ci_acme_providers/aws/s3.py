"""The `aws-s3` store: one object, replaced as one, under a condition, together with its tags.

The metadata are the object's tags, which a right of their own lets read (`s3:GetObjectTagging`). The certificate's
SHA-256 is in the object's user metadata, too, which nobody can change without replacing the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from ci_acme.dataclass import dataclass
from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
from ci_acme.model.tags import MANAGED, foreign, from_tags, to_tags
from ci_acme.ports import (
    Absent,
    Deadline,
    Present,
    ProviderContext,
    Retired,
    StoreState,
    Unusable,
)
from ci_acme.storing import OTHER_SHAPE, Content, Refused, another_certificate, not_removed
from ci_acme_providers.aws import store_tags
from ci_acme_providers.aws.s3_objects import Bucket, Head
from ci_acme_providers.aws.s3_order import OrderObject
from ci_acme_providers.aws.store_base import (
    AwsStore,
    rounds,
    tag_list,
)
from ci_acme_providers.aws.store_config import ORDER_SUFFIX, S3Settings
from ci_acme_providers.aws.store_faults import AwsFault

_MARK: Final = "ci-acme-certificate"
_LIMIT: Final = 10
"""Tags of an object (API reference, PutObjectTagging)."""

_MOST: Final = 7
"""Ours beside the shape's: they travel in a header, and headers have 8 KB."""

_NEEDED: Final = 6


@dataclass(frozen=True, slots=True)
class _Seen:
    """An object without its content. `head` is None where we may not ask for it."""

    tags: Mapping[str, str]
    head: Head | None

    @property
    def metadata(self) -> Metadata | None:
        """What its tags say, if they are of this object."""
        found = from_tags(self.tags)
        if found is None or (self.head is not None and self.head.metadata.get(_MARK) != found.sha256):
            return None
        return found


class S3Store(AwsStore):
    """A `ports.CertificateStore` in one object. The version is the certificate's SHA-256."""

    PROVIDER = "aws-s3"
    SERVICE = "s3"
    ORDERS_SETTING = "keep_order"

    def __init__(self, settings: S3Settings, context: ProviderContext) -> None:
        super().__init__(settings, context)
        self._settings = settings
        self.content = Content(settings, context)
        self._key = settings.key or f"ci-acme/{context.certificate}"
        self._bucket = Bucket(settings.bucket, settings.kms_key, self._call)
        if settings.keep_order:
            self.orders = OrderObject(self._bucket, self._key + ORDER_SUFFIX, context.warn)

    @property
    def target(self) -> str:
        """`bucket/key`."""
        return f"{self._settings.bucket}/{self._key}"

    def read(self, *, deadline: Deadline) -> StoreState:
        """What the tags say; the object is not read, and the right to read it is not needed."""
        with self.errors(StoreReadError, "read", deadline):
            seen = self._look(deadline)
            if not isinstance(seen, _Seen):
                return seen
            if seen.metadata is None:
                return Unusable("its object was not written by ci-acme")
            same = seen.tags.get(store_tags.SHAPE) == store_tags.shape_name(self.content.shape)
            lacks = None if same else OTHER_SHAPE
            return Present(None, b"", seen.metadata, seen.metadata.sha256, lacks)

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        """Key and chain, in whatever shape they were written."""
        with self.errors(StoreReadError, "read", deadline):
            for _ in rounds(deadline, "s3:GetObject"):
                seen = self._look(deadline)
                if not isinstance(seen, _Seen):
                    return None
                found = self._bucket.get(self._key)
                if found is not None and (seen.head is None or found.tag == seen.head.tag):
                    shape = store_tags.shape_named(seen.tags.get(store_tags.SHAPE)) or self.content.shape
                    return self.content.bundle(found.body, shape)
        raise AssertionError("rounds() ends by raising")

    def probe(self, *, deadline: Deadline) -> None:
        """Ask for the right to write by a write whose condition cannot hold."""
        with self.errors(StoreNotWritable, "write", deadline):
            self.content.password()
            seen = self._look(deadline)
            if isinstance(seen, _Seen):
                self._require_room(seen)
            tagging = urlencode({MANAGED: self.context.certificate})
            try:
                self._bucket.put(self._key, b"", {"IfMatch": '"ci-acme-asks"', "Tagging": tagging})
            except AwsFault as fault:
                if fault.code not in {"PreconditionFailed", "NoSuchKey", "ConditionalRequestConflict", "404"}:
                    raise

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """Replace the object that was seen, or make it, and read it back; the same content again writes nothing."""
        with self.errors(DeliveryError, "write", deadline):
            value = self.content.value(bundle)
            for _ in rounds(deadline, "s3:PutObject"):
                seen = self._look(deadline)
                if isinstance(seen, _Seen) and self._holds(seen, metadata):
                    self._describe(seen, metadata)
                    return metadata.sha256
                if self._put(value, metadata, seen) and self._reads_back(value, metadata):
                    return metadata.sha256
        raise AssertionError("rounds() ends by raising")

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        """Replace the tags, if the object still holds the certificate that they speak of."""
        with self.errors(DeliveryError, "annotate", deadline):
            seen = self._look(deadline)
            if not isinstance(seen, _Seen) or seen.metadata is None or seen.metadata.sha256 != metadata.sha256:
                raise another_certificate()
            self._describe(seen, metadata)

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Delete the object; with `purge`, and in a bucket with versions, all its versions."""
        with self.errors(DeliveryError, "remove", deadline):
            self.unstage(deadline=deadline)
            for _ in rounds(deadline, "s3:DeleteObject"):
                seen = self._look(deadline)
                if not isinstance(seen, _Seen):
                    gone = purge and self._bucket.purge(self._key)
                    return Retired.REMOVED if gone else Retired.ABSENT
                if seen.metadata is None:
                    raise not_removed("it holds an object that ci-acme did not write", what="the object")
                if self._bucket.delete(self._key, seen.head.tag if seen.head else None):
                    if purge:
                        self._bucket.purge(self._key)
                    return Retired.REMOVED
        raise AssertionError("rounds() ends by raising")

    # --- steps

    def _look(self, deadline: Deadline) -> _Seen | Absent:
        """The object with its own tags: a writer may come in between the two calls that this takes."""
        before: str | None = None
        for _ in rounds(deadline, "s3:GetObjectTagging"):
            tags = self._bucket.tags(self._key)
            if isinstance(tags, str):
                return Absent(tags or None)
            head = self._head()
            seen = _Seen(tags, head)
            if head is None or seen.metadata is not None or head.tag == before:
                return seen
            before = head.tag
        raise AssertionError("rounds() ends by raising")

    def _head(self) -> Head | None:
        try:
            return self._bucket.head(self._key)
        except AwsFault as fault:
            if fault.denied:
                return None
            raise

    def _holds(self, seen: _Seen, metadata: Metadata) -> bool:
        same = seen.tags.get(store_tags.SHAPE) == store_tags.shape_name(self.content.shape)
        return same and seen.metadata is not None and seen.metadata.sha256 == metadata.sha256

    def _put(self, value: bytes, metadata: Metadata, seen: _Seen | Absent) -> bool:
        """Whether it was written: under the condition that nobody else has written since."""
        kept: Mapping[str, str] = {}
        condition: dict[str, str] = {"IfNoneMatch": "*"}
        if isinstance(seen, _Seen):
            head = seen.head or self._bucket.head(self._key)
            if head is None:
                return False
            condition, kept = {"IfMatch": head.tag}, foreign(seen.tags)
        more = {
            **condition,
            "Tagging": urlencode(self._tags(metadata, kept)),
            "Metadata": {_MARK: metadata.sha256},
        }
        try:
            self._bucket.put(self._key, value, more)
        except AwsFault as fault:
            if fault.code in {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "404"}:
                return False  # somebody else was faster, or our own answer was lost: look again
            raise
        return True

    def _reads_back(self, value: bytes, metadata: Metadata) -> bool:
        """Whether it is there; somebody else may have replaced it meanwhile."""
        found = self._bucket.get(self._key)
        if found is None or found.metadata.get(_MARK) != metadata.sha256:
            raise Refused("another run wrote it at the same time", fix="run again")
        if found.body != value:
            raise AwsFault("Mismatch", "s3:GetObject", "what is read back is not what was written")
        return True

    def _describe(self, seen: _Seen, metadata: Metadata) -> None:
        """Replace the tags of this very object."""
        tags = self._tags(metadata, foreign(seen.tags))
        tags[store_tags.SHAPE] = seen.tags.get(store_tags.SHAPE, tags[store_tags.SHAPE])
        if tags == seen.tags:
            return
        self._bucket.tag(self._key, tag_list(tags))
        head = self._head()
        if seen.head is not None and head is not None and head.tag != seen.head.tag:
            raise Refused("it was replaced meanwhile", fix="run again")

    def _tags(self, metadata: Metadata, kept: Mapping[str, str]) -> dict[str, str]:
        most = min(_MOST, _LIMIT - 1 - len(kept))
        try:
            tags = to_tags(metadata, most=most, date=False)
        except ValueError:
            text = f"the metadata do not fit beside {len(kept)} tags of your own"
            raise Refused(text, fix="remove tags of your own from the object") from None
        return {**kept, **tags, store_tags.SHAPE: store_tags.shape_name(self.content.shape)}

    def _require_room(self, seen: _Seen) -> None:
        own = len(foreign(seen.tags))
        if own + _NEEDED > _LIMIT:
            raise Refused(
                f"it has {own} tags of your own, ci-acme needs {_NEEDED}, and S3 takes {_LIMIT}",
                fix="remove tags of your own from the object",
            )
