"""State in object storage: S3, Google Cloud Storage, Azure Blob Storage, by conditional writes.

A key is an object, and its tag (ETag or generation) is the version. Each object holds the id of its write, so that a
write whose reply was lost is recognised, and so that a tag made of the content (S3) never comes back. Streams are in
`chains`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ci_acme.errors import ConfigError, StateError, StateUnavailable
from ci_acme.ports import Clock
from ci_acme.state import engine as states
from ci_acme.state.chains import PART_SIZE, Chains
from ci_acme.state.clouds.bucket import ABSENT, Bucket, Cloud, Condition, Refused
from ci_acme.state.engine import Conflict, Entry, Expect, Record, Version
from ci_acme.state.segments import decode_name, encode_name, new_id, pack_value, unpack_value
from ci_acme.wire import Wire


class ObjectEngine:
    """An `Engine` under a prefix of a bucket. `time` is the service's, to the second."""

    def __init__(self, bucket: Bucket, prefix: str, *, clock: Clock, part_size: int = PART_SIZE) -> None:
        self._bucket = bucket
        self._root = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._chains = Chains(bucket, f"{self._root}s/", clock=clock, part_size=part_size)

    @property
    def where(self) -> str:
        """`s3://bucket/prefix`."""
        return f"{self._bucket.where}/{self._root}".rstrip("/")

    def check(self) -> None:
        """One request: writing a mark that is there already is refused, unless writing is not allowed at all.

        Whoever makes the mark tries out whether the service keeps conditions. Some that speak S3's protocol do not.
        """
        name = f"{self._root}check"
        try:
            first = self._bucket.put(name, pack_value(b"", new_id()), ABSENT)
        except Refused:
            return
        try:
            second = self._put("check", name, b"", first)
            self._must_refuse(name, ABSENT)
            self._must_refuse(name, first)
            self._must_keep(name, first, second)
        except (StateError, Conflict):
            with contextlib.suppress(StateError):
                self._bucket.delete(name, None)
            raise

    def time(self) -> float:
        """The `Date` of an answer: whole seconds."""
        return self._bucket.time(f"{self._root}check")

    def read(self, key: str) -> Entry | None:
        found = self._bucket.get(self._key(key))
        return None if found is None else Entry(self._unpacked(self._key(key), found.body)[0], found.tag)

    def write(self, key: str, value: bytes, *, expect: Version | Expect) -> Version:
        condition: Condition = expect if isinstance(expect, str) else ABSENT if expect is states.ABSENT else None
        return self._put(key, self._key(key), value, condition)

    def delete(self, key: str, *, expect: Version | Expect) -> None:
        name = self._key(key)
        try:
            if expect is not states.ABSENT:
                return self._bucket.delete(name, expect if isinstance(expect, str) else None)
        except Refused as refused:
            self._certain(refused, key)
        found = self._bucket.get(name)
        if found is not None or expect is not states.ABSENT:
            raise Conflict(key, None if found is None else found.tag)
        return None

    def list(self, prefix: str) -> Sequence[str]:
        root = f"{self._root}k/"
        return sorted(decode_name(item.name[len(root) :]) for item in self._bucket.list(root + encode_name(prefix)))

    def append(self, stream: str, value: bytes, *, expect_last: int | None = None) -> int:
        return self._chains.append(stream, value, expect_last=expect_last)

    def records(self, stream: str, *, after: int = 0) -> Sequence[Record]:
        return self._chains.records(stream, after=after)

    def streams(self, prefix: str) -> Sequence[str]:
        return self._chains.streams(prefix)

    def drop(self, stream: str, *, expect_last: int) -> None:
        self._chains.drop(stream, expect_last=expect_last)

    def close(self) -> None:
        self._chains.forget()
        self._bucket.close()

    def _put(self, key: str, name: str, value: bytes, condition: Condition) -> Version:
        write = new_id()
        try:
            return self._bucket.put(name, pack_value(value, write), condition)
        except Refused as refused:
            found = self._bucket.get(name)
            if found is not None and self._unpacked(name, found.body)[1] == write:
                return found.tag  # the reply of an earlier try was lost
            self._certain(refused, key)
            raise Conflict(key, None if found is None else found.tag) from None

    def _key(self, key: str) -> str:
        return f"{self._root}k/{encode_name(key)}"

    def _unpacked(self, name: str, body: bytes) -> tuple[bytes, str]:
        return unpack_value(body, f"{self._bucket.where}/{name}")

    def _certain(self, refused: Refused, key: str) -> None:
        """Raise `StateUnavailable` if nobody can know whether our change was made before that of somebody else."""
        if refused.lost:
            raise StateUnavailable(
                f"{self.where} gave no answer whether {key} was written, and others wrote it since", fix="run again"
            )

    def _must_refuse(self, name: str, condition: Condition) -> None:
        try:
            self._bucket.put(name, pack_value(b"", new_id()), condition)
        except Refused:
            return
        raise self._unsafe("writes")

    def _must_keep(self, name: str, stale: str, tag: str) -> None:
        try:
            self._bucket.delete(name, stale)
        except Refused:
            found = self._bucket.get(name)
            if found is not None and found.tag == tag:
                return
        raise self._unsafe("deletes")

    def _unsafe(self, what: str) -> StateError:
        return StateError(
            f"the service behind {self._bucket.where} does not keep conditional {what}, so that runs would lose state",
            fix="use a service that honours If-Match and If-None-Match on PUT and DELETE",
        )


_USAGE = "use state: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"


def open_objects(url: str, *, clock: Clock, part_size: int = PART_SIZE) -> ObjectEngine:
    """The engine of such a URL; asks nobody. Raises `ConfigError`, `StateError`."""
    scheme, _, rest = url.partition("://")
    name, _, prefix = rest.partition("/")
    if not rest.isprintable() or any(mark in rest for mark in "?#@\\"):
        raise ConfigError("state has a part that no bucket or prefix has", fix=_USAGE)
    wire = Wire()
    cloud: Cloud
    if scheme == "s3":
        from ci_acme.state.clouds.s3 import S3

        cloud = S3(name, clock=clock, wire=wire)
    elif scheme == "gs":
        from ci_acme.state.clouds.gcs import Gcs

        cloud = Gcs(name, clock=clock, wire=wire)
    else:
        from ci_acme.state.clouds.azure import Azure

        cloud = Azure(name, clock=clock, wire=wire)
    return ObjectEngine(Bucket(cloud, wire, clock=clock), prefix, clock=clock, part_size=part_size)
