"""The calls of S3 that a store needs, for one bucket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ci_acme.dataclass import dataclass, field
from ci_acme_providers.aws.store_base import tag_map
from ci_acme_providers.aws.store_faults import AwsFault

_MISSING: Final = frozenset({"NoSuchKey", "404"})
_MARKER: Final = frozenset({"MethodNotAllowed", "405"})
"""What S3 says to a question about the tags of a delete marker."""

Call = Callable[..., Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of an object without reading it: its ETag and the metadata it was written with."""

    tag: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Object(Head):
    """The same, with the content."""

    body: bytes = field(repr=False)


class Bucket:
    """`call` is the store's. Everything raises `AwsFault`."""

    def __init__(self, name: str, kms_key: str | None, call: Call) -> None:
        self.name = name
        self._encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
        self._call = call

    def tags(self, key: str) -> dict[str, str] | str:
        """The tags; if there is no object a text, which says what is left of it, if anything."""
        try:
            return tag_map(self._ask("get_object_tagging", key).get("TagSet"))
        except AwsFault as fault:
            if fault.code in _MARKER:
                return "deleted, and the bucket keeps earlier versions"
            if fault.code in _MISSING:
                return ""
            raise

    def head(self, key: str) -> Head | None:
        """None if there is no object."""
        try:
            answer = self._ask("head_object", key)
        except AwsFault as fault:
            if fault.code in _MISSING | _MARKER:
                return None
            raise
        return Head(_etag(answer, "s3:GetObject"), dict(answer.get("Metadata", {})))

    def get(self, key: str) -> Object | None:
        """None if there is no object."""
        try:
            answer = self._ask("get_object", key)
        except AwsFault as fault:
            if fault.code in _MISSING | _MARKER:
                return None
            raise
        return Object(_etag(answer, "s3:GetObject"), dict(answer.get("Metadata", {})), answer["Body"].read())

    def put(self, key: str, body: bytes, more: Mapping[str, Any]) -> None:
        """`more` has conditions, tags and metadata."""
        self._ask("put_object", key, Body=body, **self._encryption, **more)

    def tag(self, key: str, tags: list[dict[str, str]]) -> None:
        """Replace all tags."""
        self._ask("put_object_tagging", key, Tagging={"TagSet": tags})

    def delete(self, key: str, etag: str | None) -> bool:
        """False if the object is not the one with this ETag any more; none there is success."""
        condition = {"IfMatch": etag} if etag else {}
        try:
            self._ask("delete_object", key, **condition)
        except AwsFault as fault:
            if fault.code in {"PreconditionFailed", "ConditionalRequestConflict"}:
                return False
            if fault.code not in _MISSING:
                raise
        return True

    def purge(self, key: str) -> bool:
        """Delete every version and marker for good; whether there was any."""
        found = self._versions(key)
        for version in found:
            self._ask("delete_object", key, VersionId=version)
        return bool(found)

    def _versions(self, key: str) -> list[str]:
        found: list[str] = []
        more: dict[str, str] = {}
        while True:
            answer = self._call("list_object_versions", Bucket=self.name, Prefix=key, **more)
            for entry in [*answer.get("Versions", ()), *answer.get("DeleteMarkers", ())]:
                if entry["Key"] == key:
                    found.append(str(entry["VersionId"]))
            if not answer.get("IsTruncated"):
                return found
            more = {"KeyMarker": answer["NextKeyMarker"], "VersionIdMarker": answer["NextVersionIdMarker"]}

    def _ask(self, operation: str, key: str, **more: Any) -> Mapping[str, Any]:
        return self._call(operation, Bucket=self.name, Key=key, **more)


def _etag(answer: Mapping[str, Any], action: str) -> str:
    """Which version came. Raises `AwsFault` for an answer without: it is of a proxy, and no object."""
    if not answer.get("ETag"):
        raise AwsFault("NoETag", action, "the answer is not one of S3", fix="check endpoint, and proxies on the way")
    return str(answer["ETag"])
